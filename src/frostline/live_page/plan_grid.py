"""Which layers train? A plan as rows of a picture, read from its text alone: the page loads no model.

Roles and their layers follow from the selectors. What a pattern of names matches only the model knows; of matrices that
the run watches, the journal says whether they train, and the rest stands beside the picture in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frostline.errors import FrostlineError
from frostline.recipe import GROUP_ROLES, LEAF_ROLES, Selector, WrittenPlan

COLUMNS: dict[str, tuple[str, ...]] = {
    "embed": ("embed",),
    "q": ("attn.q",),
    "k": ("attn.k",),
    "v": ("attn.v",),
    "o": ("attn.o",),
    "mlp": ("mlp.gate", "mlp.up", "mlp.down", "mlp"),
    "norm": ("norm",),
    "head": ("head",),
}
"""Columns of the picture, and the roles that each stands for."""
OUTSIDE = ("embed", "head")
TRAINED, PARTLY, FROZEN, ADAPTER, NOTHING = "t", "p", "f", "a", "-"
"""Signs of a cell."""

Place = tuple[str, int]
"""A role and a layer; -1 for what is in none."""


@dataclass(frozen=True)
class Watched:
    """Matrices of which the journal says whether they train at any step."""

    roles: Sequence[str]
    layers: Sequence[int]
    trained: Sequence[bool]


def plan_grid(text: str, layers: int, step: int = 0, watched: Watched | None = None) -> dict[str, object] | None:
    """Rows from the head down to the embeddings as they are at `step`; None where the plan cannot be read.

    `columns` are their names; each row has `first` and `last` layer (-1: embeddings, `layers`: head) and `cells`, a
    sign for each column; `patterns` are the selectors that the picture leaves out.
    """
    try:
        plan = WrittenPlan.parse(text)
        active, patterns = _active(plan, layers, step)
    except FrostlineError:
        return None
    if watched is not None and not plan.changes:
        for role, layer, trained in zip(watched.roles, watched.layers, watched.trained, strict=False):
            if role in LEAF_ROLES and layer >= 0:
                (active.add if trained else active.discard)((role, layer))
    sign = ADAPTER if plan.lora is not None else TRAINED
    rows = [(layers, layers, _cells(("head", -1), active, sign))]
    for layer in reversed(range(layers)):
        cells = "".join(_cell(roles, layer, active, sign) for roles in COLUMNS.values())
        _, last, above = rows[-1]
        if above == cells and last < layers:
            rows[-1] = (layer, last, cells)
        else:
            rows.append((layer, layer, cells))
    rows.append((-1, -1, _cells(("embed", -1), active, sign)))
    return {
        "columns": list(COLUMNS),
        "layers": layers,
        "rows": [{"first": first, "last": last, "cells": cells} for first, last, cells in rows],
        "patterns": patterns,
    }


def _active(plan: WrittenPlan, layers: int, step: int) -> tuple[set[Place], list[str]]:
    """What trains at `step`, and the selectors of which that cannot be told."""
    everything = {place for role in LEAF_ROLES for place in _places(role, range(layers))}
    chosen = plan.train or plan.freeze or plan.targets
    named, patterns = _named(chosen, layers)
    active = everything - named if plan.freeze is not None else named
    for change in plan.changes:
        if change.at <= step:
            named, more = _named(change.selectors, layers)
            active, patterns = (active | named if change.verb == "thaw" else active - named), patterns + more
    return active, patterns


def _named(selectors: Sequence[Selector], layers: int) -> tuple[set[Place], list[str]]:
    named: set[Place] = set()
    patterns = []
    for selector in selectors:
        if selector.kind != "role":
            patterns.append(selector.text)
            continue
        meant = range(layers) if selector.layers is None else selector.layers.of(layers)
        for role in GROUP_ROLES.get(selector.pattern, (selector.pattern,)):
            if role not in OUTSIDE or selector.layers is None:
                named.update(_places(role, meant))
    return named, patterns


def _places(role: str, layers: range) -> list[Place]:
    return [(role, -1)] if role in OUTSIDE else [(role, layer) for layer in layers]


def _cells(only: Place, active: set[Place], sign: str) -> str:
    """The row of what is in no layer."""
    return "".join(
        (sign if only in active else FROZEN) if roles == (only[0],) else NOTHING for roles in COLUMNS.values()
    )


def _cell(roles: Sequence[str], layer: int, active: set[Place], sign: str) -> str:
    if roles[0] in OUTSIDE:
        return NOTHING
    inside = [(role, layer) in active for role in roles]
    # A model has some of the roles of an MLP; what no plan names of the rest says nothing.
    return FROZEN if not any(inside) else sign if all(inside) or sign == ADAPTER else PARTLY
