"""An arm that several processes compute together gives the bits that one gives: journal, weights, and after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.builders.experiments import write_experiment
from tests.builders.ranks import Ranks
from tests.experiment.test_pairs import write_pairs_experiment
from tests.survival.killing import EACH_STEP, FILLED, GRADUAL, RACED, TRAINING, snapshot
from tests.survival.killing import KINDS as EARLIER_KINDS

ROOT = Path(__file__).parents[2]
MANY = "FROSTLINE_KILLS" in os.environ
"""Whether a kill is tried in every step, and not in a few."""
PARTS = {**TRAINING, "batch": 1, "accumulation": 4}
SIX_PLANS = {
    "full": {"train": "all"},
    "top": {"train": ["all@-1:"]},
    "half": {"train": ["attn.qkv@50%:"]},
    "gradual": GRADUAL,
    "lora": {"lora": {"rank": 2, "targets": ["attn.qkv"]}},
    "rows": {"train": ["embed[5, 10:20]", "norm"]},
}
KINDS: dict[str, dict[str, object]] = {
    "six plans, stored prefixes": {
        "arms": SIX_PLANS,
        "training": {**PARTS, "steps": 8, "prefix_cache": {"use": "always"}},
        "windows": {"length": 64, "held_out": 4},  # they come back within the eight steps
        "save": {"gradual": "all", "lora": "model"},
    },
    "split matrices, dropout, bf16": {
        "arms": {name: SIX_PLANS[name] for name in ("full", "half", "lora")},
        "training": {**PARTS, "precision": "bf16", "dropout": 0.1, "decay": "cosine"},
    },
    "pairs of uneven width": {},
    "the plain loop on random offsets, variants": {
        "windows": {"length": 16, "held_out": 4, "order": "random"},
        "training": {**PARTS, "engine": "reference", "schedule": "one-by-one"},
        "arms": {"full": {"train": "all"}},
        "vary": {"corpus.tokens": [600, 1200]},
        "retention": {"source": "text.txt"},
    },
    FILLED: {
        "training": {**PARTS, "steps": 4, "prefix_cache": {"fill": "always"}},
        "arms": {"full": {"train": "all"}, "freeze": {"train": ["attn.qkv@-1:"]}},
    },
    RACED: {
        **EARLIER_KINDS[RACED],
        "training": {**PARTS, "steps": 4, "learning_rate": "best", "rates": [0.003, 0.01, 0.03]},
    },
}


def written(folder: Path, kind: str) -> Path:
    settings: dict[str, object] = {"training": PARTS, "checkpoints": EACH_STEP, "seeds": [0], **KINDS[kind]}
    if kind.startswith("pairs"):
        return write_pairs_experiment(folder / "pairs", PARTS)
    family = "gpt2" if kind.startswith("split") else "llama"
    return write_experiment(folder, family, layers=4 if kind == FILLED else 2, **settings)


def run_in(
    ranks: Ranks, size: int, recipe: Path, name: str, hooks: dict[int, str] | None = None, more: Sequence[str] = ()
) -> list[int]:
    """Begin the experiment in `size` processes, or go on with it, in a folder with a cache of its own."""
    folder = recipe.parent / name
    (folder / "cache").mkdir(parents=True, exist_ok=True)
    command = ["run", str(recipe), "--out", str(folder / "run"), "--resume", "auto", "--fresh", *more]
    return ranks.run(size, command, folder / "cache", folder / "output", hooks)


def printed(recipe: Path, name: str, rank: int = 0) -> str:
    return (recipe.parent / name / f"output.{rank}").read_text()


def result(ranks: Ranks, size: int, recipe: Path, name: str) -> dict[str, object]:
    """What the experiment gives, run from beginning to end, or to its end."""
    codes = run_in(ranks, size, recipe, name)
    assert codes == [0] * size, [printed(recipe, name, rank)[-3000:] for rank in range(size)]
    return snapshot(recipe.parent / name / "run")


OFTEN = ("six plans, stored prefixes", "split matrices, dropout, bf16")
"""Kinds that are always tried; the others where many kills are."""


@pytest.mark.parametrize("kind", KINDS if MANY else OFTEN)
def test_two_processes_give_the_bits_of_one(ranks: Ranks, tmp_path: Path, kind: str) -> None:
    recipe = written(tmp_path, kind)
    alone = result(ranks, 1, recipe, "one")
    assert result(ranks, 2, recipe, "two") == alone
    assert "2 processes compute each arm together" in printed(recipe, "two")
    assert not printed(recipe, "two", 1)  # one of them speaks
    if MANY:
        assert result(ranks, 4, recipe, "four") == alone


@pytest.fixture(scope="module")
def ten_steps(ranks: Ranks, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """An experiment of ten steps whose plan changes in the middle, and what one process makes of it."""
    recipe = write_experiment(
        tmp_path_factory.mktemp("ten"),
        layers=2,
        training={**PARTS, "steps": 10},
        checkpoints=EACH_STEP,
        seeds=[0],
        arms={"gradual": GRADUAL},
    )
    return recipe, result(ranks, 1, recipe, "one")


@pytest.mark.parametrize(
    ("step", "killed", "going_on"),
    [(step, *who) for step in range(10) for who in ((1, 1), (1, 2), (0, 2))] if MANY else [(3, 1, 1)],
)
def test_a_process_that_is_killed_ends_the_run_and_any_number_goes_on(
    ranks: Ranks, ten_steps: tuple[Path, dict[str, object]], step: int, killed: int, going_on: int
) -> None:
    recipe, expected = ten_steps
    name = f"killed-{killed}-at-{step}-{going_on}"
    codes = run_in(ranks, 2, recipe, name, {killed: f"SIGKILL:gradual:{step}"})
    assert codes[killed] == -signal.SIGKILL
    assert codes[1 - killed] == 2  # in seconds: nobody has ended it
    if killed == 1:
        assert "has gone" in printed(recipe, name)
    assert result(ranks, going_on, recipe, name) == expected
    journal = (recipe.parent / name / "run" / "journal" / "variant0-seed0-gradual.jsonl").read_text()
    taken = [line for line in map(json.loads, journal.splitlines()) if line["kind"] == "StepTaken"]
    by = [line["processes"] for line in taken]
    assert by == [2] * by.count(2) + [1] * by.count(1)
    assert by.count(1) if going_on == 1 else not by.count(1)


@pytest.mark.parametrize("asked", [0, 1] if MANY else [1])
def test_a_stop_of_any_process_stops_all_after_the_step(
    ranks: Ranks, ten_steps: tuple[Path, dict[str, object]], asked: int
) -> None:
    recipe, expected = ten_steps
    name = f"stopped-{asked}"
    codes = run_in(ranks, 2, recipe, name, {asked: "SIGTERM:gradual:4"})
    assert codes == [143, 143]
    assert "Stopped. Go on with" in printed(recipe, name)
    journal = recipe.parent / name / "run" / "journal" / "variant0-seed0-gradual.jsonl"
    steps = [line for line in journal.read_text().splitlines() if '"StepTaken"' in line]
    assert len(steps) in (5, 6)
    assert result(ranks, 1, recipe, name) == expected


def test_what_goes_wrong_in_one_process_is_that_arms_alone(ranks: Ranks, tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, layers=2, training=PARTS, seeds=[0])
    assert run_in(ranks, 2, recipe, "run", {1: "part:freeze:2"}) == [1, 0]
    told = printed(recipe, "run")
    assert "Arm freeze failed after 2 steps, the others go on: in process 1 of 2: out of memory" in " ".join(
        told.split()
    )
    finished = [
        path.name for path in (tmp_path / "run" / "run" / "journal").iterdir() if "ArmFinished" in path.read_text()
    ]
    assert sorted(finished) == ["variant0-seed0-full.jsonl", "variant0-seed0-reversed.jsonl"]


@pytest.mark.parametrize(
    ("training", "sentence"),
    [
        ({"batch": 4, "accumulation": 1}, "a step has 1 part, which 2 processes cannot share evenly. Use "
         "training.accumulation=2 with training.batch=2, or another number of processes."),
        ({"batch": 1, "accumulation": 3}, "a step has 3 parts, which 2 processes cannot share evenly."),
    ],
)  # fmt: skip
def test_parts_that_cannot_be_shared_are_refused_before_anything_runs(
    ranks: Ranks, tmp_path: Path, training: dict[str, object], sentence: str
) -> None:
    recipe = write_experiment(tmp_path, layers=2, training={**TRAINING, **training})
    assert run_in(ranks, 2, recipe, "refused") == [2, 0]
    assert f"recipe.yaml:{_line(recipe, 'accumulation')}, key 'training.accumulation': {sentence}" in " ".join(
        printed(recipe, "refused").split()
    )
    assert not (tmp_path / "refused" / "run").exists()
    assert not printed(recipe, "refused", 1)


def test_a_process_with_other_threads_is_refused(ranks: Ranks, tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, layers=2, training=PARTS)
    assert run_in(ranks, 2, recipe, "refused", {1: "threads:2"}) == [2, 0]
    told = " ".join(printed(recipe, "refused").split())
    assert "torch threads is '2' in process 1, and '1' in process 0: they cannot compute arms together." in told
    assert not (tmp_path / "refused" / "run").exists()


def _line(recipe: Path, key: str) -> int:
    return next(number for number, line in enumerate(recipe.read_text().splitlines(), 1) if f"{key}:" in line)


def test_torchrun_starts_them(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, layers=2, training=PARTS, seeds=[0], arms={"full": {"train": "all"}})
    environment = os.environ | {"FROSTLINE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    environment |= {"GLOO_SOCKET_IFNAME": "lo"}
    (tmp_path / "cache").mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--standalone", "--local-addr", "127.0.0.1"]  # on a free port: 29500 is that of every other torchrun
    command += ["-m", "tests.launch.quick_driver", "run", str(recipe), "--out", str(tmp_path / "run"), "--json"]
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=ROOT)
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert json.loads(finished.stdout)["status"] == "finished"  # one of them speaks
    started = json.loads((tmp_path / "run" / "journal" / "run.jsonl").read_text().splitlines()[0])
    assert started["environment"]["processes"] == "2"
