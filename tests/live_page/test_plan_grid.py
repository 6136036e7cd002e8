"""The picture of a plan that is made of its text is the one that the model itself gives."""

from __future__ import annotations

import pytest

from frostline.live_page.plan_grid import COLUMNS, Watched, plan_grid
from frostline.plans import Plan, resolve_plan
from frostline.terminal.plan import drawn_rows
from tests.builders.models import tiny_model

PLANS = [
    "train: [all]",
    "train: [attn.qkv@50%:]",
    "freeze: [attn@50%:]",
    "train: [mlp@-1:, norm, embed]",
    "freeze: [all@:2]",
    "train: [attn.q@1, attn.o@::2]",
    "train: [mlp.down@2:]",
]
SIGNS = {"trained": "t", "partly": "p", "frozen": "f", "adapter": "a"}


@pytest.mark.parametrize("text", PLANS)
def test_it_is_the_drawing_of_the_resolved_plan(text: str) -> None:
    model = tiny_model("llama", layers=4)
    resolved = resolve_plan(Plan.parse(text), model)
    expected = {row.lowest_layer: row.cells for row in drawn_rows(resolved, collapse=False)}
    grid = plan_grid(text, 4)
    assert grid is not None
    found: dict[int, str] = {}
    for row in grid["rows"]:  # type: ignore[attr-defined]
        found |= dict.fromkeys(range(row["first"], row["last"] + 1), row["cells"])
    assert found.keys() == set(range(-1, 5))
    for layer, cells in found.items():
        for sign, roles in zip(cells, COLUMNS.values(), strict=True):
            states = {expected[layer][role] for role in roles if role in expected[layer]}
            if states and layer < 4:  # above the layers there may be a norm, and a head that is the embeddings
                one = states.pop()
                assert sign == ("p" if states else SIGNS[one]), (layer, roles)


def test_a_plan_that_changes_is_drawn_as_it_is_at_a_step() -> None:
    text = "train: [attn@3:]; at 10 thaw: [mlp@3:]; at 20 freeze: [attn]"
    cells = []
    for step in (0, 9, 10, 25):
        grid = plan_grid(text, 4, step)
        assert grid is not None
        cells.append(grid["rows"][1]["cells"])  # type: ignore[index]
    assert cells == ["-ttttff-", "-ttttff-", "-tttttf-", "-fffftf-"]


def test_patterns_are_told_in_words_and_watched_matrices_fill_them_in() -> None:
    watched = Watched(["attn.q", "attn.k"], [1, 1], [True, False])
    grid = plan_grid("train: [name:*q_proj*]", 2, watched=watched)
    assert grid is not None
    assert grid["patterns"] == ["name:*q_proj*"]
    assert grid["rows"][1] == {"first": 1, "last": 1, "cells": "-tfffff-"}  # type: ignore[index]


def test_adapters_are_drawn_as_such_and_what_cannot_be_read_is_not_drawn() -> None:
    grid = plan_grid("lora: rank 8, targets [attn.q@1:]", 2)
    assert grid is not None
    assert grid["rows"][1]["cells"].startswith("-af")  # type: ignore[index]
    assert plan_grid("<script>", 2) is None
    assert plan_grid("train: [all@9:]", 2) is None
