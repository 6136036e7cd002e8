"""Replicates by several processes that share a cache, without a scheduler or under Slurm: the lines of docs/scaling.md.

Each process trains one seed; the whole recipe then takes every arm from the store and equals a run by one process.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from frostline.run_folder import ArmFinished, ArmStarted, StepTaken, read_journal, records_of
from tests.builders.experiments import journal_without_clock, run_tiny, write_experiment

ROOT = Path(__file__).parents[2]
MANY = "FROSTLINE_KILLS" in os.environ
PAGE = ROOT / "docs/scaling.md"
SEEDS = (0, 1)
LOCK_STEP = "training.schedule=lock-step"
ARMS = {"full": {"train": "all"}, "freeze": {"train": ["attn.qkv@50%:"]}}


def block(name: str) -> str:
    """The lines of the page's block that follows the comment `name`."""
    found = re.search(
        rf"^<!-- {name} -->\n```bash\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found, name
    return found[1]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with `recipe.yaml` of two seeds, and a command `frostline` in `bin`."""
    folder = tmp_path / "study"
    write_experiment(folder, arms=ARMS, seeds=list(SEEDS))
    command = folder / "bin" / "frostline"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.launch.quick_driver "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    return folder


def environment(study: Path, **variables: str) -> dict[str, str]:
    path = f"{study / 'bin'}{os.pathsep}{os.environ['PATH']}"
    sources = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    own = {"PATH": path, "PYTHONPATH": sources, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    return os.environ | own | variables


def bash(study: Path, script: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", "-c", script],
        cwd=study,
        env=environment(study, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(*processes: subprocess.Popen[str]) -> list[str]:
    """What each printed; all must have ended well."""
    printed = [process.communicate(timeout=600)[0] for process in processes]
    for process, text in zip(processes, printed, strict=True):
        assert process.returncode == 0, text
    return printed


def seconds_of(run_folder: Path) -> Mapping[tuple[int, str, int], float]:
    steps = records_of(read_journal(run_folder), StepTaken)
    return {(record.seed, record.arm, record.step): record.seconds for record in steps}


def require_taken_from(parts: list[Path], whole: Path, printed: str) -> None:
    """No arm of `whole` was trained by it: each is from a run of `parts`, its times included."""
    started = records_of(read_journal(whole), ArmStarted)
    assert {(record.seed, record.arm) for record in started} == {(seed, arm) for seed in SEEDS for arm in ARMS}
    assert all(record.reused_from for record in started)
    assert len(re.findall(r"Arm \w+, seed \d: taken from an earlier run", printed)) == len(started)
    trained = {place: seconds for part in parts for place, seconds in seconds_of(part).items()}
    assert seconds_of(whole) == trained
    for part in parts:
        assert not any(record.reused_from for record in records_of(read_journal(part), ArmStarted))


def require_equal_to_one_process(whole: Path, study: Path) -> None:
    """Byte for byte but for clocks, to a run of the whole recipe by this process with a cache of its own."""
    cache = study / "own cache"
    alone = run_tiny(study / "recipe.yaml", study / "alone", (LOCK_STEP,), fresh=False, cache=cache).run_folder
    assert journal_without_clock(whole) == journal_without_clock(alone)
    finished = [asdict(record) for record in records_of(read_journal(whole), ArmFinished)]
    assert [own["final_sha256"] for own in finished] == [
        own.final_sha256 for own in records_of(read_journal(alone), ArmFinished)
    ]
    assert not any(record.reused_from for record in records_of(read_journal(alone), ArmStarted))


@pytest.mark.skipif(not MANY, reason="like the tasks of an array; FROSTLINE_KILLS asks for it")
def test_two_processes_at_once_and_then_the_whole_recipe_give_the_run_of_one_process(study: Path) -> None:
    lines = block("by hand")
    (printed,) = ended(bash(study, lines))
    parts = [study / "parts" / f"seed{seed}" for seed in SEEDS]
    require_taken_from(parts, study / "runs" / "whole", printed)
    require_equal_to_one_process(study / "runs" / "whole", study)
    assert not list((study / "cache").rglob(".writing-*"))


def test_the_tasks_of_a_slurm_array_and_the_job_after_them_give_the_run_of_one_process(study: Path) -> None:
    array, after = block("slurm array"), block("slurm after")
    assert array.count("\n") <= 12
    slurm = {"SLURM_CPUS_PER_TASK": "1", "SLURM_JOB_ID": "7"}
    ended(*(bash(study, array, SLURM_ARRAY_TASK_ID=str(seed), **slurm) for seed in SEEDS))
    ended(bash(study, array, SLURM_ARRAY_TASK_ID="1", **slurm))  # a task that is started again has nothing left to do
    (printed,) = ended(bash(study, after, **slurm))
    parts = [study / "parts" / f"seed{seed}" for seed in SEEDS]
    require_taken_from(parts, study / "runs" / "whole", printed)
    require_equal_to_one_process(study / "runs" / "whole", study)


def test_without_an_array_the_script_says_what_is_missing(study: Path) -> None:
    shutil.rmtree(study / "model")  # nothing gets that far
    process = bash(study, block("slurm array").replace("SLURM_ARRAY_TASK_ID", "UNSET_TASK_ID"), SLURM_CPUS_PER_TASK="1")
    printed = process.communicate(timeout=60)[0]
    assert process.returncode != 0
    assert "UNSET_TASK_ID" in printed
