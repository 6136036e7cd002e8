"""Plans and numbers in sentences."""

from __future__ import annotations

import math

import pytest

from frostline.recipe import ROLES, LayerSlice, parse_selector
from frostline.stats import wording
from frostline.stats.claims.losses import exponentiated
from frostline.stats.estimate import Estimate
from frostline.stats.intervals import t_interval


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ("train: [all]", "Training everything"),
        ("train: [attn.qkv@50%:]", "Training only the query, key and value matrices of layers 15-29"),
        ("freeze: [attn@50%:]", "Training everything except the attention of layers 15-29"),
        ("train: [mlp@-1, norm]", "Training only the MLPs of layer 29 and the norms"),
        ("train: [attn@::2]", "Training only the attention of layers 0, 2, ..., 28"),
        ("lora: rank 8, targets [attn.qkv]", "Training adapters of rank 8 on the query, key and value matrices"),
        ("lora: rank 4, alpha 16, targets [mlp]", "Training adapters of rank 4 on the MLPs"),
        ("train: [mlp@:4]; at 20 thaw: [attn]", "Training only the MLPs of layers 0-3, with 1 change over time"),
        ("train: [name:*.k_proj.weight]", "Training by the plan 'train: [name:*.k_proj.weight]'"),
    ],
)
def test_a_plan_is_told_in_words(plan: str, words: str) -> None:
    assert wording.describe_plan(plan, 30) == words


@pytest.mark.parametrize("layers", [4, 6, 7, 30, 31])
@pytest.mark.parametrize("text", ["attn@50%:", "attn@:33%", "attn@-1", "attn@:"])
def test_layers_in_words_are_those_that_the_selector_means(text: str, layers: int) -> None:
    slice_ = parse_selector(text).layers
    assert isinstance(slice_, LayerSlice)
    chosen = slice_.of(layers)
    words = wording.describe_plan(f"train: [{text}]", layers)
    ends = f"{chosen[0]}-{chosen[-1]}" if len(chosen) > 1 else f"layer {chosen[0]}"
    assert words.endswith(ends)


def test_every_role_has_words() -> None:
    assert set(wording.ROLE_WORDS) == set(ROLES)


def test_an_interval_stands_in_brackets_and_can_be_turned() -> None:
    found = Estimate(-0.25, -0.5, 0.125, 5, "nats", "")
    assert wording.interval(found, decimals=2) == " [-0.50, 0.12]"
    assert wording.interval(found, decimals=2, negate=True) == " [-0.12, 0.50]"
    assert wording.interval(found, as_percent=True) == " [-50.0, 12.5]"
    assert wording.interval(Estimate(1.0, None, None, 1, "", "")) == ""


def test_two_replicates_are_written_as_they_are_and_three_with_their_interval() -> None:
    two = t_interval([0.141, 0.123], "nats")
    assert wording.interval(two, decimals=3) == " (2 replicates: 0.123 and 0.141)"
    assert wording.interval(two, decimals=3, negate=True) == " (2 replicates: -0.141 and -0.123)"
    assert wording.interval(t_interval([0.41, 0.23], "share"), as_percent=True) == " (2 replicates: 23.0 and 41.0)"
    assert wording.interval(t_interval([0.1, 0.2, 0.3], "nats")).startswith(" [")
    ratio = exponentiated(t_interval([math.log(2.0), math.log(3.0)], "ratio"))
    assert wording.interval(ratio) == " (2 replicates: 2.00 and 3.00)"
