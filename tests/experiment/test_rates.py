"""`learning_rate: best`: each arm races for its own rate before the replicates, on windows that serve nothing else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from frostline.arms import make_arm, make_arm_of_base, prepare, race_seed
from frostline.experiment import resume_experiment
from frostline.interruption import Stopped
from frostline.measures import evaluate_loss
from frostline.progress import NoProgress
from frostline.readable import learning_rate
from frostline.recipe import Variant, load_recipe
from frostline.report import Run, render_report
from frostline.run_folder import ArmFailed, ArmStarted, RateChosen, RateTried, read_journal, records_of
from frostline.stats import summarise
from tests.builders.experiments import journal_without_clock, run_tiny, write_experiment

TRAINING = {
    "steps": 2, "batch": 2, "learning_rate": "best", "rates": [0.003, 0.01, 0.03], "precision": "fp32",
    "untimed_steps": 1,
}  # fmt: skip
ARMS = {
    "full": {"train": "all"},
    "freeze": {"train": ["attn.qkv@50%:"]},
    "given": {"train": "mlp", "learning_rate": 0.01},
}
SHORT = {"evaluate_every": 0, "sampling": {"prompts": 0}, "memory": False}
"""Settings of races that take no longer than they must."""


def write_race(folder: Path, **changes: object) -> Path:
    windows = {"length": 16, "held_out": 4, "race": 5}
    settings: dict[str, object] = {"windows": windows, "training": TRAINING, "arms": ARMS, "seeds": [0]} | changes
    return write_experiment(folder, "llama", layers=2, measures=SHORT, **settings)


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of a run that was held as `first` beside it; whoever uses it leaves it as it is."""
    recipe = write_race(tmp_path_factory.mktemp("raced"))
    run_tiny(recipe, recipe.parent / "first", fresh=False)
    return recipe


def chosen_in(run_folder: Path) -> dict[str, RateChosen]:
    return {one.arm: one for one in records_of(read_journal(run_folder), RateChosen)}


def trials_in(run_folder: Path, arm: str) -> list[tuple[float, float, bool]]:
    found = records_of(read_journal(run_folder), RateTried)
    return [(one.learning_rate, one.loss_nats, one.diverged) for one in found if one.arm == arm]


def test_each_raced_arm_trains_at_the_rate_that_its_race_chose_and_the_others_as_given(raced: Path) -> None:
    first = raced.parent / "first"
    chosen = chosen_in(first)
    trained = {one.arm: one.learning_rate for one in records_of(read_journal(first), ArmStarted)}
    assert set(chosen) == {"full", "freeze"}
    assert trained == {"given": 0.01} | {name: one.learning_rate for name, one in chosen.items()}
    assert [rate for rate, _, _ in trials_in(first, "full")][:3] == TRAINING["rates"]


def test_race_windows_are_neither_trained_on_nor_held_out(raced: Path) -> None:
    recipe = load_recipe(raced)
    corpus = prepare(Variant("", recipe), raced.parent / "cache", say=lambda text: None).corpus
    race = {window for batch in corpus.race_batches(2) for window in batch.window_ids}
    held_out = {window for batch in corpus.held_out_batches(2) for window in batch.window_ids}
    trained = set(corpus.batch(0, 0, corpus.windows).window_ids)
    assert len(race) == 5
    assert not race & held_out
    assert not race & trained
    assert not held_out & trained


def test_a_trial_is_a_plain_training_at_that_rate_judged_on_the_race_windows(raced: Path) -> None:
    prepared = prepare(Variant("", load_recipe(raced)), raced.parent / "cache", say=lambda text: None)
    arm = make_arm(prepared, replace(prepared.arms["freeze"], learning_rate=0.01), race_seed(prepared.recipe))
    for step in range(2):
        arm.take_step(prepared.corpus.batch(race_seed(prepared.recipe), step, 2), step)
    batches = prepared.corpus.race_batches(8)
    expected = evaluate_loss(arm.model, batches, device=prepared.device, precision="fp32").loss_nats
    assert (0.01, expected, False) in trials_in(raced.parent / "first", "freeze")


def test_other_arms_change_no_rate_and_an_arm_entered_twice_has_one(raced: Path, tmp_path: Path) -> None:
    arms = {"twin": ARMS["freeze"], "freeze": ARMS["freeze"], "reversed": {"freeze": ["attn@50%:"]}}
    changed = write_race(tmp_path, arms=arms)
    run_folder = run_tiny(changed, tmp_path / "run").run_folder
    freeze = trials_in(raced.parent / "first", "freeze")
    assert trials_in(run_folder, "freeze") == trials_in(run_folder, "twin") == freeze
    chosen = chosen_in(run_folder)
    assert chosen["twin"].learning_rate == chosen["freeze"].learning_rate


def test_a_later_run_takes_races_from_the_store_and_writes_the_same(raced: Path, tmp_path: Path) -> None:
    cache = shutil.copytree(raced.parent / "cache", tmp_path / "cache")
    again = run_tiny(raced, tmp_path / "again", fresh=False, cache=cache).run_folder
    assert all(one.reused_from for one in chosen_in(again).values())
    assert journal_without_clock(again) == journal_without_clock(raced.parent / "first")


@pytest.mark.parametrize("trial", [0, 4])
def test_a_race_that_was_stopped_in_a_trial_goes_on_and_ends_the_same(
    raced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trial: int
) -> None:
    begin, begun = make_arm_of_base, []

    def stop_at(*arguments: object) -> object:
        begun.append(1)
        if len(begun) == trial + 1:
            raise Stopped(15)
        return begin(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("frostline.experiment.rates.make_arm_of_base", stop_at)
    stopped = run_tiny(raced, tmp_path / "run")
    assert (stopped.status, stopped.exit_code) == ("interrupted", 143)
    assert len(records_of(read_journal(stopped.run_folder), RateTried)) == trial
    monkeypatch.setattr("frostline.experiment.rates.make_arm_of_base", begin)
    resume_experiment(stopped.run_folder, raced.parent / "cache", NoProgress())
    assert journal_without_clock(stopped.run_folder) == journal_without_clock(raced.parent / "first")


def test_an_arm_that_diverges_at_every_rate_fails_in_a_sentence_and_the_others_go_on(tmp_path: Path) -> None:
    wild = TRAINING | {"learning_rate": 0.01, "rates": [1e8, 1e10], "gradient_clipping": None}
    arms = {"full": {"train": "all", "learning_rate": "best"}, "freeze": ARMS["freeze"]}
    result = run_tiny(write_race(tmp_path, training=wild, arms=arms), tmp_path / "run")
    failed = records_of(read_journal(result.run_folder), ArmFailed)
    assert [one.arm for one in failed] == ["full"]
    assert failed[0].cause.startswith("training diverged at each of the 4 rates raced, 100 to 1e+08.")
    assert "training.rates" in failed[0].cause
    summary = summarise(result.run_folder)
    assert list(summary.variants[0].arms) == ["freeze"]
    assert summary.variants[0].checks.failed
    assert summary.variants[0].rates["full"].chosen is None
    before = journal_without_clock(result.run_folder)
    resume_experiment(result.run_folder, tmp_path / "cache", NoProgress(), retry_failed=True)
    assert journal_without_clock(result.run_folder) == before


def test_summary_tells_curve_and_method(raced: Path) -> None:
    variant = summarise(raced.parent / "first").variants[0]
    chosen = chosen_in(raced.parent / "first")
    assert list(variant.rates) == ["full", "freeze"]
    assert variant.race_windows == 5
    for name, curve in variant.rates.items():
        assert [own.learning_rate for own in curve.trials] == sorted(own.learning_rate for own in curve.trials)
        assert curve.chosen == variant.arms[name].learning_rate == chosen[name].learning_rate
        assert variant.arms[name].rate_chosen == curve.method != ""
    assert variant.arms["given"].rate_chosen == ""


@pytest.mark.as_shipped
def test_report_draws_a_curve_for_each_raced_arm_and_the_card_names_the_rate(raced: Path) -> None:
    run_folder = raced.parent / "first"
    summary = summarise(run_folder)
    run = Run(run_folder, summary, read_journal(run_folder))
    frame = run.rates()
    assert frame.height == len(records_of(run.lines, RateTried))
    drawn = run.plot.rates().to_dict()
    assert {"full", "freeze"} <= {
        row["arm"] for rows in drawn["datasets"].values() for row in rows if "arm" in row and "learning_rate" in row
    }
    page = render_report(run_folder)
    assert "Loss over the learning rate" in page
    for arm in ("full", "freeze"):
        assert learning_rate(summary.variants[0].arms[arm].learning_rate) in page


def test_varied_rates_are_drawn_to_scale(tmp_path: Path) -> None:
    given = {key: value for key, value in TRAINING.items() if key != "rates"} | {"learning_rate": 0.01, "steps": 1}
    arms = {"full": ARMS["full"], "freeze": ARMS["freeze"]}
    recipe = write_race(tmp_path, training=given, arms=arms, vary={"training.learning_rate": [0.001, 0.01]})
    run_folder = run_tiny(recipe, tmp_path / "run").run_folder
    run = Run(run_folder, summarise(run_folder), read_journal(run_folder))
    assert [variant.arms["full"].learning_rate for variant in run.summary.variants] == [0.001, 0.01]
    assert '"type": "log"' in run.plot.variants().to_json()


def test_schedule_changes_no_rate_and_adapters_changing_plans_and_accumulation_race_too(tmp_path: Path) -> None:
    arms = {
        "lora": {"lora": {"rank": 2, "targets": ["attn.qkv"]}},
        "thaw": {"train": ["attn@50%:"], "changes": [{"at": 1, "thaw": ["mlp"]}]},
    }
    recipe = write_race(tmp_path, training=TRAINING | {"accumulation": 2, "batch": 1}, arms=arms)
    folders = [
        run_tiny(recipe, tmp_path / schedule, (f"training.schedule={schedule}",)).run_folder
        for schedule in ("lock-step", "one-by-one")
    ]
    together, alone = (journal_without_clock(folder) for folder in folders)
    assert set(chosen_in(folders[0])) == {"lora", "thaw"}
    for name in together.keys() - {"run.jsonl"}:
        assert together[name] == alone[name]
    assert [trials_in(folders[0], arm) for arm in arms] == [trials_in(folders[1], arm) for arm in arms]
