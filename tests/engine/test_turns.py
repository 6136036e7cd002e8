"""The order of a step's arms, and the line that says why one cannot go on."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from frostline.engine import cause_of, turn_order
from frostline.errors import TrainingError
from frostline.out_of_memory import is_out_of_memory


def test_the_order_turns_round_every_step() -> None:
    assert [turn_order(["a", "b", "c"], step) for step in range(3)] == [list("abc"), list("cba"), list("abc")]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory: CUDA out of memory"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0"),
            "21.0 MB more were not to be had",
        ),
        (MemoryError("no"), "out of memory: no"),
        (MemoryError(), "out of memory"),
        (
            RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9000 bytes."),
            "9 kB",
        ),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "out of memory: [Errno 12] Cannot allocate memory"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
            "CUBLAS_STATUS_ALLOC_FAILED",
        ),
    ],
)
def test_memory_that_ran_out_is_called_so(error: Exception, told: str) -> None:
    assert is_out_of_memory(error)
    cause = cause_of(error)
    assert cause.startswith("out of memory")
    assert told in cause


def test_any_other_error_is_its_kind_and_first_line() -> None:
    assert cause_of(RuntimeError("shapes do not match\nand more")) == "RuntimeError: shapes do not match"
    assert cause_of(TrainingError("the loss is not finite.", "Try less.")) == "the loss is not finite. Try less."
