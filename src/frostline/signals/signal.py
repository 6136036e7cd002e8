"""What is a signal? A number for each place inside the model, with what a high one means and where it comes from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

Place = tuple[int | None, str]
"""A decoder layer (None outside), and a leaf role in it; `layer`, `attn`, `mlp` for all of it or a half."""
WHOLE_LAYER = "layer"


@dataclass(frozen=True)
class SignalKind:
    """What is measured, independent of any model."""

    name: str
    """Name of the signal: `by NAME` in a selector, and on the command line."""
    title: str
    meaning: str
    """What a high value means, in a sentence."""
    source: str
    """The paper or equation."""
    places: Literal["matrices", "layers", "heads"]
    """What has a value of its own."""
    chooses: bool = True
    """Whether training is expected to pay where the value is high, so that a plan can be chosen by it."""
    reads_windows: bool = True
    """Whether the sample's windows have a part in it, beside the weights."""


@dataclass(frozen=True)
class Signal:
    """One signal, measured on one model."""

    kind: SignalKind
    values: dict[Place, float]
    """Value of each place, in the model's order. Free of size: a matrix is not higher for being larger."""
    heads: dict[tuple[int, int], float] = field(default_factory=dict)
    """Value of each layer and attention head, where heads have values of their own."""

    def by_layer(self) -> dict[int, float]:
        """The value of each whole decoder layer where it has one, else the mean over the layer's roles."""
        found: dict[int, list[float]] = {}
        for (layer, role), value in self.values.items():
            if layer is not None and role != WHOLE_LAYER:
                found.setdefault(layer, []).append(value)
        means = {layer: sum(values) / len(values) for layer, values in found.items()}
        whole = {layer: value for (layer, role), value in self.values.items() if role == WHOLE_LAYER}
        return means | {layer: value for layer, value in whole.items() if layer is not None}

    def by_role(self) -> dict[str, float]:
        """The mean over the layers of each role; none of what has a value for a layer or a half of it."""
        found: dict[str, list[float]] = {}
        for (_, role), value in self.values.items():
            if self.kind.places == "matrices":
                found.setdefault(role, []).append(value)
        return {role: sum(values) / len(values) for role, values in found.items()}


def as_frame(signals: Iterable[Signal]) -> pl.DataFrame:
    """Columns `signal`, `layer`, `role`, `head`, `value`; one row for each place."""
    rows: list[tuple[str, int | None, str, int | None, float]] = []
    for signal in signals:
        rows += [(signal.kind.name, layer, role, None, value) for (layer, role), value in signal.values.items()]
        rows += [(signal.kind.name, layer, "attn", head, value) for (layer, head), value in signal.heads.items()]
    schema = {"signal": pl.String, "layer": pl.Int64, "role": pl.String, "head": pl.Int64, "value": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")
