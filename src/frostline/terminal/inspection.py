"""What `frostline inspect` prints: in short what its page says at length."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from frostline.advisor import Inspection
from frostline.report import sentences_of
from frostline.signals import KINDS, Signal
from frostline.terminal.tables import empty_table
from frostline.text import one_line

TOP = 3
"""Layers that the table names for each signal."""


def draw_inspection(found: Inspection, page: Path) -> RenderableType:
    """A renderable for a rich console."""
    table = empty_table("signal", "highest layers", "highest roles", "knew layers", "knew roles")
    scores = {score.signal: score for score in found.tuned.scores} if found.tuned is not None else {}
    for name, signal in found.signals.items():
        score = scores.get(name)
        layers = sorted(signal.by_layer().items(), key=lambda own: -own[1])[:TOP]
        table.add_row(
            KINDS[name].name,
            ", ".join(str(layer) for layer, _ in layers),
            _roles(signal),
            _rho(None if score is None else score.layers),
            _rho(None if score is None else score.roles),
        )
    told = list(sentences_of(found.tuned)) if found.tuned is not None else [found.not_tuned] if found.not_tuned else []
    told += [f"{claim.id} {claim.verdict}: {claim.sentence}" for claim in found.claims]
    note = "knew: rank correlation with where training acted; neighbouring layers are alike, so that no p is given."
    return Padding(
        Group(
            Text(f"\n{one_line(found.name)}: {one_line(found.model)}, {one_line(found.corpus)}", style="bold"),
            table,
            *(Text(f"\n{one_line(sentence)}") for sentence in told),
            Text(f"\nPage: {page.resolve()}"),
            *([Text(note, style="dim")] if found.tuned is not None else []),
        ),
        (0, 1),
    )


def inspection_as_json(found: Inspection, page: Path) -> dict[str, object]:
    """Everything that was found, for scripts."""
    return {
        "name": found.name,
        "model": found.model,
        "corpus": found.corpus,
        "page": str(page),
        "signals": {
            name: [{"layer": layer, "role": role, "value": value} for (layer, role), value in signal.values.items()]
            + [{"layer": layer, "head": head, "value": value} for (layer, head), value in signal.heads.items()]
            for name, signal in found.signals.items()
        },
        "tuned": None if found.tuned is None else asdict(found.tuned),
        "not_tuned": found.not_tuned,
        "claims": [asdict(claim) for claim in found.claims],
    }


def _roles(signal: Signal) -> str:
    roles = {role: value for role, value in signal.by_role().items() if role not in ("norm", "bias")}
    return ", ".join(sorted(roles, key=lambda role: -roles[role])[:2])


def _rho(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"
