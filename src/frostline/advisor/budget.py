"""What may a plan cost? `time=40%`, `memory=8GB`, `parameters=5%`: limits that a plan must keep."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from frostline.errors import RecipeError

_SHARE = re.compile(r"(?P<number>[0-9]{1,3}(\.[0-9]{1,6})?)\s*%", re.ASCII)
_SIZE = re.compile(r"(?P<number>[0-9]{1,6}(\.[0-9]{1,6})?)\s*(?P<unit>[kMGT]?)B", re.ASCII)
_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
ROUNDING = 1e-9
"""By how much a share may pass its limit: what is allowed exactly is kept."""
_HINT = "Examples: time=40% (of full training's time), memory=8GB, parameters=5% (of the model's)."


@dataclass(frozen=True)
class Needs:
    """What a step of a plan takes."""

    time: float
    """Time of a step, as a share of full training's."""
    memory_bytes: int
    parameters: float
    """Parameters that train, as a share of the model's."""

    @property
    def phrases(self) -> tuple[str, str, str]:
        """Rounded up, so that a limit of what they say is kept."""
        return (
            f"{_up(100 * self.time)} % of full training's time",
            f"{_up(self.memory_bytes / 1e9)} GB of memory",
            f"{_up(100 * self.parameters)} % of the parameters",
        )


@dataclass(frozen=True)
class Budget:
    """Limits; None is none."""

    time: float | None = None
    """Largest time of a step, as a share of full training's."""
    memory_bytes: int | None = None
    """Largest peak of memory."""
    parameters: float | None = None
    """Largest share of the model's values that train."""

    @property
    def text(self) -> str:
        """As it is written on the command line; 'none' without limits."""
        limits = []
        if self.time is not None:
            limits.append(f"time={100 * self.time:g}%")
        if self.memory_bytes is not None:
            limits.append(f"memory={self.memory_bytes / 1e9:g}GB")
        if self.parameters is not None:
            limits.append(f"parameters={100 * self.parameters:g}%")
        return ", ".join(limits) or "none"

    def exceeded(self, needs: Needs) -> list[str]:
        """The limits that a plan does not keep, as what it needs of them; empty where it keeps all."""
        return [need for need, share in zip(needs.phrases, self._shares(needs), strict=True) if share > 1 + ROUNDING]

    def excess(self, needs: Needs) -> float:
        """How far a plan is from the budget: what it needs over the limit, of the limit that it is furthest from."""
        return max(self._shares(needs))

    def _shares(self, needs: Needs) -> tuple[float, float, float]:
        """What a plan needs as shares of the limits; 0 where there is none."""
        return (
            0.0 if self.time is None else needs.time / self.time,
            0.0 if self.memory_bytes is None else needs.memory_bytes / self.memory_bytes,
            0.0 if self.parameters is None else needs.parameters / self.parameters,
        )


UNLIMITED = Budget()


def parse_budget(texts: Sequence[str]) -> Budget:
    """Read `KEY=LIMIT` of each of `texts`. Raises `RecipeError` saying what is wrong."""
    limits: dict[str, float] = {}
    for text in texts:
        key, separator, limit = (part.strip() for part in text.partition("="))
        pattern = {"time": _SHARE, "memory": _SIZE, "parameters": _SHARE}.get(key)
        match = pattern.fullmatch(limit) if pattern is not None and separator else None
        if match is None:
            raise RecipeError(f"--budget {text}: not understood.", _HINT)
        if key in limits:
            raise RecipeError(f"--budget {text}: '{key}' is given twice.", "Give each limit once.")
        factor = 0.01 if pattern is _SHARE else _FACTORS[match["unit"]]
        limits[key] = float(match["number"]) * factor
        if limits[key] <= 0:
            raise RecipeError(f"--budget {text}: a limit is above zero.", _HINT)
    memory = limits.get("memory")
    return Budget(limits.get("time"), None if memory is None else round(memory), limits.get("parameters"))


def _up(value: float) -> str:
    """To two digits, whole numbers from 10 on."""
    if value <= 0:
        return "0"
    unit = 10.0 ** min(0, math.floor(math.log10(value)) - 1)
    return f"{round(math.ceil(value / unit - ROUNDING) * unit, 9):g}"
