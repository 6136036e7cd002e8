"""From a run folder to its summary: complete runs, broken ones, and runs that measured little."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from frostline.errors import RunFolderError
from frostline.run_folder import FrozenChecked, StepTaken
from frostline.stats import read_summary, summarise, write_summary
from frostline.stats.runs import read_run
from tests.builders.simulated_run import write_simulated_run


def numbers_in(value: object) -> list[float]:
    """Every number in nested lists and mappings."""
    if isinstance(value, dict):
        return [number for inner in value.values() for number in numbers_in(inner)]
    if isinstance(value, list):
        return [number for inner in value for number in numbers_in(inner)]
    return [value] if isinstance(value, float) else []


def edit_journal(run: Path, name: str, kind: str, **changes: object) -> None:
    """Change fields of the last record of `kind` in one journal file."""
    path = run / "journal" / name
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    last = max(index for index, line in enumerate(lines) if line["kind"] == kind)
    lines[last] |= changes
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def test_a_summary_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    run = write_simulated_run(tmp_path / "run")
    written = write_summary(run)
    assert read_summary(run) == written == summarise(run)
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == []


def test_the_same_journal_gives_the_same_summary_bit_for_bit(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_summary(write_simulated_run(tmp_path / name))
    assert (tmp_path / "one/summary.json").read_bytes() == (tmp_path / "two/summary.json").read_bytes()


def test_what_was_cut_and_the_day_of_the_template_are_those_of_the_journal(tmp_path: Path) -> None:
    run = write_simulated_run(tmp_path / "run")
    file = next(path.name for path in (run / "journal").iterdir() if '"VariantPrepared"' in path.read_text())
    corpus = {"description": "talk", "sha256": "ab", "tokens": 9, "distinct_tokens": 3, "windows": 2}
    day = {"held_out_windows": 1, "cut": 5, "template_date": "2026-03-01"}
    edit_journal(run, file, "VariantPrepared", corpus=corpus | day)
    found = summarise(run).variants[0]
    assert (found.corpus_cut, found.template_date) == (5, "2026-03-01")


def test_estimates_are_those_of_the_journal(tmp_path: Path) -> None:
    run = write_simulated_run(tmp_path / "run")
    variant = read_run(run).variants[0]
    arm = summarise(run).variants[0].arms["freeze"]
    runs = variant.of("freeze")
    seconds = {name: np.array([one.seconds[3:] for one in variant.of(name)]) for name in ("full", "freeze")}
    assert arm.held_out_after.value == pytest.approx(np.mean([one.held_out[40] for one in runs]))
    assert arm.forgetting is not None
    assert arm.forgetting.value == pytest.approx(np.mean([one.retention[40] - one.retention[0] for one in runs]))
    assert arm.saving is not None
    assert arm.saving.value == pytest.approx(1 - seconds["freeze"].sum() / seconds["full"].sum())
    assert arm.total_seconds.value == pytest.approx(seconds["freeze"].sum() / 3)
    assert arm.step_seconds.value == pytest.approx(seconds["freeze"].mean())
    assert arm.tokens_per_second.value == pytest.approx(512 / seconds["freeze"].mean())
    assert arm.change_by_role["attn.q"].value == pytest.approx(
        np.mean([one.changes[:, np.array(one.watched.roles) == "attn.q"].mean() for one in runs if one.watched])
    )
    assert (arm.replicates, arm.peak_bytes) == (3, 1_200_000_000 + 8 * 8_294_400)


def test_every_interval_holds_its_value(tmp_path: Path) -> None:
    summary = asdict(summarise(write_simulated_run(tmp_path / "run")))

    def estimates(value: object) -> list[dict[str, float]]:
        if isinstance(value, dict):
            if {"value", "low", "high", "n"} <= value.keys():
                return [value]
            return [found for inner in value.values() for found in estimates(inner)]
        return [found for inner in value for found in estimates(inner)] if isinstance(value, list) else []

    found = [estimate for estimate in estimates(summary) if estimate["low"] is not None]
    assert len(found) > 100
    assert all(estimate["low"] <= estimate["value"] <= estimate["high"] and estimate["n"] > 1 for estimate in found)


def test_the_same_arm_twice_differs_by_exactly_zero(tmp_path: Path) -> None:
    summary = summarise(write_simulated_run(tmp_path / "run", arms=("full", "again"), seeds=tuple(range(6))))
    compared = [found for found in summary.variants[0].comparisons if found.measure != "step_seconds"]
    assert {found.measure for found in compared} >= {"loss_last", "held_out_after", "forgetting", "distinct_2"}
    for found in compared:
        assert (found.difference.value, found.difference.low, found.difference.high) == (0.0, 0.0, 0.0)
        assert (found.p_value, found.p_holm, found.verdict) == (1.0, 1.0, "undecided")
    assert any("no difference at all" in sentence for sentence in summary.answer)


def test_the_answer_shows_few_seeds_as_they_are_and_more_with_an_interval(tmp_path: Path) -> None:
    few = summarise(write_simulated_run(tmp_path / "few", seeds=(0, 1), with_watch=False))
    own = [one.difference for one in few.variants[0].arms["freeze"].by_seed if one.difference is not None]
    assert f"worse (seeds: {own[0]:.3f}, {own[1]:.3f})" in few.answer[0]
    more = summarise(write_simulated_run(tmp_path / "more", seeds=tuple(range(4)), with_watch=False))
    assert "worse [0.0" in more.answer[0]


def test_the_same_arm_twice_in_one_replicate_differs_by_exactly_zero(tmp_path: Path) -> None:
    summary = summarise(write_simulated_run(tmp_path / "run", arms=("full", "again"), seeds=(0,), steps=120))
    (found,) = [one for one in summary.variants[0].comparisons if one.measure == "loss_last"]
    assert (found.difference.value, found.difference.low, found.difference.high) == (0.0, 0.0, 0.0)


def test_seven_replicates_call_a_true_difference_and_three_do_not(tmp_path: Path) -> None:
    verdicts = {}
    for replicates in (3, 7):
        run = write_simulated_run(tmp_path / str(replicates), seeds=tuple(range(replicates)))
        compared = summarise(run).variants[0].comparisons
        (found,) = [one for one in compared if (one.arm, one.measure) == ("freeze", "held_out_after")]
        verdicts[replicates] = (found.verdict, found.p_holm)
    assert verdicts == {3: ("undecided", 0.5), 7: ("higher", 2 * 2 / 2**7)}


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    run = write_simulated_run(tmp_path / "run", failed_arm="freeze", seeds=(0,))
    write_summary(run)
    text = (run / "summary.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    assert "Infinity" not in text
    summary = json.loads(text)
    assert summary["variants"][0]["arms"]["freeze"]["held_out_after"]["value"] is None
    assert numbers_in(summary)


def test_a_failed_replicate_is_told_first_and_left_out(tmp_path: Path) -> None:
    summary = summarise(write_simulated_run(tmp_path / "run", failed_arm="freeze"))
    variant = summary.variants[0]
    assert summary.answer[0].startswith("freeze, seed 0, stopped at step 20: the loss is not a finite number.")
    assert variant.checks.failed == variant.arms["freeze"].failed
    assert (variant.arms["freeze"].replicates, variant.arms["full"].replicates) == (2, 3)
    assert variant.arms["freeze"].loss_last.n == 2
    assert "Left out: seed 0 (freeze failed)." in summary.answer[1]


def test_an_arm_that_failed_in_every_replicate_is_not_compared(tmp_path: Path) -> None:
    summary = summarise(write_simulated_run(tmp_path / "run", failed_arm="freeze", seeds=(0,)))
    assert not [found for found in summary.variants[0].comparisons if found.arm == "freeze"]
    assert any("freeze cannot be compared" in sentence for sentence in summary.answer)
    assert {claim.verdict for claim in summary.claims if claim.arm == "freeze"} <= {"undecided"}


@pytest.mark.parametrize("arm", ["full", "freeze", "reversed"])
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_any_arm_may_fail(tmp_path: Path, arm: str, seeds: tuple[int, ...]) -> None:
    summary = write_summary(write_simulated_run(tmp_path / "run", failed_arm=arm, seeds=seeds, interrupted=True))
    assert len(summary.variants[0].checks.failed) == 1
    assert summary.status == "interrupted"


def test_an_interrupted_run_says_so_and_gives_what_there_is(tmp_path: Path) -> None:
    summary = summarise(write_simulated_run(tmp_path / "run", seeds=(0,), interrupted=True))
    assert summary.status == "interrupted"
    assert "interrupted" in summary.answer[0]
    arm = summary.variants[0].arms["freeze"]
    assert arm.replicates == 0
    assert arm.loss_last.value is not None
    assert "Not checked: 3 arms that did not finish." in summary.variants[0].checks.frozen


def test_a_run_that_was_killed_counts_as_interrupted(tmp_path: Path) -> None:
    run = write_simulated_run(tmp_path / "run")
    path = run / "journal/run.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-1]), encoding="utf-8")
    summary = summarise(run)
    assert (summary.status, summary.seconds) == ("interrupted", None)


def test_a_run_killed_before_any_arm_began_still_has_a_summary(tmp_path: Path) -> None:
    run = write_simulated_run(tmp_path / "run")
    for path in (run / "journal").glob("variant*"):
        path.unlink()
    summary = write_summary(run)
    assert summary.variants[0].arms == {}
    assert summary.answer


def test_a_run_that_measured_little_has_none_in_those_places(tmp_path: Path) -> None:
    run = write_simulated_run(
        tmp_path / "run", with_retention=False, with_sampling=False, with_watch=False, with_memory=False
    )
    summary = write_summary(run)
    arm = summary.variants[0].arms["freeze"]
    assert (arm.forgetting, arm.retention_before, arm.common_share_change, arm.peak_bytes) == (None, None, None, None)
    assert (arm.quality, arm.change_by_role, arm.drift_by_role) == ({}, {}, {})
    assert {claim.id for claim in summary.claims} == {f"C{number}" for number in range(1, 13)}


def test_a_single_arm_has_nothing_to_compare(tmp_path: Path) -> None:
    summary = write_summary(write_simulated_run(tmp_path / "run", arms=("full",)))
    assert summary.variants[0].comparisons == []
    assert "no other arm" in summary.answer[0]
    assert summary.variants[0].arms["full"].saving is None


@pytest.mark.parametrize("steps", [1, 2, 5, 12])
def test_very_short_runs_have_a_summary(tmp_path: Path, steps: int) -> None:
    summary = write_summary(write_simulated_run(tmp_path / "run", steps=steps, seeds=(0,)))
    assert summary.variants[0].arms["full"].loss_first.value is not None


def test_a_run_in_which_frozen_weights_moved_says_so(tmp_path: Path) -> None:
    run = write_simulated_run(tmp_path / "run")
    edit_journal(run, "variant0-seed1-freeze.jsonl", FrozenChecked.__name__, moved=["model.norm.weight"])
    summary = summarise(run)
    assert not summary.variants[0].checks.frozen_holds
    assert summary.answer[0] == "Frozen weights moved in freeze, seed 1: model.norm.weight."


def test_a_run_whose_arms_read_different_windows_says_so(tmp_path: Path) -> None:
    run = write_simulated_run(tmp_path / "run")
    edit_journal(run, "variant0-seed1-freeze.jsonl", StepTaken.__name__, windows_sha256="other")
    checks = summarise(run).variants[0].checks
    assert not checks.pairing_holds
    assert checks.pairing == "Pairing is broken in seed 1: full and freeze read different windows at step 39."


def test_a_run_whose_arms_began_differently_says_so(tmp_path: Path) -> None:
    run = write_simulated_run(tmp_path / "run")
    edit_journal(run, "variant0-seed2-reversed.jsonl", "ArmStarted", initial_sha256="other")
    summary = summarise(run)
    assert "full and reversed began from different weights" in summary.variants[0].checks.pairing
    assert "mean nothing" in summary.answer[0]


def test_a_sound_run_says_how_much_was_compared(tmp_path: Path) -> None:
    checks = summarise(write_simulated_run(tmp_path / "run")).variants[0].checks
    assert checks.pairing_holds
    assert checks.frozen_holds
    assert "3 replicates" in checks.pairing
    assert "240 pairs of steps" in checks.pairing


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("not json", "cannot be read as JSON"),
        ("[]", "its format is None"),
        ('{"format": 99}', "its format is 99"),
        ('{"format": 1}', "not what a summary has there"),
    ],
)
def test_a_damaged_summary_is_refused_in_one_sentence(tmp_path: Path, content: str, problem: str) -> None:
    run = write_simulated_run(tmp_path / "run", steps=4)
    (run / "summary.json").write_text(content, encoding="utf-8")
    with pytest.raises(RunFolderError, match=problem):
        read_summary(run)


def test_a_missing_summary_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="frostline report"):
        read_summary(tmp_path)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="not a run folder"):
        summarise(tmp_path)


def test_a_run_without_its_recipe_is_refused(tmp_path: Path) -> None:
    run = write_simulated_run(tmp_path / "run", steps=4)
    (run / "experiment.yaml").unlink()
    with pytest.raises(RunFolderError, match=r"experiment\.yaml: there is no such file"):
        summarise(run)


def test_a_journal_without_its_beginning_is_told(tmp_path: Path) -> None:
    run = write_simulated_run(tmp_path / "run")
    (run / "journal" / "run.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"has no beginning \(no 'RunStarted'\)\. Run it again\."):
        summarise(run)


def test_summarising_loads_neither_torch_nor_transformers() -> None:
    code = "import sys, frostline.stats; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def by_processes(run: Path, arm: str, first: int, then: int) -> None:
    """Let half of the steps of each replicate of `arm` have been computed by `first` processes, half by `then`."""
    for path in (run / "journal").glob(f"*-{arm}.jsonl"):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for line in lines:
            if line["kind"] == StepTaken.__name__:
                line["processes"] = first if line["step"] < 20 else then
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def times_compared(run: Path) -> dict[str, int]:
    """Of how many comparisons of times an arm is part."""
    summary = summarise(run)
    (variant,) = summary.variants
    claims = {claim.arm for claim in summary.claims if claim.id == "C7" and claim.effect.value is not None}
    seconds = {one.arm for one in variant.comparisons if one.measure == "step_seconds"}
    front = {point.arm for point in variant.fronts if point.axis == "seconds"}
    saving = {name for name, arm in variant.arms.items() if arm.saving is not None and arm.saving.value is not None}
    return {arm: sum(arm in own for own in (claims, seconds, front, saving)) for arm in variant.arms}


@pytest.mark.parametrize("numbers", [{"full": (2, 2)}, {"full": (2, 1)}, {"full": (2, 1), "freeze": (2, 1)}])
def test_times_of_different_numbers_of_processes_are_not_compared(
    tmp_path: Path, numbers: dict[str, tuple[int, int]]
) -> None:
    run = write_simulated_run(tmp_path / "run", arms=("full", "freeze"))
    assert times_compared(run)["freeze"] == 4
    told = "Numbers of processes computed the arms that were not the same throughout"
    assert not any(told in sentence for sentence in summarise(run).answer)
    for arm, (first, then) in numbers.items():
        by_processes(run, arm, first, then)
    assert times_compared(run) == {"full": 0, "freeze": 0}
    (sentence,) = (sentence for sentence in summarise(run).answer if told in sentence)
    assert f"(full by {'1 and 2' if numbers['full'][1] == 1 else '2'}, freeze by " in sentence
    (claim,) = (claim for claim in summarise(run).claims if "several numbers of processes" in str(claim))
    assert claim.arm == "freeze"


def test_times_of_one_number_of_processes_are_compared(tmp_path: Path) -> None:
    run = write_simulated_run(tmp_path / "run", arms=("full", "freeze"))
    before = summarise(run)
    for arm in ("full", "freeze"):
        by_processes(run, arm, 2, 2)
    assert summarise(run) == before
