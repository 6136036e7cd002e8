"""Who gains is what the journal's sums say, part by part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from frostline.report import Run, render_report
from frostline.run_folder import Evaluation, LossByFrequency, read_journal, records_of
from frostline.stats import summarise
from frostline.stats.who_gains import MOST_FILES, _files
from tests.builders.experiments import run_tiny, write_experiment
from tests.builders.simulated_run import write_simulated_run
from tests.builders.tokenizers import words


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over a corpus of three files, one of which repeats parts of another."""
    folder = tmp_path_factory.mktemp("gains")
    (folder / "texts").mkdir()
    numbers = [(index * index + index // 3) % 61 for index in range(900)]
    for name, own in (("a.txt", numbers[:400]), ("b.txt", numbers[400:700]), ("c.txt", numbers[100:200] + [70] * 60)):
        (folder / "texts" / name).write_text(words(own), encoding="utf-8")
    recipe = write_experiment(
        folder,
        layers=2,
        corpus={"source": "texts"},
        windows={"length": 16, "held_out": 12},
        training={"steps": 4, "batch": 2, "learning_rate": 0.01, "precision": "fp32", "untimed_steps": 1},
        arms={"full": {"train": "all"}, "freeze": {"train": ["attn.qkv@50%:"]}},
        seeds=[0, 1, 2, 3],
        measures={"evaluate_every": 0, "sampling": {"prompts": 0}, "memory": False},
    )
    return run_tiny(recipe, folder / "run").run_folder


def gains_by_hand(run_folder: Path, arm: str) -> dict[tuple[str, str], list[float]]:
    """Gain of each seed on each part, from the lines of the journal."""
    lines = read_journal(run_folder)
    facts = next(line for line in lines if line["kind"] == "VariantPrepared")["corpus"]
    assert isinstance(facts, dict)
    found: dict[tuple[str, str], list[float]] = {}
    for seed in range(4):
        before, after = (
            one for one in records_of(lines, Evaluation)
            if (one.seed, one.arm, one.corpus) == (seed, arm, "held_out")
        )  # fmt: skip
        fell = (np.array(before.window_losses) - np.array(after.window_losses)) * np.array(before.window_predictions)
        parts = {("file", name): np.array(facts["held_out_files"]) == name for name in facts["held_out_files"]}
        copied = np.array(facts["held_out_window_overlap"]) > 0
        parts |= {("copies", "copied"): copied, ("copies", "new"): ~copied}
        for place, chosen in parts.items():
            value = fell[chosen].sum() / np.array(before.window_predictions)[chosen].sum()
            found.setdefault(place, []).append(float(value))
        first, last = (one for one in records_of(lines, LossByFrequency) if (one.seed, one.arm) == (seed, arm))
        for number, name in enumerate(first.classes):
            tokens = np.array(first.predictions)[:, number].sum()
            if tokens:
                sums = np.array(first.loss_sums)[:, number].sum() - np.array(last.loss_sums)[:, number].sum()
                found.setdefault(("frequency", name), []).append(float(sums / tokens))
    return found


@pytest.mark.parametrize("arm", ["full", "freeze"])
def test_gains_are_those_of_the_journal_with_an_interval_over_seeds(run_folder: Path, arm: str) -> None:
    summary = summarise(run_folder).variants[0].arms[arm]
    expected, full = gains_by_hand(run_folder, arm), gains_by_hand(run_folder, "full")
    assert {(one.split, one.part) for one in summary.gained_by} == set(expected)
    assert {one.split for one in summary.gained_by} == {"file", "copies", "frequency"}
    for one in summary.gained_by:
        own = np.array(expected[one.split, one.part])
        assert one.gained.value == pytest.approx(own.mean())
        half = 3.182446 * own.std(ddof=1) / 2  # t of 3 degrees of freedom
        assert (one.gained.low, one.gained.high) == pytest.approx((own.mean() - half, own.mean() + half), rel=1e-5)
        if arm == "full":
            assert one.difference is None
        else:
            assert one.difference is not None
            assert one.difference.value == pytest.approx((own - np.array(full[one.split, one.part])).mean())


def test_parts_of_a_split_make_up_the_whole(run_folder: Path) -> None:
    arm = summarise(run_folder).variants[0].arms["freeze"]
    whole = arm.held_out_before.value, arm.held_out_after.value
    assert whole[0] is not None
    assert whole[1] is not None
    for split in ("file", "copies", "frequency"):
        parts = [one for one in arm.gained_by if one.split == split]
        tokens = [one.predictions for one in parts]
        assert sum(tokens) == 12 * 15
        mean = np.average([one.gained.value or 0.0 for one in parts], weights=tokens)
        assert mean == pytest.approx(whole[0] - whole[1], abs=1e-5)


def test_the_report_has_a_table_of_them_and_the_run_a_frame(run_folder: Path) -> None:
    summary = summarise(run_folder)
    frame = Run(run_folder, summary, read_journal(run_folder)).gains()
    arms = summary.variants[0].arms
    assert frame.height == sum(len(arm.gained_by) for arm in arms.values())
    assert frame.filter(frame["arm"] == "full")["difference"].is_null().all()
    page = render_report(run_folder)
    assert "Who gains" in page
    assert all(one.part in page for one in arms["full"].gained_by if one.split != "copies")


def test_a_journal_without_losses_by_frequency_still_opens(tmp_path: Path) -> None:
    summary = summarise(write_simulated_run(tmp_path / "run"))
    assert all(not arm.gained_by for variant in summary.variants for arm in variant.arms.values())


def test_many_files_are_taken_together_but_for_those_with_most_windows() -> None:
    names = [f"{number}.txt" for number in range(MOST_FILES + 4) for _ in range(2 if number > 3 else 1)]
    found = _files(names)
    assert [name for name, _ in found] == [f"{number}.txt" for number in range(4, MOST_FILES + 4)] + ["4 other files"]
    assert np.sum([chosen for _, chosen in found], axis=0).tolist() == [1] * len(names)
    assert len(_files(names[4:])) == MOST_FILES
