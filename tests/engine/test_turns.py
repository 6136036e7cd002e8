"""The order of a step's arms, and the line that says why one cannot go on."""

from __future__ import annotations

import pytest
import torch

from frostline.engine import cause_of, turn_order
from frostline.errors import TrainingError


def test_the_order_turns_round_every_step() -> None:
    assert [turn_order(["a", "b", "c"], step) for step in range(3)] == [list("abc"), list("cba"), list("abc")]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError("no"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"),
    ],
)
def test_memory_that_ran_out_is_called_so(error: Exception) -> None:
    assert cause_of(error) == f"out of memory: {error}"


def test_any_other_error_is_its_kind_and_first_line() -> None:
    assert cause_of(RuntimeError("shapes do not match\nand more")) == "RuntimeError: shapes do not match"
    assert cause_of(TrainingError("the loss is not finite.", "Try less.")) == "the loss is not finite. Try less."
