"""A share of the places, highest first, written as selectors that name exactly these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import pytest
from transformers import PreTrainedModel

from frostline.errors import PlanError
from frostline.plans import ModelMap, Plan, map_model, portions_of, select_from
from frostline.recipe import parse_selector
from frostline.signals.choose import (
    Draw,
    as_selectors,
    choose_places,
    layers_of,
    matrices_of,
    resolve_choices,
    signals_asked_for,
)
from frostline.signals.signal import Place, Signal, SignalKind
from tests.builders.models import FAMILIES, tiny_model


@cache
def mapped(family: str) -> tuple[PreTrainedModel, ModelMap]:
    """A model and its map; whoever uses them leaves them as they are."""
    model = tiny_model(family)
    return model, map_model(model)


LLAMA = mapped("llama")[1]


def ranking(values: dict[Place, float], places: str = "matrices") -> Callable[[str], Signal]:
    kind = SignalKind("made-up", "", "", "", places)  # type: ignore[arg-type]  # one of the literals
    return lambda name: Signal(kind, values)


def by_height(model_map: ModelMap) -> Callable[[str], Signal]:
    """The higher a matrix stands, the higher its value."""
    return ranking({place: float(index) for index, place in enumerate(matrices_of(model_map))})


@pytest.mark.parametrize("share", [5, 25, 50, 99.5, 100])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_share_of_the_matrices_is_chosen_and_never_more(family: str, share: float) -> None:
    model, model_map = mapped(family)
    plan = Plan.parse(f'train: ["top:{share:g}% by snr"]')
    settled = resolve_choices(plan, model_map, by_height(model_map))
    trained = settled.plan.resolve(model, model_map).trained
    sizes = matrices_of(model_map)
    left = sum(sizes.values()) * share / 100 - sum(portion.values for portion in trained.values())
    taken = {(portion.layer, portion.role) for portion in trained.values()}
    assert left >= 0
    assert all(size > left for place, size in sizes.items() if place not in taken)
    assert all(portion.layer is not None and portion.role not in ("norm", "bias") for portion in trained.values())
    (selectors,) = settled.chosen.values()
    assert {portion.name for portion in select_from(model_map, selectors)} == set(trained)
    assert Plan.parse(settled.plan.text) == settled.plan


def test_the_highest_are_taken_and_what_does_not_fit_is_passed_over() -> None:
    sizes = matrices_of(LLAMA)
    values: dict[Place, float] = dict.fromkeys(sizes, 0.0)
    values |= {(2, "mlp.up"): 9.0, (0, "mlp.down"): 8.0, (3, "attn.k"): 7.0, (1, "attn.k"): 6.0}
    share = 100 * (sizes[(2, "mlp.up")] + 2 * sizes[(3, "attn.k")]) / sum(sizes.values())
    plan = resolve_choices(Plan.parse(f'train: ["top:{share + 0.01:.2f}% by snr"]'), LLAMA, ranking(values)).plan
    assert plan.text == "train: [attn.k@1, attn.k@3, mlp.up@2]"


def test_bottom_takes_the_lowest() -> None:
    plan = resolve_choices(Plan.parse('freeze: ["bottom:25% by snr"]'), LLAMA, by_height(LLAMA)).plan
    assert plan.freeze is not None
    assert all(selector.text.endswith("@0") for selector in plan.freeze)


def test_a_signal_of_layers_chooses_whole_layers() -> None:
    values: dict[Place, float] = {(layer, "layer"): value for layer, value in enumerate([0.1, 0.9, 0.2, 0.8])}
    values |= {(layer, "attn"): 5.0 for layer in range(4)}  # halves do not take part
    plan = resolve_choices(Plan.parse('train: ["top:50% by snr"]'), LLAMA, ranking(values, "layers")).plan
    assert plan.text == "train: [all@1, all@3]"
    assert sum(layers_of(LLAMA).values()) == sum(p.values for p in LLAMA.portions if p.layer is not None)


def test_random_choices_are_drawn_by_their_number() -> None:
    def nothing(name: str) -> Signal:
        raise AssertionError("no signal is needed")

    texts = [
        resolve_choices(Plan.parse(f'train: ["top:25% by {name}"]'), LLAMA, nothing).plan.text
        for name in ("random-", "random-0", "random-1", "random-2", "random-0")
    ]
    assert texts[0] == texts[1] == texts[4]
    assert len(set(texts)) == 3


def test_random_choices_without_a_number_are_drawn_for_each_seed_arm_and_text() -> None:
    plan = Plan.parse('train: ["top:25% by random"]')
    assert resolve_choices(plan, LLAMA, by_height(LLAMA)).plan == plan
    draws = [Draw(0, "a on x"), Draw(1, "a on x"), Draw(0, "b on x"), Draw(0, "a on y"), Draw(0, "a on x")]
    texts = [resolve_choices(plan, LLAMA, by_height(LLAMA), draw).plan.text for draw in draws]
    assert texts[0] == texts[4]
    assert len(set(texts)) == 4


@pytest.mark.parametrize("family", FAMILIES)
def test_random_choices_hold_as_many_values_of_each_role_as_the_signals(family: str) -> None:
    _, model_map = mapped(family)
    sizes = matrices_of(model_map)
    signals = by_height(model_map)
    choice, random = (parse_selector(f"top:40% by {name}").choice for name in ("snr", "random"))
    assert choice is not None
    assert random is not None
    wanted = choose_places(choice, model_map, signals)
    draws = [Draw(seed, "arm", {choice.share: wanted}) for seed in range(6)]
    drawn = [choose_places(random, model_map, signals, draw) for draw in draws]
    assert all(_values(own, sizes) == _values(wanted, sizes) for own in drawn)
    assert len({tuple(own) for own in drawn}) > 1


def test_random_choices_beside_a_signal_of_layers_are_whole_layers() -> None:
    values: dict[Place, float] = {(layer, "layer"): float(layer) for layer in range(4)}
    (choice,) = Plan.parse('train: ["top:50% by snr"]').selectors
    assert choice.choice is not None
    wanted = choose_places(choice.choice, LLAMA, ranking(values, "layers"))
    draws = [Draw(seed, "arm", {choice.choice.share: wanted}) for seed in range(6)]
    plan = Plan.parse('train: ["top:50% by random"]')
    drawn = [resolve_choices(plan, LLAMA, ranking(values, "layers"), draw).plan for draw in draws]
    assert all(len(own.resolve(*mapped("llama")).matches[0].portions) for own in drawn)
    assert all(selector.text.startswith("all@") for own in drawn for selector in own.train or ())
    assert len({own.text for own in drawn}) > 1


def _values(places: Sequence[Place], sizes: Mapping[Place, int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for place in places:
        found[place[1]] = found.get(place[1], 0) + sizes[place]
    return found


def test_every_part_of_a_plan_may_compute() -> None:
    plan = Plan.parse('train: [embed, "top:25% by snr"]; at 3 thaw: ["bottom:25% by fisher"]')
    assert signals_asked_for(plan) == ("snr", "fisher")
    settled = resolve_choices(plan, LLAMA, by_height(LLAMA))
    assert settled.plan.text.startswith("train: [embed, ")
    assert signals_asked_for(settled.plan) == ()
    lora = Plan.parse('lora: rank 2, targets ["top:25% by snr"]')
    assert signals_asked_for(lora) == ("snr",)
    assert "by" not in resolve_choices(lora, LLAMA, by_height(LLAMA)).plan.text


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([0, 1, 2, 3], ["attn.q@:"]),
        ([0, 1], ["attn.q@:2"]),
        ([1, 3], ["attn.q@1", "attn.q@3"]),
        ([2, 3], ["attn.q@2:"]),
    ],
)
def test_runs_of_layers_become_slices(layers: list[int], expected: list[str]) -> None:
    assert as_selectors([(layer, "attn.q") for layer in layers], LLAMA) == expected
    named = {portion.layer for text in expected for portion in portions_of(parse_selector(text), LLAMA)}
    assert named == set(layers)


def test_a_share_smaller_than_any_place_is_told() -> None:
    with pytest.raises(PlanError, match="is less than any one of the 28 places"):
        resolve_choices(Plan.parse('train: ["top:0.01% by snr"]'), LLAMA, by_height(LLAMA))


@pytest.mark.parametrize(
    "text", ["top:25% by", "top:25 by snr", "top:% by snr", "top:0% by snr", "top:101% by snr", "bottom:"]
)
def test_what_is_not_understood_is_told_with_an_example(text: str) -> None:
    with pytest.raises(PlanError, match="Example: top:25% by gradient-norm"):
        parse_selector(text)


def test_without_a_corpus_such_a_plan_does_not_resolve() -> None:
    with pytest.raises(PlanError, match="is computed from a corpus"):
        Plan.parse('train: ["top:25% by snr"]').resolve(*mapped("llama"))
