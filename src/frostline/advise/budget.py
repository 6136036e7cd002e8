"""What may a plan cost? `time=40%`, `memory=8GB`, `parameters=5%`: limits that a plan must keep."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from frostline.errors import RecipeError

_SHARE = re.compile(r"(?P<number>[0-9]{1,3}(\.[0-9]{1,6})?)\s*%", re.ASCII)
_SIZE = re.compile(r"(?P<number>[0-9]{1,6}(\.[0-9]{1,6})?)\s*(?P<unit>[kMGT]?)B", re.ASCII)
_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_HINT = "Examples: time=40% (of full training's time), memory=8GB, parameters=5% (of the model's)."


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

    def exceeded(self, *, time: float, memory_bytes: int, parameters: float) -> list[str]:
        """The limits that a plan of this cost does not keep, in phrases; empty where it keeps all."""
        found = []
        if self.time is not None and time > self.time:
            found.append(f"{100 * time:.0f} % of full training's time")
        if self.memory_bytes is not None and memory_bytes > self.memory_bytes:
            found.append(f"{memory_bytes / 1e9:.2g} GB of memory")
        if self.parameters is not None and parameters > self.parameters:
            found.append(f"{100 * parameters:.2g} % of the parameters")
        return found


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
