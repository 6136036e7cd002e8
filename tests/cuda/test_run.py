"""A whole experiment on a GPU: run twice it has one journal, and memory is measured apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from frostline.arms import repeats
from frostline.run_folder import PeakMemory, RunStarted, StepTaken, read_journal, records_of
from tests.builders.experiments import journal_without_clock, run_tiny, write_experiment

ON_GPU = ("training.device=cuda",)
pytestmark = pytest.mark.usefixtures("device")


def test_a_run_repeats_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = write_experiment(tmp_path, seeds=[0])
    said: list[str] = []
    monkeypatch.setattr("frostline.terminal.progress.PlainProgress.say", lambda self, text: said.append(text))
    first, second = (run_tiny(recipe, tmp_path / name, ON_GPU).run_folder for name in ("first", "second"))
    assert journal_without_clock(first) == journal_without_clock(second)
    assert not any("same bits" in sentence for sentence in said)
    assert any("tokens a second" in sentence for sentence in said)
    (started, *_) = records_of(read_journal(first), RunStarted)
    assert "driver" in started.environment["gpu"]


def test_lock_step_and_one_by_one_give_the_same_bits(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, seeds=[0])
    losses = []
    for schedule in ("lock-step", "one-by-one"):
        run_folder = run_tiny(recipe, tmp_path / schedule, (*ON_GPU, f"training.schedule={schedule}")).run_folder
        taken = records_of(read_journal(run_folder), StepTaken)
        losses.append(sorted((own.arm, own.step, own.loss_nats) for own in taken))
    assert losses[0] == losses[1]


def test_stored_rows_change_nothing(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, seeds=[0])
    losses = []
    for use in ("never", "always"):
        run_folder = run_tiny(recipe, tmp_path / use, (*ON_GPU, f"training.prefix_cache.use={use}")).run_folder
        losses.append([own.loss_nats for own in records_of(read_journal(run_folder), StepTaken)])
    assert losses[0] == losses[1]


@pytest.mark.as_shipped
def test_memory_of_an_arm_is_measured_while_this_process_holds_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "DEVICES", set())
    recipe = write_experiment(tmp_path, seeds=[0], arms={"full": {"train": "all"}})
    run_folder = run_tiny(recipe, tmp_path / "run", (*ON_GPU, "measures.memory=true")).run_folder
    (peak,) = records_of(read_journal(run_folder), PeakMemory)
    assert peak.method == "CUDA allocator"
    assert peak.reserved_bytes is not None
    assert peak.reserved_bytes >= peak.peak_bytes > peak.model_bytes
    assert torch.cuda.memory_allocated() < peak.model_bytes
