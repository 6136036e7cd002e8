"""A whole advice on a tiny model: recommended, resumed after a kill or a stop, refused where it cannot be given."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from frostline.advisor.advising import AdviceResult, advise
from frostline.advisor.budget import parse_budget
from frostline.advisor.candidates import LATE_CONTROL
from frostline.advisor.race import RUNGS
from frostline.advisor.recommendation import recommend
from frostline.advisor.retrained import RETRAINING
from frostline.corpus import Batch
from frostline.engine import Arm, StepOutcome
from frostline.errors import CorpusError, FrostlineError, PlanError, RecipeError, RunFolderError
from frostline.experiment.resume import standing
from frostline.recipe import load_recipe
from frostline.run_folder import (
    SESSIONS_FILE,
    WALL_CLOCK_FIELDS,
    AdviceEnded,
    CandidateMade,
    SignalMeasured,
    TrialFinished,
    VariantPrepared,
    read_journal,
    records_of,
)
from frostline.signals.measure import ADVISING
from frostline.terminal.advice import draw_advice
from frostline.terminal.progress import PlainProgress
from tests.builders.experiments import run_tiny, write_experiment
from tests.builders.processes import Processes
from tests.cli.test_app import frostline

STEPS = 9


@pytest.fixture(scope="module")
def advised(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AdviceResult]:
    """A recipe, and the advice given on it, in a thread; whoever uses it leaves it as it is."""
    recipe = tiny(tmp_path_factory.mktemp("advised"))
    with ThreadPoolExecutor(1) as threads:
        return recipe, threads.submit(advise_it, recipe, recipe.parent / "advice").result()


def tiny(folder: Path, **changes: object) -> Path:
    (folder / "cache").mkdir(parents=True, exist_ok=True)
    settings: dict[str, object] = {"windows": {"length": 8, "held_out": 8}, "seeds": [0]}
    return write_experiment(folder, **(settings | changes))  # type: ignore[arg-type]  # of any type


def advise_it(
    recipe: Path, folder: Path, *budget: str, steps: int | None = STEPS, signals: Sequence[str] = ADVISING
) -> AdviceResult:
    with PlainProgress(Console(quiet=True)) as progress:
        return advise(
            load_recipe(recipe),
            folder,
            recipe.parent / "cache",
            progress,
            budget=parse_budget(budget),
            steps=steps,
            signals=signals,
        )


def what_was_found(folder: Path) -> list[dict[str, object]]:
    """The journal without its clock, and without which plans were too dear: prices are measured."""
    return [
        {key: value for key, value in line.items() if key not in WALL_CLOCK_FIELDS}
        for line in read_journal(folder)
        if line["kind"] != CandidateMade.__name__
    ]


def test_an_advice_ends_with_a_plan_and_a_recipe_that_runs(advised: tuple[Path, AdviceResult], tmp_path: Path) -> None:
    recipe, result = advised
    assert result.status == "finished"
    found = result.recommendation
    assert found is not None
    assert result.advice is not None
    assert result.advice.ended is not None
    lines = read_journal(result.folder)
    candidates = {made.candidate: made for made in records_of(lines, CandidateMade)}
    assert {"full", "upper-half", "attention", "mlp", "norms-biases", "random-1", "random-2"} <= set(candidates)
    assert candidates["mlp.down"].settled == {"train": ["mlp.down@:"]}
    assert len({made.plan for made in candidates.values()}) == len(candidates)
    trials = records_of(lines, TrialFinished)
    assert not any(trial.cause for trial in trials)
    assert {trial.steps for trial in trials} == {3, 9}
    again = {(trial.candidate, trial.seed) for trial in trials if trial.rung == RETRAINING}
    judged = {found.pick.candidate, "full", *([found.control] if found.control else [])}
    assert again == {(name, seed) for name in judged for seed in (1, 2)}, "the recipe has seed 0"
    assert found.retrained is not None
    assert {name for name, _ in again} == set(found.retrained.losses)
    assert all(bool(trial.held_out_losses) == (trial.rung >= RUNGS - 1) for trial in trials)
    first = {trial.step_losses[0] for trial in trials if trial.rung < RUNGS}
    assert max(first) - min(first) < 1e-5, "all begin from the same weights on the same windows"
    wanted = load_recipe(result.folder / "recommended.yaml")
    assert list(wanted.arms)[:2] == ["full", "advised"]
    assert wanted.arms["advised"].learning_rate == found.pick.learning_rate
    assert found.control is None or wanted.arms[found.control].train[0].endswith("% by random")  # type: ignore[index]
    run_tiny(result.folder / "recommended.yaml", tmp_path / "run", ("training.steps=3",))
    from_journal = advise_it(recipe, result.folder)
    assert from_journal.recommendation == found
    assert len(records_of(read_journal(result.folder), AdviceEnded)) == 1


def has_trials(journal: Path, trials: int) -> bool:
    return journal.exists() and journal.read_text().count('"TrialFinished"') >= trials


def test_no_trial_reads_a_window_that_decides_or_judges(tmp_path: Path) -> None:
    from frostline.advisor.trial import deciding_windows
    from frostline.arms.prepared import prepare
    from frostline.recipe import variants_of

    recipe = tiny(tmp_path)
    prepared = prepare(variants_of(load_recipe(recipe))[0], tmp_path / "cache", say=lambda _: None)
    deciding = {window for batch in deciding_windows(prepared, STEPS) for window in batch.window_ids}
    read = {window for step in range(STEPS) for window in prepared.corpus.batch(0, step, 2).window_ids}
    held_out = {window for batch in prepared.corpus.held_out_batches(4) for window in batch.window_ids}
    assert len(deciding) == 16
    assert not deciding & read
    assert not deciding & held_out


def test_an_advice_stopped_and_killed_again_and_again_ends_as_one_left_alone(
    advised: tuple[Path, AdviceResult], tmp_path: Path, processes: Processes
) -> None:
    recipe, left_alone = advised
    arguments = ["advise", str(recipe), "--out", str(tmp_path / "killed"), "--steps", str(STEPS)]
    journal, output = tmp_path / "killed" / "journal" / "run.jsonl", tmp_path / "output.txt"
    cache = recipe.parent / "cache"
    for trials, number, code in ((0, signal.SIGKILL, -9), (5, signal.SIGTERM, 143), (30, signal.SIGKILL, -9)):
        processes.begin(arguments, cache, output)
        processes.wait_until(partial(has_trials, journal, trials))
        processes.send(number)
        assert processes.wait() == code
    assert "Go on with the same command" in output.read_text()
    assert processes.run(arguments, cache, output) == 0
    assert what_was_found(tmp_path / "killed") == what_was_found(left_alone.folder)
    (ended,) = records_of(read_journal(tmp_path / "killed"), AdviceEnded)
    sessions = [json.loads(line) for line in (tmp_path / "killed" / SESSIONS_FILE).read_text().splitlines()]
    assert len(sessions) == 4
    assert ended.seconds > sessions[-1]["seconds_before"] > 0, "the time of all processes counts"
    assert "Traceback" not in output.read_text()


def test_an_advice_killed_between_two_of_its_records_writes_the_others(
    advised: tuple[Path, AdviceResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, left_alone = advised
    folder = tmp_path / "advice"
    shutil.copytree(left_alone.folder, folder)
    journal = folder / "journal" / "run.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    kinds = [json.loads(line)["kind"] for line in lines]
    whole = read_journal(left_alone.folder)
    monkeypatch.setattr("frostline.advisor.advising.run_race", stop_before_the_race)
    for last in (SignalMeasured, CandidateMade):
        journal.write_bytes(b"".join(lines[: kinds.index(last.__name__) + 2]))
        with pytest.raises(FrostlineError, match="enough"):
            advise_it(recipe, folder)
        again = read_journal(folder)
        assert records_of(again, SignalMeasured) == records_of(whole, SignalMeasured)
        names = [
            made.candidate for made in records_of(whole, CandidateMade) if not made.candidate.startswith(LATE_CONTROL)
        ]
        assert [made.candidate for made in records_of(again, CandidateMade)] == names


def test_an_advice_killed_while_it_trains_again_goes_on_there(
    advised: tuple[Path, AdviceResult], tmp_path: Path
) -> None:
    recipe, left_alone = advised
    folder = tmp_path / "advice"
    shutil.copytree(left_alone.folder, folder)
    journal = folder / "journal" / "run.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    first = next(place for place, line in enumerate(lines) if json.loads(line).get("rung") == RETRAINING)
    journal.write_bytes(b"".join(lines[: first + 1]) + lines[first + 1][:20])
    result = advise_it(recipe, folder)
    assert result.recommendation == left_alone.recommendation
    assert what_was_found(folder) == what_was_found(left_alone.folder)


def stop_before_the_race(*arguments: object) -> None:
    raise FrostlineError("enough")


def test_the_signals_that_are_asked_for_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frostline.advisor.advising.run_race", stop_before_the_race)
    with pytest.raises(FrostlineError, match="enough"):
        advise_it(tiny(tmp_path), tmp_path / "advice", signals=("ablation", "cka"))
    lines = read_journal(tmp_path / "advice")
    chosen = {made.candidate for made in records_of(lines, CandidateMade) if made.origin == "signal"}
    assert chosen == {"ablation"}, "cka tells nothing about where training pays"
    assert [own.signal for own in records_of(lines, SignalMeasured)] == ["ablation", "cka"]
    with pytest.raises(PlanError, match="there is no signal 'fishr'"):
        advise_it(tiny(tmp_path), tmp_path / "other", signals=("fishr",))
    assert not (tmp_path / "other").exists()


def test_a_budget_is_kept_and_a_plan_that_fails_does_not_stop_the_race(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_step = Arm.take_step

    def failing(self: Arm, batch: Batch, step: int) -> StepOutcome:
        if self.name == "upper-half-qkv":
            raise ZeroDivisionError("injected")
        return take_step(self, batch, step)

    monkeypatch.setattr(Arm, "take_step", failing)
    result = advise_it(tiny(tmp_path), tmp_path / "advice", "parameters=45%", "memory=40GB", steps=3)
    assert result.recommendation is not None
    lines = read_journal(tmp_path / "advice")
    made = {own.candidate: own for own in records_of(lines, CandidateMade)}
    full = made["full"].trained_parameters
    assert result.recommendation.candidate.trained_parameters <= 0.45 * full
    assert made["reverse"].exceeds == ["84 % of the parameters"]
    trials = records_of(lines, TrialFinished)
    assert {trial.candidate for trial in trials} == {name for name, own in made.items() if not own.exceeds} | {"full"}
    assert {trial.cause for trial in trials if trial.candidate == "upper-half-qkv"} == {"ZeroDivisionError: injected"}
    assert result.recommendation.pick.candidate != "upper-half-qkv"


def test_a_budget_that_no_plan_keeps_names_the_nearest_and_another_may_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(tmp_path)
    with pytest.raises(RecipeError, match=r"no plan keeps it\. The one that comes nearest is .*% of the parameters"):
        advise_it(recipe, tmp_path / "advice", "parameters=0.01%")
    monkeypatch.setattr("frostline.advisor.advising.run_race", stop_before_the_race)
    with pytest.raises(FrostlineError, match="enough"):  # begun: nothing of the refused budget is in the way
        advise_it(recipe, tmp_path / "advice", "parameters=45%")


@pytest.mark.parametrize(
    ("changes", "told", "kind"),
    [
        (
            {"windows": {"length": 60, "held_out": 8}},
            "decide the race.* Use a smaller training.batch",
            CorpusError,
        ),
        ({"windows": {"length": 40, "held_out": 8}}, "Use --steps [3-8] or fewer", CorpusError),
        ({"windows": {"length": 8, "held_out": 8, "order": "random"}}, "random offsets leave none", RecipeError),
    ],
)
def test_a_corpus_that_does_not_suffice_is_told(
    changes: dict[str, object], told: str, kind: type[FrostlineError], tmp_path: Path
) -> None:
    with pytest.raises(kind, match=told):
        advise_it(tiny(tmp_path, **changes), tmp_path / "advice")


def test_another_question_in_the_same_folder_is_refused(advised: tuple[Path, AdviceResult], tmp_path: Path) -> None:
    recipe, result = advised
    with pytest.raises(RunFolderError, match="another budget: 'none' then, 'time=50%' now"):
        advise_it(recipe, result.folder, "time=50%")
    with pytest.raises(RunFolderError, match="another number of steps"):
        advise_it(recipe, result.folder, steps=12)
    with pytest.raises(RunFolderError, match="begun with other signals: gradient-norm, gradient-weight, fisher, snr"):
        advise_it(recipe, result.folder, signals=("ablation",))
    with pytest.raises(RunFolderError, match="begun with other signals"):
        advise_it(recipe, result.folder, signals=(*ADVISING, "ablation"))
    with pytest.raises(RunFolderError, match="is the folder of an advice, not of a run"):
        standing(result.folder)
    run_tiny(recipe, tmp_path / "run", ("training.steps=1",))
    with pytest.raises(RunFolderError, match="is the folder of a run"):
        advise_it(recipe, tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="there is something else"):
        advise_it(recipe, tmp_path / "other")
    assert (tmp_path / "other" / "notes.txt").read_text() == "mine"


def test_another_text_is_refused(advised: tuple[Path, AdviceResult], tmp_path: Path) -> None:
    recipe, result = advised
    shutil.copytree(result.folder, tmp_path / "advice")
    journal = tmp_path / "advice" / "journal" / "run.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    (facts,) = [line for line in lines if line["kind"] == VariantPrepared.__name__]
    facts["corpus"]["sha256"] = "0" * 64
    journal.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with pytest.raises(RunFolderError, match="since it was begun, the corpus changed"):
        advise_it(recipe, tmp_path / "advice")


def test_a_plan_that_failed_at_the_end_is_left_out_of_the_table(advised: tuple[Path, AdviceResult]) -> None:
    _, result = advised
    assert result.advice is not None
    assert result.recommendation is not None
    trials = [
        replace(own, window_losses=[], held_out_losses=[], cause="broken") if own.candidate == "full" else own
        for own in result.advice.trials
    ]
    found = recommend(trials, result.advice.candidates)
    console = Console(file=StringIO(), width=120)
    console.print(
        draw_advice(
            replace(result, advice=replace(result.advice, trials=trials), recommendation=found, page=Path("page"))
        )
    )
    assert isinstance(console.file, StringIO)
    printed = console.file.getvalue()
    assert "nan" not in printed
    assert result.recommendation.pick.candidate in printed


def test_the_commands_json_holds_all_that_was_found(
    advised: tuple[Path, AdviceResult], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, result = advised
    monkeypatch.setenv("FROSTLINE_CACHE", str(recipe.parent / "cache"))
    arguments = ("advise", str(recipe), "--out", str(result.folder), "--steps", str(STEPS))
    assert frostline("--help", monkeypatch=monkeypatch) == 0
    capsys.readouterr()
    assert frostline(*arguments, "--json", monkeypatch=monkeypatch) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recommendation"]["pick"]["candidate"] in {made["candidate"] for made in found["candidates"]}
    assert found["recommendation"]["retrained"]["seeds"] == [1, 2]
    assert result.advice is not None
    assert found["search"]["steps"] == sum(len(trial.step_losses) for trial in result.advice.trials)
    assert {own["signal"]: own["steadiness"] is None for own in found["signals"]} == {
        "gradient-norm": False, "gradient-weight": False, "fisher": False, "snr": True,
    }  # fmt: skip
    assert result.recommendation is not None
    assert result.recommendation.pick.candidate in found["loss_in_equal_time"]
    assert frostline(*arguments, monkeypatch=monkeypatch) == 0
    printed = capsys.readouterr().out
    assert "advised" in printed
    assert "How alike two halves of the windows rank (Spearman): gradient-norm" in printed
    assert "The search took" in printed
