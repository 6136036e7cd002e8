"""A real GPU is waited for, timed and described as its stand-in is; and its memory comes back."""

from __future__ import annotations

import re
import time

import torch

from frostline.engine import give_back_device_memory, measured_peak
from frostline.engine.clock import StepClock
from frostline.engine.device import free_device_bytes, synchronize
from frostline.engine.precision import autocast
from frostline.machine import describe_machine
from frostline.measures import peak_bytes, reserved_peak_bytes, reset_peak


def test_a_clock_books_products_on_the_phase_that_asked_for_them(device: torch.device) -> None:
    left = torch.randn(4096, 4096, device=device)
    torch.mm(left, left)
    synchronize(device)
    started, clock = time.perf_counter(), StepClock(device)
    for _ in range(20):
        left = torch.mm(left, left).div_(4096)
    clock.ends("forward")
    torch.mm(left, left)
    clock.ends("backward")
    seconds, phases = clock.seconds, clock.phases()
    assert 0 < seconds <= time.perf_counter() - started
    assert phases.forward > 5 * phases.backward > 0


def test_memory_of_what_is_gone_goes_back(device: torch.device) -> None:
    give_back_device_memory(device)
    before = torch.cuda.memory_reserved(device)
    reset_peak(device)
    held = torch.zeros(64 << 20, device=device)
    free = free_device_bytes(device)
    reserved = reserved_peak_bytes(device)
    assert reserved is not None
    assert reserved >= peak_bytes(device) >= held.nbytes
    del held
    assert free_device_bytes(device) >= free + (256 << 20)
    give_back_device_memory(device)
    assert torch.cuda.memory_reserved(device) == before


def test_the_machine_is_described_by_its_gpu_and_versions(device: torch.device) -> None:
    facts = describe_machine()
    assert torch.cuda.get_device_name(device) in facts["gpu"]
    assert re.search(r"driver [\d.]+, CUDA [\d.]+, cuDNN \d+, cuBLAS [\d.]+, attention by flash", facts["gpu"])
    assert "deterministic algorithms" in facts["arithmetic"]
    assert "TF32" not in facts["arithmetic"]


def test_products_of_fp32_are_products_of_fp32(device: torch.device) -> None:
    left = torch.randn(512, 512, device=device)
    exact = left.double() @ left.double()
    assert ((left @ left).double() - exact).abs().max() < 1e-3  # in TF32 some hundredths


def test_bf16_products_are_no_slower_than_fp32_ones(device: torch.device) -> None:
    assert measured_peak(device, "bf16", 2048) > measured_peak(device, "fp32", 2048)


def test_attention_runs_and_goes_back_in_both_precisions(device: torch.device) -> None:
    for dtype, precision in ((torch.float32, "fp32"), (torch.bfloat16, "bf16")):
        queries, keys, values = parts = [
            torch.randn(2, 4, 128, 64, device=device, dtype=dtype, requires_grad=True) for _ in range(3)
        ]
        gradients = []
        for _ in range(3):
            with autocast(precision, device):
                out = torch.nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
            gradients.append(torch.autograd.grad(out.float().square().sum(), parts))
        for again in gradients[1:]:
            assert all(torch.equal(first, second) for first, second in zip(gradients[0], again, strict=True))
