"""What does a person want to see of one arm of one replicate? How far it is, its losses, its pace, what trains."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from frostline.live_page.plan_grid import Watched, plan_grid
from frostline.live_page.series import Series
from frostline.run_folder import ArmPlace
from frostline.text import visible

PACE_STEPS = 32
"""Newest steps whose median is the pace."""
LONGEST_PLAN = 300


@dataclass
class ArmPicture:
    """One arm of one replicate, as far as its journal has been read."""

    place: ArmPlace
    epoch: int
    """Another one after its journal was cut back: what a page has of an earlier epoch is of no use any more."""
    status: str = "training"
    """`training`, `finished` or `failed`."""
    plan: str = ""
    trained: int = 0
    parameters: int = 0
    rate: float | None = None
    reused: bool = False
    """Whether its records were taken from an earlier run."""
    steps: int = 0
    loss: float | None = None
    held_out: float | None = None
    watched: Watched | None = None
    pace: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=PACE_STEPS))
    """Seconds and tokens of the newest steps that are timed."""
    series: dict[str, Series] = field(default_factory=dict)
    """By kind: `loss`, `held_out`, `seconds`."""
    points_at: dict[str, int] = field(default_factory=dict)
    """By kind, the version of the picture at which its newest value came."""

    def take(self, values: Mapping[str, object], version: int) -> None:
        """Take in one line of its journal."""
        kind = values["kind"]
        if kind == "StepTaken":
            self._take_step(values, version)
        elif kind == "Evaluation" and values.get("corpus") == "held_out":
            self.held_out = number(values.get("loss_nats"))
            self._add("held_out", whole(values.get("step")), self.held_out, version)
        elif kind == "ArmStarted":
            self.plan = shown(values.get("plan"), LONGEST_PLAN)
            self.trained, self.parameters = whole(values.get("trained_parameters")), whole(values.get("parameters"))
            self.rate, self.reused = number(values.get("learning_rate")), bool(values.get("reused_from"))
        elif kind == "PlanChanged":
            self.trained = whole(values.get("trained_parameters"))
        elif kind == "WatchedMatrices":
            self.watched = _watched(values)
        elif kind in ("ArmFinished", "ArmFailed"):
            self.status = "finished" if kind == "ArmFinished" else "failed"

    def grid(self, layers: int) -> dict[str, object] | None:
        """Which layers train now."""
        return plan_grid(self.plan, layers, max(0, self.steps - 1), self.watched) if self.plan else None

    def shown(self, steps: int | None) -> dict[str, object]:
        """What a page shows of it; it is to take `steps` in all."""
        seconds = statistics.median(own for own, _ in self.pace) if self.pace else None
        tokens = sum(count for _, count in self.pace) / max(1e-9, sum(own for own, _ in self.pace))
        variant, seed, arm = self.place
        return {
            "variant": shown(variant), "seed": seed, "arm": shown(arm), "status": self.status, "plan": self.plan,
            "trained": self.trained, "parameters": self.parameters, "rate": self.rate, "reused": self.reused,
            "steps": self.steps, "steps_in_all": steps, "loss": self.loss, "held_out": self.held_out,
            "seconds_per_step": seconds, "tokens_per_second": round(tokens) if self.pace else None,
        }  # fmt: skip

    def _take_step(self, values: Mapping[str, object], version: int) -> None:
        step, seconds = whole(values.get("step")), number(values.get("seconds"))
        self.steps, self.loss = step + 1, number(values.get("loss_nats"))
        self._add("loss", step, self.loss, version)
        if seconds is not None and not values.get("untimed"):
            self._add("seconds", step, seconds, version)
            self.pace.append((seconds, whole(values.get("tokens"))))

    def _add(self, kind: str, step: int, value: float | None, version: int) -> None:
        if value is not None:
            self.series.setdefault(kind, Series()).add(step, value)
            self.points_at[kind] = version


def shown(text: object, longest: int = 200) -> str:
    """Text from a model, a corpus or a recipe as a page may have it: nothing in it acts, and it is bounded."""
    written = visible(str(text))
    return written if len(written) <= longest else f"{written[:longest]}…"


def number(value: object) -> float | None:
    """A finite number of a journal's line; None for anything else."""
    return float(value) if isinstance(value, int | float) and abs(value) < float("inf") else None


def whole(value: object) -> int:
    """A whole number of a journal's line; 0 for anything else."""
    return value if isinstance(value, int) else 0


def _watched(values: Mapping[str, object]) -> Watched | None:
    roles, layers, trained = (values.get(name) for name in ("roles", "layers", "trained"))
    if isinstance(roles, list) and isinstance(layers, list) and isinstance(trained, list):
        return Watched(
            [str(role) for role in roles], [whole(layer) for layer in layers], [bool(own) for own in trained]
        )
    return None
