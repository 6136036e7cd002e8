"""An experiment done in parts gives the journal that one process gives, the clock aside, whatever happens meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from frostline import verbs
from frostline.errors import RunFolderError
from frostline.experiment import Head, Part, Unit, tails_of, units_of, verify_run
from frostline.launch.part_folder import attempts_in, part_folder
from frostline.launch.taking_in import is_complete, journals_of, take_in
from frostline.recipe import load_recipe
from frostline.report import render_report, write_report
from frostline.run_folder import BaselineTimes, UnitDone, read_unit_records
from frostline.stats import read_run, write_summary
from frostline.stats.pairs import pairs_of
from tests.builders.experiments import journal_without_clock, run_tiny, write_experiment
from tests.launch.parts import Parts, raw_lines

RACED: dict[str, object] = {
    "windows": {"length": 16, "held_out": 4, "race": 4},
    "training": {
        "steps": 4, "batch": 2, "learning_rate": "best", "rates": [0.003, 0.01], "precision": "fp32", "untimed_steps": 1
    },
    "seeds": [0, 1],
}  # fmt: skip
FILLED: dict[str, object] = {
    "training": {
        "steps": 4, "batch": 2, "learning_rate": 0.01, "precision": "fp32", "prefix_cache": {"fill": "always"}
    },
    "arms": {"full": {"train": "all"}, "freeze": {"train": ["attn.qkv@-1:"]}},
}  # fmt: skip
KINDS: dict[str, dict[str, object]] = {
    "plain, a model and tensors kept": {"save": {"full": "model", "freeze": "all"}},
    "variants": {"vary": {"corpus.tokens": [600, 1200]}, "arms": {"full": {"train": "all"}}, "seeds": [0]},
    "races of rates": RACED,
    "rows filled before": FILLED,
    "groups of arms": {"resources": {"arms": 1}, "seeds": [0]},
}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads, variable = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    if variable is not None:
        os.environ["OMP_NUM_THREADS"] = variable


def straight(folder: Path, **changes: object) -> tuple[Path, Path]:
    """(recipe, run folder) of an experiment that one process has done."""
    recipe = write_experiment(folder, layers=2, **changes)  # type: ignore[arg-type]  # of any type
    run_tiny(recipe, folder / "straight", cache=folder / "cache-straight")
    return recipe, folder / "straight"


def files_in(run_folder: Path) -> set[str]:
    apart = {"units.jsonl", "sessions.jsonl", "lock"}
    found = (path for path in run_folder.rglob("*") if path.is_file() and "units" not in path.parts)
    return {str(path.relative_to(run_folder)) for path in found} - apart


@pytest.mark.parametrize("kind", KINDS)
def test_parts_give_the_journal_of_one_process(kind: str, tmp_path: Path) -> None:
    recipe_file, expected = straight(tmp_path, **KINDS[kind])
    parts = Parts(load_recipe(recipe_file), tmp_path / "run", tmp_path / "cache", shared=kind != "variants")
    parts.begin()
    units: list[Part] = [*units_of(parts.recipe), *tails_of(parts.recipe)]
    parts.do_all(units[::-1])  # whichever is done first
    parts.end()
    assert journal_without_clock(parts.run_folder) == journal_without_clock(expected)
    assert files_in(parts.run_folder) == files_in(expected)
    for line in raw_lines(parts.run_folder / "journal" / "run.jsonl"):
        assert next(iter(line)) == "sequence"
    if kind != next(iter(KINDS)):
        return
    write_summary(parts.run_folder)
    write_report(parts.run_folder)
    found = verify_run(parts.run_folder, parts.cache, say=lambda text: None, render_report=render_report)
    assert [finding for finding in found if finding.holds is False] == []


def test_memory_is_measured_by_a_part_of_its_own(tmp_path: Path) -> None:
    measures = {
        "evaluate_every": 0, "memory": True, "sampling": {"prompts": 1, "prompt_tokens": 2, "new_tokens": 2}
    }  # fmt: skip
    recipe_file, expected = straight(tmp_path, measures=measures, seeds=[0], arms={"full": {"train": "all"}})
    parts = Parts(load_recipe(recipe_file), tmp_path / "run", tmp_path / "cache")
    parts.begin()
    parts.do_all([*tails_of(parts.recipe), *units_of(parts.recipe)])
    parts.end()
    assert journal_without_clock(parts.run_folder) == journal_without_clock(expected)


def test_a_unit_that_was_stopped_goes_on_from_its_checkpoint_in_an_attempt_of_its_own(tmp_path: Path) -> None:
    recipe_file, expected = straight(tmp_path, seeds=[0])
    parts = Parts(load_recipe(recipe_file), tmp_path / "run", tmp_path / "cache")
    parts.begin()
    (unit,) = units_of(parts.recipe)
    parts.stops_after = 3
    assert parts.do(unit).status == "interrupted"
    parts.stops_after = None
    assert parts.do(unit, attempt=1).status == "finished"
    assert any("going on after step" in state.doing for state in parts.told)
    taken = take_in(parts.run_folder, parts.recipe, unit, attempts=2)
    assert taken is not None
    assert taken.differs == ()
    parts.end()
    assert journal_without_clock(parts.run_folder) == journal_without_clock(expected)
    (record,) = read_unit_records(parts.run_folder)
    assert isinstance(record, UnitDone)
    assert (record.arms, record.attempts) == (["full", "freeze", "reversed"], 2)


def test_of_attempts_on_one_kind_of_machine_the_last_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(load_recipe(write_experiment(tmp_path, layers=2, seeds=[0])), tmp_path / "run", tmp_path / "cache")
    parts.begin()
    (unit,) = units_of(parts.recipe)
    folder, parts.stops_after = part_folder(parts.run_folder, unit.name), 0
    with monkeypatch.context() as patch:
        patch.setattr("frostline.machine._processor", lambda: "another")
        assert parts.do(unit, attempt=0).status == "interrupted"
    (folder / "attempt-1" / "journal").mkdir(parents=True)  # a process that was killed before it had begun anything
    for number in (2, 3, 4):
        assert parts.do(unit, attempt=number).status == "interrupted"
    assert attempts_in(folder) == [0, 4]


def test_a_unit_that_was_stopped_on_another_kind_of_machine_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(load_recipe(write_experiment(tmp_path, layers=2)), tmp_path / "run", tmp_path / "cache")
    parts.begin()
    unit = units_of(parts.recipe)[0]
    parts.stops_after = 3
    with monkeypatch.context() as patch:
        patch.setattr("frostline.machine._processor", lambda: "another")
        assert parts.do(unit).status == "interrupted"
    parts.stops_after, told = None, len(parts.told)
    answer = parts.do(unit, attempt=1)
    assert answer.status == "finished", answer.error
    assert not any("going on after step" in state.doing for state in parts.told[told:])


def test_a_unit_done_twice_changes_nothing(tmp_path: Path) -> None:
    parts = Parts(load_recipe(write_experiment(tmp_path, layers=2)), tmp_path / "run", tmp_path / "cache")
    parts.begin()
    unit = units_of(parts.recipe)[0]
    parts.do_all([unit])
    before = {path: path.read_bytes() for path in parts.run_folder.rglob("*") if path.is_file()}
    assert is_complete(parts.run_folder, parts.recipe, unit, retry_failed=True)
    parts.do_all([unit])
    assert {path: path.read_bytes() for path in parts.run_folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("schedule", ["lock-step", "one-by-one"])
def test_arms_train_as_the_head_was_told_to_settle_it(schedule: str, tmp_path: Path) -> None:
    parts = Parts(load_recipe(write_experiment(tmp_path, layers=2, seeds=[0])), tmp_path / "run", tmp_path / "cache")
    parts.begin(Head((("", schedule),)))
    parts.do_all(units_of(parts.recipe))
    (variant,) = read_run(parts.run_folder).variants
    assert variant.prepared.schedule == schedule


def test_what_was_taken_in_by_half_is_taken_in_whole(tmp_path: Path) -> None:
    recipe_file, expected = straight(tmp_path, seeds=[0])
    parts = Parts(load_recipe(recipe_file), tmp_path / "run", tmp_path / "cache")
    parts.begin()
    (unit,) = units_of(parts.recipe)
    assert parts.do(unit).status == "finished"
    name = journals_of(unit)[1]
    sealed = part_folder(parts.run_folder, unit.name) / "done-0" / name
    (parts.run_folder / "journal" / name).write_bytes(sealed.read_bytes())  # and then the driver is killed
    assert take_in(parts.run_folder, parts.recipe, unit) is not None
    parts.end()
    assert journal_without_clock(parts.run_folder) == journal_without_clock(expected)
    (record,) = read_unit_records(parts.run_folder)
    assert isinstance(record, UnitDone)
    assert record.arms == ["full", "freeze", "reversed"]


def test_what_is_damaged_is_not_taken_in(tmp_path: Path) -> None:
    parts = Parts(load_recipe(write_experiment(tmp_path, layers=2)), tmp_path / "run", tmp_path / "cache")
    parts.begin()
    unit = units_of(parts.recipe)[0]
    assert parts.do(unit).status == "finished"
    damaged = part_folder(parts.run_folder, unit.name) / "done-0" / journals_of(unit)[1]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(bytes(content))
    assert take_in(parts.run_folder, parts.recipe, unit) is None
    assert not (parts.run_folder / "journal" / journals_of(unit)[1]).exists()


@pytest.mark.parametrize("fact", ["torch", "frostline", "frostline code", "torch threads"])
def test_a_machine_with_other_versions_is_refused(fact: str, tmp_path: Path) -> None:
    parts = Parts(load_recipe(write_experiment(tmp_path, layers=2)), tmp_path / "run", tmp_path / "cache")
    parts.begin()
    path = parts.run_folder / "journal" / "run.jsonl"
    lines = raw_lines(path)
    environment = lines[0]["environment"]
    assert isinstance(environment, dict)
    content = path.read_text(encoding="utf-8")
    path.write_text(content.replace(f'"{fact}": "{environment[fact]}"', f'"{fact}": "9.9"'), encoding="utf-8")
    answer = parts.do(units_of(parts.recipe)[0])
    assert answer.status == "refused"
    assert f"{fact} was 9.9 and is {environment[fact]}" in str(answer.error)
    assert not part_folder(parts.run_folder, units_of(parts.recipe)[0].name).exists()


def test_a_mistake_in_the_recipe_is_told_before_anything_is_begun(tmp_path: Path) -> None:
    recipe = load_recipe(write_experiment(tmp_path, layers=2, arms={"none": {"train": ["mlp@9:"]}}))
    parts = Parts(recipe, tmp_path / "run", tmp_path / "cache")
    answer = parts.do(Head())
    assert answer.status == "refused"
    assert "key 'arms.none.train': '@9:': layer 9 is out of range" in str(answer.error)


@pytest.mark.parametrize("fresh", [True, False])
def test_times_compare_within_a_unit_alone_each_with_the_baseline_that_it_has_trained(
    fresh: bool, tmp_path: Path
) -> None:
    arms = {"full": {"train": "all"}, "reversed": {"freeze": ["attn@50%:"]}, "freeze": {"train": ["attn.qkv@50%:"]}}
    recipe = load_recipe(write_experiment(tmp_path, layers=2, arms=arms, resources={"arms": 1}, seeds=[0]))
    parts = Parts(recipe, tmp_path / "run", tmp_path / "cache")
    parts.begin(fresh=fresh)
    parts.do_all(units_of(recipe))
    parts.end()
    (variant,) = read_run(parts.run_folder).variants
    units = {arm: run.unit for (_, arm), run in variant.runs.items()}
    assert units["full"] == units["reversed"] != units["freeze"]
    summary = write_summary(parts.run_folder)
    compared = {one.arm: one for one in summary.variants[0].comparisons if one.measure == "step_seconds"}
    # Unless it is told not to, the second unit takes the baseline that the first one has trained: no step is timed.
    assert compared.keys() == ({"freeze", "reversed"} if fresh else {"reversed"})
    assert ("freeze and full were not trained in one unit" in str(summary.claims)) != fresh
    page = render_report(parts.run_folder)
    assert "2 units on 1 machine" in page
    assert ("1 unit took a full that was trained before: there, times of freeze are" in page) != fresh
    if not fresh:
        return
    (pair,) = pairs_of(variant, "freeze").side_by_side().pairs
    times = next(one for one in read_unit_records(parts.run_folder) if isinstance(one, BaselineTimes))
    assert pair.baseline.seconds.tolist() == times.seconds != variant.runs[0, "full"].seconds.tolist()
    assert not pair.baseline.timed[0]
    np.testing.assert_array_equal(pair.baseline.losses, variant.runs[0, "full"].losses)


def test_a_baseline_is_of_the_unit_that_trained_it_whichever_is_taken_in_first(tmp_path: Path) -> None:
    recipe = load_recipe(write_experiment(tmp_path, layers=2, resources={"arms": 1}, seeds=[0]))
    parts = Parts(recipe, tmp_path / "run", tmp_path / "cache")
    parts.begin()
    first, second = units_of(recipe)
    for unit in (first, second):
        assert parts.do(unit).status == "finished"
    for unit in (second, first):
        assert take_in(parts.run_folder, recipe, unit) is not None
    parts.end()
    (variant,) = read_run(parts.run_folder).variants
    units = {arm: run.unit for (_, arm), run in variant.runs.items()}
    assert units == {"full": first.name, "freeze": first.name, "reversed": second.name}
    assert [run.trained_by for run in variant.runs.values()] == ["", "", ""]
    assert variant.baselines_beside == {}


def test_a_unit_is_known_by_its_parts() -> None:
    assert Unit("a", 3, ("full",), (1, 2)).name == "variant1-seed3-group2"


@pytest.mark.parametrize("refused", ["another recipe", "other threads"])
def test_what_is_half_done_elsewhere_survives_a_command_that_is_refused(refused: str, tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, layers=2, seeds=[0], checkpoints={"every_steps": 1, "largest_share": 1.0})
    parts = Parts(load_recipe(recipe), tmp_path / "run", tmp_path / "cache")
    parts.begin()
    parts.stops_after = 3
    assert parts.do(units_of(parts.recipe)[0]).status == "interrupted"
    before = sorted((tmp_path / "run" / "units").rglob("*"))
    with pytest.raises(RunFolderError):
        if refused == "another recipe":
            changes = {"training.steps": 21}
            verbs.run(recipe, tmp_path / "run", resume="auto", set=changes, cache=tmp_path / "cache")
        else:
            torch.set_num_threads(2)
            verbs.resume(tmp_path / "run", cache=tmp_path / "cache")
    assert sorted((tmp_path / "run" / "units").rglob("*")) == before
    torch.set_num_threads(1)
    assert verbs.resume(tmp_path / "run", cache=tmp_path / "cache").status == "finished"
    assert not (tmp_path / "run" / "units").exists()
