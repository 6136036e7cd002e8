"""An experiment from recipe to run folder: paired, exact, and isolated where an arm fails."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from frostline.errors import FrostlineError, RunFolderError
from frostline.experiment.variants import Variants
from frostline.interruption import SIGNALS
from frostline.recipe import load_recipe
from frostline.run_folder import (
    ArmFailed,
    ArmFinished,
    ArmStarted,
    Continuation,
    Evaluation,
    FinalWeights,
    FrozenChecked,
    PeakMemory,
    PlanChanged,
    RunEnded,
    StepTaken,
    TrueContinuation,
    VariantPrepared,
    WeightChange,
    read_journal,
    records_of,
)
from tests.builders.experiments import journal_without_clock, run_tiny, write_experiment
from tests.builders.tokenizers import words

ARMS = ("full", "freeze", "reversed")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("experiment"))


@pytest.fixture(scope="module")
def run_folder(recipe: Path) -> Path:
    return run_tiny(recipe, recipe.parent / "run").run_folder


def test_a_run_in_a_thread_is_the_same_and_leaves_the_handlers_of_signals_alone(recipe: Path, run_folder: Path) -> None:
    handlers = [signal.getsignal(number) for number in SIGNALS]
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(run_tiny, recipe, recipe.parent / "threaded").result().status == "finished"
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    assert journal_without_clock(recipe.parent / "threaded") == journal_without_clock(run_folder)


def test_every_arm_of_every_replicate_is_measured_from_beginning_to_end(run_folder: Path) -> None:
    lines = read_journal(run_folder)
    expected = {(seed, arm) for seed in (0, 1) for arm in ARMS}
    for kind in ("ArmStarted", "ArmFinished", "FinalWeights", "FrozenChecked"):
        assert {(line["seed"], line["arm"]) for line in lines if line["kind"] == kind} == expected
    steps = records_of(lines, StepTaken)
    assert {(record.seed, record.arm, record.step) for record in steps} == {
        (*pair, k) for pair in expected for k in range(6)
    }
    assert [record.untimed for record in steps if record.arm == "full" and record.seed == 0] == [True] + [False] * 5
    evaluations = {(record.seed, record.arm, record.step) for record in records_of(lines, Evaluation)}
    assert evaluations == {(*pair, step) for pair in expected for step in (0, 3, 6)}
    assert len(records_of(lines, WeightChange)) == 6 * 6
    continuations = records_of(lines, Continuation)
    assert {record.arm for record in continuations} == {"", *ARMS}
    assert len(continuations) == 2 * 4 * 3
    assert records_of(lines, RunEnded)[0].status == "finished"


def test_arms_of_a_replicate_share_initial_weights_and_windows_at_each_step(run_folder: Path) -> None:
    lines = read_journal(run_folder)
    assert len({record.initial_sha256 for record in records_of(lines, ArmStarted)}) == 1
    windows: dict[tuple[int, int], set[str]] = {}
    for record in records_of(lines, StepTaken):
        windows.setdefault((record.seed, record.step), set()).add(record.windows_sha256)
    assert all(len(hashes) == 1 for hashes in windows.values())
    assert len({next(iter(hashes)) for hashes in windows.values()}) == len(windows)


def test_first_loss_is_the_same_number_in_every_arm(run_folder: Path) -> None:
    first = [record for record in records_of(read_journal(run_folder), StepTaken) if record.step == 0]
    assert len({record.loss_nats for record in first if record.seed == 0}) == 1


def test_frozen_weights_moved_nowhere(run_folder: Path) -> None:
    checks = records_of(read_journal(run_folder), FrozenChecked)
    assert all(check.moved == [] for check in checks)
    assert all(check.checked_values > 0 for check in checks if check.arm != "full")


def test_run_twice_gives_the_same_journal(recipe: Path, run_folder: Path, tmp_path: Path) -> None:
    again = run_tiny(recipe, tmp_path / "again").run_folder
    assert journal_without_clock(again) == journal_without_clock(run_folder)


def test_one_arm_after_another_gives_the_same_journal_of_each_arm(
    recipe: Path, run_folder: Path, tmp_path: Path
) -> None:
    apart = run_tiny(recipe, tmp_path / "apart", ("training.schedule=one-by-one",)).run_folder
    expected, found = journal_without_clock(run_folder), journal_without_clock(apart)
    assert len(expected) == 1 + 2 * 4
    for name in expected.keys() - {"run.jsonl"}:
        assert found[name] == expected[name]


def test_adding_an_arm_changes_no_arm(recipe: Path, run_folder: Path, tmp_path: Path) -> None:
    more = run_tiny(recipe, tmp_path / "more", ("arms.last={train: [mlp@-1:]}", "seeds=[1]")).run_folder
    expected, found = journal_without_clock(run_folder), journal_without_clock(more)
    for arm in ARMS:
        assert found[f"variant0-seed1-{arm}.jsonl"] == expected[f"variant0-seed1-{arm}.jsonl"]


def test_resolved_recipe_in_the_run_folder_runs_again(run_folder: Path, recipe: Path) -> None:
    assert load_recipe(run_folder / "experiment.yaml") == load_recipe(recipe)


def test_an_arm_whose_loss_is_not_finite_is_marked_failed_and_the_others_go_on(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, seeds=[0])
    overrides = ("arms.full.learning_rate=1e30", "training.gradient_clipping=null")
    lines = read_journal(run_tiny(recipe, tmp_path / "run", overrides).run_folder)
    (failure,) = records_of(lines, ArmFailed)
    assert failure.arm == "full"
    assert "finite" in failure.cause
    assert {record.arm for record in records_of(lines, ArmFinished)} == {"freeze", "reversed"}


def test_plans_that_change_are_journalled_and_hold(tmp_path: Path) -> None:
    recipe = write_experiment(
        tmp_path,
        seeds=[0],
        arms={
            "thaw": {"train": ["attn@3"], "changes": [{"at": 2, "thaw": ["mlp@3"]}, {"at": 4, "freeze": ["attn@3"]}]}
        },
    )
    lines = read_journal(run_tiny(recipe, tmp_path / "run").run_folder)
    changes = records_of(lines, PlanChanged)
    assert [(change.step, bool(change.thawed), bool(change.frozen)) for change in changes] == [
        (2, True, False),
        (4, False, True),
    ]
    assert records_of(lines, FrozenChecked)[0].moved == []


def test_lora_is_an_arm_like_any_other(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, seeds=[0], arms={"full": {"train": "all"}, "lora": {"lora": {"rank": 2}}})
    lines = read_journal(run_tiny(recipe, tmp_path / "run").run_folder)
    first = {record.arm: record.loss_nats for record in records_of(lines, StepTaken) if record.step == 0}
    assert first["lora"] == first["full"]
    started = {record.arm: record for record in records_of(lines, ArmStarted)}
    assert started["lora"].trained_parameters < started["full"].trained_parameters / 5
    assert started["lora"].initial_sha256 == started["full"].initial_sha256
    watched = next(record for record in records_of(lines, FinalWeights) if record.arm == "lora")
    assert max(watched.drift) > 0


@pytest.mark.parametrize("arm", ["freeze", "lora"])
def test_saved_model_loads_with_from_pretrained_and_differs_only_where_it_trained(tmp_path: Path, arm: str) -> None:
    recipe = write_experiment(
        tmp_path,
        family="gpt2",
        seeds=[0, 1],
        save=[arm],
        arms={"freeze": {"train": "attn.q@50%:"}, "lora": {"lora": {"rank": 2}}},
    )
    run_folder = run_tiny(recipe, tmp_path / "run").run_folder
    saved = AutoModelForCausalLM.from_pretrained(run_folder / "checkpoints" / arm)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "model").state_dict()
    assert saved.state_dict().keys() == base.keys()
    changed = {name for name, value in saved.state_dict().items() if not torch.equal(value, base[name])}
    expected = (2, 3) if arm == "freeze" else (0, 1, 2, 3)
    assert changed == {f"transformer.h.{layer}.attn.c_attn.weight" for layer in expected}
    assert len(AutoTokenizer.from_pretrained(run_folder / "checkpoints" / arm)) > 10
    assert [path.name for path in (run_folder / "checkpoints").iterdir()] == [arm]


def test_retention_corpus_and_variants_are_measured(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, seeds=[0], retention={"source": "text.txt"}, vary={"corpus.tokens": [400, 800]})
    lines = read_journal(run_tiny(recipe, tmp_path / "run").run_folder)
    evaluations = records_of(lines, Evaluation)
    assert {record.corpus for record in evaluations} == {"held_out", "retention"}
    assert {record.variant for record in evaluations} == {"corpus.tokens=400", "corpus.tokens=800"}


@pytest.mark.as_shipped
def test_peak_memory_of_each_arm_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, seeds=[0], arms={"full": {"train": "all"}})
    lines = read_journal(run_tiny(recipe, tmp_path / "run", ("measures.memory=true", "training.steps=2")).run_folder)
    (peak,) = records_of(lines, PeakMemory)
    assert peak.method == "process RSS"
    assert peak.peak_bytes > 50e6  # an interpreter with torch is never smaller
    assert 0 < peak.model_bytes < 1e6


def test_a_run_never_overwrites_another(recipe: Path, run_folder: Path) -> None:
    before = journal_without_clock(run_folder)
    with pytest.raises(RunFolderError, match="exists already"):
        run_tiny(recipe, run_folder)
    assert journal_without_clock(run_folder) == before


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("windows.length=4000",), ["windows.length", "4000"]),
        (("measures.sampling.new_tokens=9999",), ["measures.sampling", "9999"]),
        (("corpus.source=nowhere.txt",), ["corpus", "nowhere.txt"]),
        (("model.source=./nowhere",), ["model.source", "nowhere"]),
        (("arms.freeze.train=[atn]",), ["arms.freeze", "'atn'", "'attn'"]),
        (("arms.freeze.train=[attn@9]",), ["arms.freeze", "@9", "4 layers"]),
        (("arms.freeze.train=['name:*nothing*']",), ["arms.freeze", "nothing"]),
        (("arms.freeze={freeze: all}",), ["arms.freeze"]),
        (("arms.freeze={train: mlp, changes: [{at: 99, thaw: attn}]}",), ["arms.freeze", "99"]),
        (("measures.watch=[atn]",), ["measures.watch", "atn"]),
        (("measures.sampling.prompt_tokens=17",), ["measures.sampling.prompt_tokens", "17", "16"]),
        (("arms.freeze={lora: {targets: [norm]}}",), ["arms.freeze", "norm"]),
        (("training.device=cuda",), ["CUDA"]),
        (("windows.held_out=5000",), ["corpus"]),
        (("retention={source: nowhere.txt}",), ["retention", "nowhere.txt"]),
        (("vary.corpus.tokens=[400, 20]",), ["corpus.tokens=20"]),
    ],
)
def test_a_mistake_is_found_before_the_run_folder_exists(
    recipe: Path, tmp_path: Path, overrides: tuple[str, ...], words: list[str]
) -> None:
    if "training.device=cuda" in overrides and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(FrostlineError) as caught:
        run_tiny(recipe, tmp_path / "run", overrides)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_texts_may_vary_and_each_has_true_continuations_and_random_plans_of_its_own(tmp_path: Path) -> None:
    arms = {"full": {"train": "all"}, "chance": {"train": ["top:25% by random"]}}
    recipe = write_experiment(tmp_path, arms=arms, seeds=[0], vary={"corpus.source": ["text.txt", "other.txt"]})
    other = [(7 * index + index // 5) % 53 for index in range(1500)]
    (tmp_path / "other.txt").write_text(words(other), encoding="utf-8")
    run_tiny(recipe, tmp_path / "run")
    lines = read_journal(tmp_path / "run")
    labels = ["corpus.source=text.txt", "corpus.source=other.txt"]
    true = records_of(lines, TrueContinuation)
    assert {label: sum(one.variant == label for one in true) for label in labels} == dict.fromkeys(labels, 3)
    drawn = [facts.chosen_by_seed["0"]["chance"] for facts in records_of(lines, VariantPrepared)]
    assert drawn[0] != drawn[1]
    text = " ".join((tmp_path / "text.txt").read_text(encoding="utf-8").split())
    assert all(f"{one.prompt} {one.text}" in text for one in true if one.variant == labels[0])


def test_a_run_that_another_process_made_meanwhile_is_not_overwritten(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = Variants.check

    def slowly(variants: Variants) -> None:
        check(variants)
        monkeypatch.setattr(Variants, "check", check)
        run_tiny(recipe, tmp_path / "run", ("training.steps=3",))  # the other one, while this one prepares

    monkeypatch.setattr(Variants, "check", slowly)
    with pytest.raises(RunFolderError, match="exists already"):
        run_tiny(recipe, tmp_path / "run", ("training.steps=5",))
    assert load_recipe(tmp_path / "run" / "experiment.yaml").training.steps == 3
    assert max(step.step for step in records_of(read_journal(tmp_path / "run"), StepTaken)) == 2
