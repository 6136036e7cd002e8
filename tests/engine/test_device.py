"""On a GPU a run is a function of its recipe only after some settling; on a CPU nothing is touched."""

from __future__ import annotations

import os
from contextlib import nullcontext

import pytest
import torch
from torch.nn.attention import SDPBackend, _cur_sdpa_kernel_backends

from frostline.engine import (
    give_back_device_memory,
    is_same_device,
    resolve_device,
    resolve_precision,
)
from frostline.engine.device import attention_kernels, free_device_bytes, random_devices, synchronize
from frostline.engine.precision import autocast
from frostline.errors import RecipeError
from frostline.machine import describe_machine
from tests.builders.gpu import DEVICE, VARIABLES, StandInGpu

CPU = torch.device("cpu")


def test_a_device_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(RecipeError, match=r"training\.device: this machine has no CUDA device"):
        resolve_device("cuda")
    assert resolve_device("auto") == CPU


def test_auto_takes_the_gpu_where_there_is_one(gpu: StandInGpu) -> None:
    assert resolve_device("auto") == resolve_device("cuda") == DEVICE
    assert resolve_device("cpu") == CPU
    assert resolve_precision("auto", DEVICE) == "bf16"


def test_a_gpu_by_its_number_is_the_current_one_from_then_on(gpu: StandInGpu) -> None:
    device = resolve_device("cuda:0")
    assert device == torch.device("cuda", 0)
    assert gpu.current == 0
    assert torch.are_deterministic_algorithms_enabled()
    assert describe_machine()["gpu"].startswith("another, driver")
    assert resolve_device("cuda:1").index == 1
    assert describe_machine()["gpu"].startswith("Stand-In 9000, driver")


@pytest.mark.parametrize(("count", "found"), [(1, "one CUDA device, 'cuda:0'"), (3, "3 CUDA devices, 'cuda:0' to")])
def test_a_gpu_whose_number_is_too_high_is_refused_with_how_many_there_are(
    gpu: StandInGpu, count: int, found: str
) -> None:
    gpu.count = count
    with pytest.raises(RecipeError, match=rf"training\.device: there is no 'cuda:3': this process sees {found}"):
        resolve_device("cuda:3")
    assert gpu.current == 1
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_current_gpu_is_the_same_device_as_that_gpu_by_its_number(gpu: StandInGpu) -> None:
    assert is_same_device(DEVICE, torch.device("cuda", 1))
    assert not is_same_device(DEVICE, torch.device("cuda", 0))
    assert not is_same_device(DEVICE, CPU)
    assert is_same_device(CPU, CPU)


def test_on_a_gpu_torch_computes_deterministically_and_in_the_precision_that_it_is_told(gpu: StandInGpu) -> None:
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    resolve_device("cuda")
    backends = torch.backends
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled(), "attention is deterministic only without"
    assert not torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    assert not backends.cudnn.benchmark
    assert backends.cuda.matmul.fp32_precision == backends.cudnn.conv.fp32_precision == "ieee"  # type: ignore[attr-defined]
    assert not backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    assert not backends.cuda.cudnn_sdp_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert os.environ["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"


def test_the_allocator_is_left_to_a_user_who_has_set_it(gpu: StandInGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:512")
    resolve_device("cuda")
    assert "PYTORCH_ALLOC_CONF" not in os.environ


def test_the_cpu_is_computed_on_as_before(gpu: StandInGpu) -> None:
    before = describe_machine()
    assert resolve_device("cpu") == CPU
    assert describe_machine() == before
    assert not set(VARIABLES) & set(os.environ)
    assert isinstance(autocast("bf16", CPU), torch.autocast)
    assert isinstance(attention_kernels(CPU), nullcontext)
    give_back_device_memory(CPU)
    synchronize(CPU)
    assert random_devices(CPU) == []
    assert gpu.asked == []


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("NVIDIA_TF32_OVERRIDE", "1", "products of float32 may be rounded to TF32 behind torch's back"),
        ("CUBLAS_WORKSPACE_CONFIG", ":0:0", "cuBLAS need not give the same bits twice"),
    ],
)
def test_an_environment_that_rules_it_out_is_refused_in_a_sentence(
    gpu: StandInGpu, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(RecipeError) as caught:
        resolve_device("auto")
    assert str(caught.value).startswith(f"training.device: the environment has {variable}={value}, with which")
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 300
    assert not torch.are_deterministic_algorithms_enabled()
    resolve_device("cpu")  # there it says nothing


def test_a_variable_that_forbids_tf32_forbids_nothing_else(gpu: StandInGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert resolve_device("cuda") == DEVICE


@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")  # autocast finds none to cast on
def test_every_forward_pass_on_a_gpu_chooses_among_deterministic_kernels_in_one_order(gpu: StandInGpu) -> None:
    before = _cur_sdpa_kernel_backends(with_priority=True)
    for precision in ("fp32", "bf16"):
        with autocast(precision, DEVICE):
            found = _cur_sdpa_kernel_backends(with_priority=True)
        assert found == [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    assert _cur_sdpa_kernel_backends(with_priority=True) == before


def test_memory_goes_back_to_the_gpu_after_what_holds_itself_is_collected(
    gpu: StandInGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gc.collect", lambda: gpu.asked.append("collect"))
    give_back_device_memory(DEVICE)
    assert gpu.asked == ["collect", "empty the cache"]


def test_what_the_allocator_keeps_for_later_counts_as_free(gpu: StandInGpu) -> None:
    assert free_device_bytes(DEVICE) == gpu.free_bytes + gpu.reserved_bytes - gpu.allocated_bytes
