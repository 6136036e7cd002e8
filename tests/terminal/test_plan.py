"""Can a person read off the drawing what trains, in any terminal?"""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from frostline.plans.cost import PlanCost, plan_cost
from frostline.plans.plan import Plan
from frostline.plans.types import ResolvedPlan
from frostline.terminal.plan import draw_plan, plan_as_json
from tests.builders.models import tiny_model


def resolved_and_cost(text: str, family: str = "llama", layers: int = 4) -> tuple[ResolvedPlan, PlanCost]:
    model = tiny_model(family, layers=layers, tie_word_embeddings=True)
    resolved = Plan.parse(text).resolve(model)
    return resolved, plan_cost(model, resolved, 512)


def printed(text: str, family: str = "llama", layers: int = 4, encoding: str = "utf-8") -> list[str]:
    """What a pipe of 80 columns gets."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=file, width=80).print(draw_plan(*resolved_and_cost(text, family, layers), "freeze"))
    file.seek(0)
    return [line.rstrip() for line in file.read().splitlines()]


def picture(lines: list[str]) -> list[str]:
    start = next(index for index, line in enumerate(lines) if line.startswith(" layer"))
    return lines[start - 1 :]


def row_labels(lines: list[str]) -> list[str]:
    return ["frost line" if line.startswith("~") else line[:8].strip() for line in picture(lines)[2:-1]]


def test_the_drawing_shows_layers_by_roles_with_the_frost_line() -> None:
    assert picture(printed("train: [attn.qkv@50%:]")) == [
        "                   attn          mlp",
        " layer   embed  q  k  v  o  gate  up  down  norm  head",
        "  head                                       ·     ·",
        "     3         ██ ██ ██  ·   ·    ·    ·     ·",
        "     2         ██ ██ ██  ·   ·    ·    ·     ·",
        "~~~~~ frost line: layers 0-1 below are the prefix ~~~~~",
        "     1          ·  ·  ·  ·   ·    ·    ·     ·",
        "     0          ·  ·  ·  ·   ·    ·    ·     ·",
        " embed     ·",
        "        ██ trained   · frozen",
    ]


def test_equal_layers_of_a_deep_model_share_a_row() -> None:
    rows = row_labels(printed("train: [attn.qkv@50%:]", layers=20))
    assert rows == ["head", "10-19", "frost line", "0-9", "embed"]


def test_a_layer_that_differs_keeps_its_own_row() -> None:
    rows = row_labels(printed("train: [mlp.up@7, attn@12:]", layers=20))
    assert rows == ["head", "12-19", "8-11", "7", "frost line", "0-6", "embed"]


def test_nothing_below_the_lowest_trained_layer_means_no_frost_line() -> None:
    assert not any("frost line" in line for line in printed("freeze: [attn@50%:]"))


def test_one_frozen_layer_is_named_in_the_singular() -> None:
    assert any("frost line: layer 0 below is the prefix" in line for line in printed("train: [attn@1:]"))


def test_the_frost_line_lies_above_all_layers_where_only_the_final_norm_trains() -> None:
    drawn = picture(printed("train: [name:model.norm.weight]"))
    assert drawn[2].split() == ["head", "██", "·"]
    assert "layers 0-3 below are the prefix" in drawn[3]


def test_a_role_of_which_only_some_parameters_train_is_drawn_as_partly() -> None:
    drawn = picture(printed("train: ['name:*.3.input_layernorm.weight']".replace("'", '"')))
    assert drawn[3].split() == ["3", *"·" * 7, "▒"]
    assert "▒ partly" in drawn[-1]


def test_a_part_of_a_fused_matrix_is_drawn_under_its_role_and_named_with_it() -> None:
    lines = printed("train: [attn.q@3]", family="gpt2")
    assert picture(lines)[3].split() == ["3", "██", *"·" * 7]
    assert any("layer 3: attn.c_attn.weight[attn.q]" in line for line in lines)


def test_adapters_are_drawn_as_adapters() -> None:
    drawn = picture(printed("lora: rank 4, targets [attn.qkv@50%:]"))
    assert drawn[3].split() == ["3", "◆", "◆", "◆", *"·" * 5]
    assert "◆ adapter" in drawn[-1]


def test_what_each_selector_matched_is_told_with_counts() -> None:
    lines = printed("train: [attn.qkv@50%:, mlp.down@3]")
    row = next(line for line in lines if "train mlp.down@3" in line)
    assert [cell.strip() for cell in row.replace("┃", "│").split("│")] == [
        "train mlp.down@3",
        "1",
        "1,536",
        "layer 3: mlp.down_proj.weight",
    ]


def test_the_facts_stand_in_words() -> None:
    lines = printed("train: [attn.qkv@50%:]")
    assert "trains 4,096 of 34,112 values (12.0 %)" in lines
    assert "prefix 2 of 4 layers" in lines
    assert "tied   model.embed_tokens.weight = lm_head.weight" in lines
    assert any(line.startswith("can save at most") for line in lines)


def test_changes_over_time_are_told_with_their_step() -> None:
    lines = " ".join(printed("train: [attn@3]; at 20 thaw: [attn@2]; at 30 freeze: [attn@3]"))
    assert "from step 20: thaw attn@2; then trains" in lines
    assert "from step 30: freeze attn@3; then trains" in lines
    assert "(at the first step)" in lines


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "bloom", "phi3", "mixtral", "opt"])
@pytest.mark.parametrize("text", ["train: [attn.qkv@50%:]", "train: all", "freeze: [attn@50%:]; at 9 freeze: [mlp]"])
def test_every_line_fits_eighty_columns_and_needs_no_unicode_where_there_is_none(family: str, text: str) -> None:
    resolved, cost = resolved_and_cost(text, family, layers=2)
    for encoding in ("utf-8", "ascii"):
        file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        Console(file=file, width=80).print(draw_plan(resolved, cost, "arm"))
        file.seek(0)
        content = file.read()
        assert "\x1b" not in content
        assert max(len(line) for line in content.splitlines()) <= 80


def test_the_json_form_says_the_same_with_a_row_for_each_layer() -> None:
    resolved, cost = resolved_and_cost("train: [attn.qkv@50%:]; at 7 thaw: [mlp]", layers=20)
    told = json.loads(json.dumps(plan_as_json(resolved, cost, "freeze")))
    assert told["arm"] == "freeze"
    assert told["plan"] == "train: [attn.qkv@50%:]; at 7 thaw: [mlp]"
    assert (told["layers"], told["prefix_layers"]) == (20, 10)
    assert told["selectors"][0]["matrices"] == len(told["selectors"][0]["names"]) == 30
    assert told["selectors"][1]["from_step"] == told["phases"][1]["from_step"] == 7
    assert told["cost"]["ceiling"] == cost.ceiling
    assert [row["layer"] for row in told["rows"]] == ["head", *(str(layer) for layer in range(19, -1, -1)), "embed"]
    assert told["rows"][1]["roles"]["attn.q"] == "trained"
    assert told["rows"][11]["roles"]["attn.q"] == "frozen"
