"""What a machine computes that is asked for trials is what the advising process would compute."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
import torch

from frostline.advisor import Advised, TrialAsked, compute_trial, prepare_elsewhere, with_arms
from frostline.arms import facts_of, prepare, shared_parts
from frostline.launch.part_work import this_machine
from frostline.launch.trial_bench import BenchOrder, TrialBench, comparable, is_of_kind
from frostline.machine import describe_machine
from frostline.recipe import ArmSettings, Variant, dump_recipe, load_recipe
from frostline.run_folder import WALL_CLOCK_FIELDS, TrialFinished
from tests.builders.experiments import write_experiment

STEPS = 3
HALF = TrialAsked("half", 0.01, 1, STEPS)
FULL = TrialAsked("full", 0.01, 3, STEPS, seed=5)
ARMS = {"full": {"train": ["all"]}, "half": {"train": ["all@50%:"]}}


@dataclass(frozen=True)
class Bench:
    order: BenchOrder
    cache: Path
    advised: Advised


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    path = write_experiment(
        tmp_path, layers=2, windows={"length": 8, "held_out": 8}, seeds=[0], arms={"full": {"train": "all"}}
    )
    recipe, cache = load_recipe(path), tmp_path / "cache"
    cache.mkdir()
    facts = facts_of(prepare(Variant("", recipe), cache, say=lambda sentence: None))
    order = BenchOrder(
        folder="advice",
        recipe=dump_recipe(recipe),
        recipe_folder=str(tmp_path),
        trusted_code=None,
        facts=facts,
        steps=STEPS,
        threads=torch.get_num_threads(),
        machine=comparable(describe_machine(), "cpu"),
        cache=(str(cache), this_machine()),
    )
    yield Bench(order, cache, Advised(Path("advice"), recipe, facts, STEPS))
    gc.unfreeze()


def without_clock(trial: TrialFinished | None) -> dict[str, object]:
    assert trial is not None
    return {name: value for name, value in asdict(trial).items() if name not in WALL_CLOCK_FIELDS}


def test_its_trials_are_those_of_the_advising_process_whatever_it_computed_before(bench: Bench) -> None:
    prepared, deciding = prepare_elsewhere(bench.advised, bench.cache)
    arms = {name: ArmSettings.model_validate(arm) for name, arm in ARMS.items()}
    with shared_parts(with_arms(prepared, arms), bench.cache) as sharing:
        expected = [without_clock(compute_trial(sharing, asked, deciding)) for asked in (HALF, FULL)]
    own = TrialBench(bench.order)
    assert own.prepare().error is None
    assert without_clock(own.compute(ARMS, FULL).trial) == expected[1]
    assert without_clock(own.compute({"half": ARMS["half"]}, HALF).trial) == expected[0]
    assert without_clock(own.compute(ARMS, HALF).trial) == expected[0]
    assert expected[0]["window_losses"]
    assert expected[0]["held_out_losses"] == []
    assert expected[1]["held_out_losses"]


def test_a_machine_of_another_kind_computes_none_and_one_with_other_versions_is_refused(bench: Bench) -> None:
    other = replace(bench.order, machine={**bench.order.machine, "processor": "another one"})
    assert TrialBench(other).prepare().other_kind
    older = replace(bench.order, machine={**bench.order.machine, "torch": "1.0"})
    answer = TrialBench(older).prepare()
    assert "torch was 1.0 and is" in str(answer.error)
    assert "Install the same versions" in str(answer.error)


def test_a_machine_with_another_text_is_refused(bench: Bench) -> None:
    facts = replace(bench.order.facts, corpus=replace(bench.order.facts.corpus, sha256="0" * 64))
    answer = TrialBench(replace(bench.order, facts=facts)).prepare()
    assert "since it was begun, the corpus changed" in str(answer.error)


def test_graphics_processors_tell_kinds_apart_where_they_compute() -> None:
    here = {**describe_machine(), "gpu": "large"}
    there = {**here, "gpu": "none"}
    assert is_of_kind(comparable(here, "cpu"), there)
    assert not is_of_kind(comparable(here, "cuda"), there)
