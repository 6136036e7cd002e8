"""An experiment whose weights several processes hold together: losses of one process, the same bits again, refusals."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from frostline.arms import fits
from frostline.arms.fits import too_large
from frostline.recipe import load_recipe
from tests.builders.experiments import write_experiment
from tests.builders.ranks import Ranks
from tests.launch.test_several_processes import printed, run_in
from tests.survival.killing import EACH_STEP, TRAINING, snapshot

MANY = "FROSTLINE_SHARDED" in os.environ
"""Whether a kill is tried in every step, and not in one, and other numbers of processes."""
STEPS = 6
SHARDED: dict[str, object] = {**TRAINING, "steps": STEPS, "batch": 1, "accumulation": 4, "sharding": "full"}
PLANS = {
    "full": {"train": "all"},
    "upper": {"train": ["all@-1:"]},
    "split": {"train": ["attn.qkv@50%:"]},
    "lora": {"lora": {"rank": 2, "targets": ["attn.qkv"]}},
    "gradual": {"train": ["attn@-1:"], "changes": [{"at": 2, "thaw": ["all@-2:"]}, {"at": 4, "freeze": ["attn@-1:"]}]},
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four kinds of plans, and one that thaws and freezes, in one experiment."""
    return write_experiment(
        tmp_path_factory.mktemp("sharded"),
        layers=3,
        training=SHARDED,
        checkpoints=EACH_STEP,
        seeds=[0],
        arms=PLANS,
        save={"gradual": "all", "split": "model", "lora": "model"},
    )


@pytest.fixture(scope="module")
def straight(ranks: Ranks, recipe: Path) -> Path:
    """The run folder of two processes that nothing has stopped."""
    return finished(ranks, 2, recipe, "straight")


def finished(ranks: Ranks, size: int, recipe: Path, name: str, *more: str) -> Path:
    """The run folder of an experiment that comes to its end."""
    codes = run_in(ranks, size, recipe, name, more=more)
    assert codes == [0] * size, [printed(recipe, name, rank)[-3000:] for rank in range(size)]
    return recipe.parent / name / "run"


def lines(run_folder: Path, arm: str, *kinds: str) -> list[dict[str, object]]:
    """What the journal tells of an arm, of these kinds."""
    text = (run_folder / "journal" / f"variant0-seed0-{arm}.jsonl").read_text()
    return [line for line in map(json.loads, text.splitlines()) if line["kind"] in kinds]


def test_losses_are_those_of_one_process(ranks: Ranks, recipe: Path, straight: Path) -> None:
    alone = finished(ranks, 1, recipe, "alone", "--set", "training.sharding=none")
    for arm in PLANS:
        for kind in ("StepTaken", "Evaluation"):
            expected = [line["loss_nats"] for line in lines(alone, arm, kind)]
            found = [line["loss_nats"] for line in lines(straight, arm, kind)]
            assert found == pytest.approx(expected, abs=1e-6, rel=0), (arm, kind)
        assert lines(straight, arm, "PlanChanged") == lines(alone, arm, "PlanChanged")
        (check,) = lines(straight, arm, "FrozenChecked")
        assert check["moved"] == []
        held, whole = (lines(run, arm, "ArmFinished")[0]["optimizer_bytes"] for run in (straight, alone))
        assert held == whole, arm


def test_what_is_kept_holds_against_the_journal(ranks: Ranks, recipe: Path, straight: Path) -> None:
    folder = recipe.parent / "straight"
    codes = ranks.run(1, ["verify", str(straight), "--json"], folder / "cache", folder / "verified")
    told = (folder / "verified.0").read_text()
    assert codes == [0], told[-3000:]
    assert "They have the hash that the journal ends with" in told
    assert "Its trained weights have the hash that the journal ends with" in told
    started = json.loads((straight / "journal" / "run.jsonl").read_text().splitlines()[0])
    assert "weights are sharded over 2 processes" in started["environment"]["sharding"]
    assert "weights are sharded over 2 processes" in (straight / "report.html").read_text()
    assert not printed(recipe, "straight", 1)


@pytest.mark.skipif(not MANY, reason="three runs more; FROSTLINE_SHARDED asks for it")
@pytest.mark.parametrize("step", range(STEPS))
def test_a_run_of_which_a_process_was_killed_goes_on_to_the_same_bits(
    ranks: Ranks, recipe: Path, straight: Path, step: int
) -> None:
    name = f"killed-at-{step}"
    codes = run_in(ranks, 2, recipe, name, {1: f"SIGKILL:split:{step}"})
    assert codes[1] == -signal.SIGKILL
    assert codes[0] == 2
    assert "has gone" in printed(recipe, name)
    left = recipe.parent / name / "run" / "checkpoints" / "_training" / "variant0-seed0-full"
    assert step == 0 or len(list((left / "shards").iterdir())) <= 2
    assert snapshot(finished(ranks, 2, recipe, name)) == snapshot(straight)


@pytest.mark.skipif(not MANY, reason="a third process of its own; FROSTLINE_SHARDED asks for it")
def test_another_number_of_processes_goes_on_only_where_that_is_accepted(ranks: Ranks, tmp_path: Path) -> None:
    training = {**SHARDED, "accumulation": 6, "steps": 4}
    recipe = write_experiment(
        tmp_path, layers=2, training=training, checkpoints=EACH_STEP, seeds=[0], arms={"full": {"train": "all"}}
    )
    assert run_in(ranks, 2, recipe, "run", {1: "SIGKILL:full:2"})[0] == 2
    folder = tmp_path / "run" / "run"
    assert run_in(ranks, 3, recipe, "run")[0] == 2
    assert "processes was 2 and is 3" in " ".join(printed(recipe, "run").split())
    command = ["resume", str(folder), "--accept-changes"]
    assert ranks.run(3, command, tmp_path / "run" / "cache", tmp_path / "run" / "output") == [0, 0, 0]
    assert "going on after step 2" in printed(recipe, "run")
    (frozen,) = lines(folder, "full", "FrozenChecked")
    assert frozen["moved"] == []


@pytest.mark.parametrize("rank", [0, 1] if MANY else [1])
def test_memory_that_runs_out_in_one_process_ends_the_run_with_a_sentence(
    ranks: Ranks, recipe: Path, straight: Path, rank: int
) -> None:
    name = f"memory-{rank}"
    assert run_in(ranks, 2, recipe, name, {rank: "arrival:1 part:split:2"}) == [2, 2]
    sentence = f"arm split: process {rank} of 2 has run out of memory, and the others cannot go on without it"
    told = " ".join(printed(recipe, name).split())
    assert sentence in told
    assert "Traceback" not in told
    if MANY:
        assert snapshot(finished(ranks, 2, recipe, name)) == snapshot(straight)


@pytest.mark.skipif(not MANY, reason="a run more; FROSTLINE_SHARDED asks for it")
def test_memory_that_runs_out_in_all_processes_is_the_trouble_of_that_arm(ranks: Ranks, recipe: Path) -> None:
    hook = "part:split:2"
    assert run_in(ranks, 2, recipe, "memory", {0: hook, 1: hook})[0] == 1
    assert "Arm split failed after 2 steps, the others go on: out of memory" in " ".join(
        printed(recipe, "memory").split()
    )


AUTO = "training.sharding=auto"


@pytest.fixture(scope="module")
def too_little(tmp_path_factory: pytest.TempPathFactory, recipe: Path) -> str:
    """Free memory, of two processes together, into which the arm `full` does not fit in each; as a hook."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fits, "free_memory_bytes", lambda: 1)
        large = too_large(load_recipe(recipe), tmp_path_factory.mktemp("forecast"))
    assert large is not None
    assert large.arm == "full"
    return f"free-memory:{2 * large.needed_bytes - 1}"


def test_auto_shards_what_fits_on_no_device_and_goes_on_as_it_began(
    ranks: Ranks, recipe: Path, straight: Path, too_little: str
) -> None:
    hooks = {0: too_little, 1: f"{too_little} SIGKILL:split:2"}
    assert run_in(ranks, 2, recipe, "auto", hooks, ["--set", AUTO]) == [2, -signal.SIGKILL]
    told = " ".join(printed(recipe, "auto").split())
    assert "Arm 'full' is forecast to need" in told
    assert "the weights of all arms are sharded over 2 processes." in told
    assert run_in(ranks, 1, recipe, "auto", more=["--set", AUTO]) == [2]
    assert "2 processes share the weights of this run, and this is one." in " ".join(printed(recipe, "auto").split())
    # Now every arm would fit: what was settled holds.
    run_folder = finished(ranks, 2, recipe, "auto", "--set", AUTO)
    started = json.loads((run_folder / "journal" / "run.jsonl").read_text().splitlines()[0])
    assert "weights are sharded over 2 processes" in started["environment"]["sharding"]
    assert "sharding: auto" in (run_folder / "experiment.yaml").read_text()
    for arm in PLANS:
        for kind in ("StepTaken", "Evaluation"):
            expected = [line["loss_nats"] for line in lines(straight, arm, kind)]
            assert [line["loss_nats"] for line in lines(run_folder, arm, kind)] == expected


def test_auto_shards_nothing_that_fits(ranks: Ranks, tmp_path: Path, too_little: str) -> None:
    training = {**SHARDED, "sharding": "auto", "steps": 2}
    recipe = write_experiment(tmp_path, layers=1, training=training, seeds=[0], arms={"top": {"train": ["attn@-1:"]}})
    assert run_in(ranks, 2, recipe, "auto", {0: too_little, 1: too_little}) == [0, 0]
    started = json.loads((tmp_path / "auto" / "run" / "journal" / "run.jsonl").read_text().splitlines()[0])
    assert started["environment"]["processes"] == "2"
    assert "sharding" not in started["environment"]
    assert "sharded" not in printed(recipe, "auto")


def test_auto_says_why_it_cannot_shard_what_does_not_fit(
    ranks: Ranks, tmp_path: Path, recipe: Path, too_little: str
) -> None:
    training = {**SHARDED, "sharding": "auto", "frozen_weights": "int8"}
    small = write_experiment(tmp_path, layers=3, training=training, arms={"full": {"train": "all"}})
    assert run_in(ranks, 2, small, "auto", {0: too_little, 1: too_little})[0] == 2
    told = " ".join(printed(small, "auto").split())
    assert "key 'training.sharding': arm 'full' is forecast to need" in told
    assert "memory are free for each; but frozen weights in int8 cannot be sharded." in told
    assert not (tmp_path / "auto" / "run").exists()


@pytest.mark.parametrize(
    ("size", "changes", "sentence"),
    [
        (1, {}, "'full' shares the weights among several processes, and this is one. Start several: torchrun"),
        (2, {"frozen_weights": "int8"}, "frozen weights in int8 cannot be sharded."),
        (2, {"learning_rate": "best"}, "learning rates are not raced with sharded weights, and arm 'full' has none."),
        (2, {"prefix_cache": {"fill": "always"}}, "layers whose stored rows are filled before training cannot be"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_it_is_refused_before_anything_runs(
    ranks: Ranks, tmp_path: Path, size: int, changes: dict[str, object], sentence: str
) -> None:
    recipe = write_experiment(tmp_path, layers=2, training={**SHARDED, **changes})
    assert run_in(ranks, size, recipe, "refused")[0] == 2
    told = " ".join(printed(recipe, "refused").split())
    assert f"key 'training.sharding': {sentence}" in told
    assert not (tmp_path / "refused" / "run").exists()
