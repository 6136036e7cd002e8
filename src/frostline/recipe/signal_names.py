"""By which signals of the model may a plan be chosen? Their names alone; `signals` measures them."""

from __future__ import annotations

from collections.abc import Sequence

from frostline.errors import PlanError, nearest

SIGNALS = (
    "gradient-norm",
    "gradient-weight",
    "fisher",
    "snr",
    "ablation",
    "block-influence",
    "cka",
    "lens-loss",
    "lens-agreement",
    "foreign",
    "attention-entropy",
    "attention-distance",
)
"""Every signal, in the order of pages and tables."""
CHOOSING_SIGNALS = ("gradient-norm", "gradient-weight", "fisher", "snr", "ablation", "block-influence", "foreign")
"""Those that a plan can be chosen by: training is expected to pay where they are high."""
RANDOM = "random"
"""The control: `by random` is drawn anew for each seed, `by random-7` once, by the number behind it."""


def require_signal(name: str) -> None:
    """Raise `PlanError` unless `name` is a signal."""
    if name not in SIGNALS:
        raise PlanError(f"there is no signal '{name}'.", f"{_among(name, SIGNALS)}.")


def require_choosing_signal(name: str) -> None:
    """Raise `PlanError` unless `name` is a signal that a plan can be chosen by."""
    if name in CHOOSING_SIGNALS:
        return
    found = f"'{name}' tells nothing about where training pays" if name in SIGNALS else f"there is no signal '{name}'"
    raise PlanError(f"'by {name}': {found}.", f"{_among(name, CHOOSING_SIGNALS)}; or random, random-1 and so on.")


def _among(name: str, signals: Sequence[str]) -> str:
    return f"{nearest(name, signals)} Signals: {', '.join(signals)}".lstrip()
