"""The Python API: frames with documented columns, charts, and errors for folders that are no runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import frostline
from frostline.errors import FrostlineError, RunFolderError
from frostline.report import NothingMeasured, Run, open_run, write_figures
from frostline.report.style import DARK, LIGHT, Style
from frostline.stats import RULES, write_summary
from tests.builders.simulated_run import write_simulated_run
from tests.builders.simulated_truth import ArmTruth
from tests.report.sample_run import Shape, write_run

PLACE = ["variant", "seed", "arm"]
ESTIMATE = ["value", "low", "high", "n", "unit", "method"]
COLUMNS: dict[str, list[str]] = {
    "losses": [*PLACE, "step", "loss_nats", "gradient_norm", "learning_rate", "predictions", "tokens",
               "windows_sha256", "untimed", "seconds", "processes"],
    "evaluations": [*PLACE, "step", "corpus", "loss_nats", "predictions", "window_losses", "window_predictions"],
    "weight_changes": [*PLACE, "step", "name", "layer", "role", "change", "drift"],
    "final_weights": [*PLACE, "name", "layer", "role", "trained", "norm", "drift", "relative_drift", "stable_rank"],
    "continuations": [*PLACE, "prompt_index", "prompt", "text", "tokens", "common_tokens", "untouched_loss_nats",
                      "ngrams", "copied_ngrams", "distinct_1", "distinct_2", "distinct_3", "repetition", "self_bleu",
                      "measured_tokens", "judge_loss_nats", "draw"],
    "times": [*PLACE, "step", "seconds", "untimed"],
    "curves": [*PLACE, "step", "epoch", "seconds", "flops", "loss_nats"],
    "seeds": ["variant", "arm", "seed", "held_out_before", "held_out_after", "difference", "share_of_gain_kept",
              "training_seconds", "clipped_share", "diverged"],
    "front": ["variant", "axis", "arm", "cost", "cost_low", "cost_high", "loss", "loss_low", "loss_high", "beaten",
              "surely_beaten"],
    "memory": ["variant", "arm", "method", "peak_bytes", "model_bytes", "reserved_bytes"],
    "claims": ["id", "claim", "variant", "arm", "verdict", "scope", "at_rates", *ESTIMATE, "p_value", "sentence",
               "statistic", "null",
               "margin",
               "decides"],
    "estimates": ["variant", "arm", "measure", *ESTIMATE],
}  # fmt: skip
LATER_KEYS = (
    "training_seconds", "at_equal_time", "at_equal_flops", "seconds_to_loss", "share_of_gain_kept", "widest_gap",
    "diverged", "clipped_share", "seed_spread", "by_seed",
)  # fmt: skip
CHARTS = (
    "loss", "loss_difference", "scatter", "token_share", "weight_change", "drift", "time", "memory", "quality",
    "forgetting", "overfitting", "loss_over_time", "front", "gradient_norm",
)  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_a_frame_has_the_documented_columns(plain_run: Run, name: str) -> None:
    frame: pl.DataFrame = getattr(plain_run, name)()
    assert frame.columns == COLUMNS[name]
    assert frame.height > 0


@pytest.mark.parametrize(
    "name", ["losses", "curves", "weight_changes", "final_weights", "continuations", "memory", "claims"]
)
def test_a_frame_without_records_keeps_its_columns_and_types(plain_run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "journal").mkdir()
    empty = Run(tmp_path, plain_run.summary, [])
    frame: pl.DataFrame = getattr(empty, name)()
    assert frame.schema == getattr(plain_run, name)().schema


def test_losses_are_those_of_the_journal(plain_folder: Path, plain_run: Run) -> None:
    lines = (plain_folder / "journal" / "variant0-seed1-freeze.jsonl").read_text(encoding="utf-8").splitlines()
    expected = [line["loss_nats"] for line in map(json.loads, lines) if line["kind"] == "StepTaken"]
    found = plain_run.losses().filter((pl.col("seed") == 1) & (pl.col("arm") == "freeze")).sort("step")
    assert found.get_column("loss_nats").to_list() == expected


def test_a_curve_has_the_seconds_of_the_steps_before_with_untimed_ones_at_the_mean(plain_run: Run) -> None:
    seconds = (
        plain_run.times().filter((pl.col("seed") == 1) & (pl.col("arm") == "freeze")).sort("step").get_column("seconds")
    )
    found = plain_run.curves().filter((pl.col("seed") == 1) & (pl.col("arm") == "freeze")).sort("step")
    taken = [float(value) for value in seconds]
    mean = sum(taken[3:]) / len(taken[3:])
    assert found.get_column("step").to_list() == [0, 8, 16]
    expected = [0.0, 3 * mean + sum(taken[3:8]), 3 * mean + sum(taken[3:16])]
    assert found.get_column("seconds").to_list() == pytest.approx(expected)
    assert found.get_column("epoch").to_list() == pytest.approx([0, 16 / 860, 32 / 860])


def test_a_curve_has_the_operations_that_its_steps_need_unless_the_plan_changes(tmp_path: Path) -> None:
    run = write_simulated_run(tmp_path / "run", seeds=(0,), with_watch=False, with_sampling=False)
    flops = open_run(run).curves().filter(pl.col("arm") == "full").get_column("flops").to_list()
    assert flops == pytest.approx([step * 2.1e11 for step in (0, 10, 20, 30, 40)])
    gradual = write_simulated_run(
        tmp_path / "gradual", arms=("full",), seeds=(0,), with_watch=False, with_sampling=False,
        truth=lambda variant, arm: ArmTruth(plan="train: [all]; at 50 %: all"),
    )  # fmt: skip
    assert open_run(gradual).curves().get_column("flops").null_count() == 5


def test_a_run_that_earlier_rules_judged_keeps_its_verdicts_and_says_by_whose_rules(tmp_path: Path) -> None:
    folder = write_simulated_run(tmp_path / "run", seeds=(0, 1), with_watch=False, with_sampling=False)
    written = json.dumps(_as_of_its_time(asdict(write_summary(folder))))
    (folder / "summary.json").write_text(written, encoding="utf-8")
    run = open_run(folder)
    assert run.summary.judged_by == "0.1.0"
    assert run.summary.answer == ["What it said then."]
    assert {claim.verdict for claim in run.summary.claims} == {"supported"}
    assert run.summary.variants[0].bottom_line  # what was not measured then follows from the journal
    frostline.write_report(folder)
    assert (folder / "summary.json").read_text(encoding="utf-8") == written
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Judged by the rules of 0.1.0: verdicts and answer are those of their own time" in page


def test_moved_away_such_a_summary_is_judged_anew(tmp_path: Path) -> None:
    folder = write_simulated_run(tmp_path / "run", seeds=(0, 1), with_watch=False, with_sampling=False)
    frostline.write_report(folder)
    assert open_run(folder).summary.judged_by == RULES
    assert "Judged by the rules" not in (folder / "report.html").read_text(encoding="utf-8")


def test_an_earlier_summary_whose_journal_says_nothing_today_is_still_read(plain_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(plain_folder, tmp_path / "run")
    path = tmp_path / "run" / "summary.json"
    path.write_text(json.dumps(_as_of_its_time(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")
    assert open_run(tmp_path / "run").summary.answer == ["What it said then."]


def _as_of_its_time(summary: dict[str, Any]) -> dict[str, Any]:
    """A summary as the first version wrote it: without the keys that came later."""
    del summary["judged_by"]
    summary["answer"] = ["What it said then."]
    for claim in summary["claims"]:
        claim["verdict"] = "supported"
    for variant in summary["variants"]:
        for key in ("bottom_line", "cost_details", "fronts"):
            del variant[key]
        for arm in variant["arms"].values():
            for key in LATER_KEYS:
                arm.pop(key)
    return summary


def test_weight_changes_name_the_matrix_of_each_number(plain_folder: Path, plain_run: Run) -> None:
    lines = (plain_folder / "journal" / "variant0-seed0-full.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    watched = next(record for record in records if record["kind"] == "WatchedMatrices")
    change = next(record for record in records if record["kind"] == "WeightChange" and record["step"] == 5)
    expected = dict(zip(watched["names"], change["change"], strict=True))
    found = plain_run.weight_changes().filter((pl.col("seed") == 0) & (pl.col("arm") == "full") & (pl.col("step") == 5))
    assert dict(found.select("name", "change").iter_rows()) == expected


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_valid_vega_lite(plain_run: Run, name: str) -> None:
    draw: Callable[[], object] = getattr(plain_run.plot, name)
    chart = draw()
    specification = chart.to_dict()  # type: ignore[attr-defined]  # altair validates against the schema here
    assert specification["config"]["background"] == LIGHT.paper


def test_charts_can_be_drawn_on_dark_paper(plain_run: Run) -> None:
    chart = plain_run.plot.with_palette(DARK).loss()
    assert DARK.arms[0] in json.dumps(chart.to_dict())
    assert LIGHT.arms[0] not in json.dumps(chart.to_dict())


def test_the_scatter_pairs_the_losses_of_one_step_and_replicate(plain_run: Run) -> None:
    losses = plain_run.losses()
    specification = plain_run.plot.scatter().to_dict()
    points = [
        row for rows in specification["datasets"].values() for row in rows if "baseline_nats" in row and "seed" in row
    ]
    assert len(points) == 2 * 3 * 24
    point = points[17]
    where = (pl.col("seed") == point["seed"]) & (pl.col("step") == point["step"])
    assert losses.filter(where & (pl.col("arm") == "full")).get_column("loss_nats").item() == point["baseline_nats"]
    assert losses.filter(where & (pl.col("arm") == point["arm"])).get_column("loss_nats").item() == point["loss_nats"]


def test_an_arm_keeps_its_colour_whichever_arms_a_figure_shows() -> None:
    style = Style(("full", "freeze", "reversed"), "full")
    domain, colours = style.scale(["reversed", "full"])
    assert dict(zip(domain, colours, strict=True)) == {"full": LIGHT.baseline, "reversed": LIGHT.arms[1]}


def test_every_colour_of_a_palette_is_its_own() -> None:
    for palette in (LIGHT, DARK):
        assert len(set(palette.named().values())) == len(palette.named())


def test_a_chart_of_something_not_measured_says_so(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", Shape(seeds=(0,), steps=3, memory=False, layers=2)))
    with pytest.raises(NothingMeasured, match="Peak memory was not measured"):
        run.plot.memory()


def test_an_unknown_variant_is_an_error_that_names_the_nearest(tmp_path: Path) -> None:
    shape = Shape(variants=("corpus.tokens=1000", "corpus.tokens=2000"), seeds=(0,), steps=3, layers=2)
    run = open_run(write_run(tmp_path / "run", shape))
    with pytest.raises(RunFolderError, match=r"Did you mean 'corpus\.tokens=1000'"):
        run.plot.loss("corpus.tokens=100")
    with pytest.raises(RunFolderError, match=r"no variant 'x'\. It has: corpus\.tokens=1000, corpus\.tokens=2000\."):
        run.plot.loss("x")


def test_every_figure_is_written_as_svg_and_png(plain_folder: Path, tmp_path: Path) -> None:
    written = write_figures(plain_folder, tmp_path / "figures")
    assert sorted(path.name for path in written) == sorted(f"{name}.{end}" for name in CHARTS for end in ("png", "svg"))
    for path in written:
        content = path.read_bytes()
        assert content.startswith(b"<svg" if path.suffix == ".svg" else b"\x89PNG")
        assert len(content) > 2000


def test_a_missing_folder_is_a_run_folder_error(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no such run folder"):
        open_run(tmp_path / "nowhere")


def test_a_folder_without_a_journal_is_a_run_folder_error(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="not a run folder"):
        open_run(tmp_path)


def test_a_damaged_journal_is_a_run_folder_error(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Shape(seeds=(0,), steps=3, layers=2))
    journal = folder / "journal" / "run.jsonl"
    journal.write_text("{broken\n" + journal.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"run\.jsonl:1"):
        open_run(folder)


def test_a_damaged_summary_is_an_error_for_the_user(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Shape(seeds=(0,), steps=3, layers=2))
    (folder / "summary.json").write_text('{"format": 1', encoding="utf-8")
    with pytest.raises(FrostlineError, match=r"summary\.json"):
        open_run(folder)


def test_a_report_that_cannot_be_written_leaves_nothing_behind(plain_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(plain_folder, folder, ignore=shutil.ignore_patterns("report.html"))
    blocked = tmp_path / "a file"
    blocked.write_text("", encoding="utf-8")
    with pytest.raises(RunFolderError, match="cannot be written"):
        write_figures(folder, blocked / "figures")
    assert blocked.read_text(encoding="utf-8") == ""


def test_reports_open_without_torch() -> None:
    asked = "import frostline.report, sys; sys.exit(int('torch' in sys.modules or 'transformers' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0
