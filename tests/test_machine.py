"""Does the description of the machine hold what a bug report needs, and nothing personal?"""

from __future__ import annotations

import getpass
import platform
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import numpy
import pytest
import torch
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel

from frostline import machine as machine_module
from frostline.engine import resolve_device
from frostline.machine import describe_machine, native_bf16
from frostline.storage import code_sha256
from tests.builders.gpu import StandInGpu

CPU = torch.device("cpu")


def test_versions_are_those_of_the_packages_themselves() -> None:
    facts = describe_machine()
    assert facts["python"] == platform.python_version()
    assert facts["torch"] == torch.__version__
    assert facts["transformers"] == transformers.__version__
    assert facts["numpy"] == numpy.__version__
    assert facts["torch threads"] == str(torch.get_num_threads())


def test_every_fact_is_one_line_of_text() -> None:
    for name, value in describe_machine().items():
        assert value, name
        assert "\n" not in name + value
        assert value == value.strip()


def test_nothing_says_whose_machine_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "73")
    text = " ".join(describe_machine().values())
    for secret in (socket.gethostname(), getpass.getuser(), str(Path.home()), str(Path.cwd()), "73"):
        assert secret not in text.split()
    assert "/" not in text


def test_a_missing_package_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_module, "PACKAGES", ("frostline", "no-such-package-for-frostline"))
    assert describe_machine()["no-such-package-for-frostline"] == "not installed"


def test_the_code_is_told_by_its_hash() -> None:
    assert describe_machine()["frostline code"] == code_sha256()[:16]


@contextmanager
def in_bf16_on_the_cpu() -> Iterator[None]:
    """By the newer of torch's two names for it, after which the older one cannot be read."""
    products = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # set when torch is imported
    before, products.fp32_precision = products.fp32_precision, "bf16"
    yield
    products.fp32_precision = before


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@contextmanager
def double_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("switch", "words"),
    [
        (in_bf16_on_the_cpu, "CPU products in bf16"),
        (deterministic, "deterministic algorithms"),
        (double_by_default, "torch.float64 by default"),
        (partial(sdpa_kernel, SDPBackend.MATH), "without flash attention"),
    ],
)
def test_a_switch_of_torch_that_changes_rounding_is_told(
    switch: Callable[[], AbstractContextManager[None]], words: str
) -> None:
    before = describe_machine()["arithmetic"]
    with switch():
        assert words in describe_machine()["arithmetic"].split(", ")
    assert describe_machine()["arithmetic"] == before


def test_a_variable_that_chooses_instructions_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert "ONEDNN_MAX_CPU_ISA AVX2" in describe_machine()["arithmetic"].split(", ")


def test_of_several_gpus_the_one_in_use_is_told_with_all_that_decides_its_bits(
    gpu: StandInGpu, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    driver = tmp_path / "version"
    driver.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\nGCC 12.3\n")
    versions = {"nvidia-cublas-cu12": "12.8.4.1"}
    monkeypatch.setattr(machine_module, "_DRIVER", driver)
    monkeypatch.setattr(machine_module, "_version", lambda name: versions.get(name, "not installed"))
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    found = describe_machine()["gpu"]
    assert found == (
        "Stand-In 9000, driver 570.86.15, CUDA 12.8, cuDNN 91002, cuBLAS 12.8.4.1, "
        "attention by flash or memory-efficient or math"
    )
    driver.unlink()
    assert "driver unknown" in describe_machine()["gpu"]


def test_what_a_gpu_is_switched_to_is_told(gpu: StandInGpu) -> None:
    before = describe_machine()["arithmetic"].split(", ")
    resolve_device("cuda")
    told = set(describe_machine()["arithmetic"].split(", ")) - set(before)
    assert told >= {
        "CUDA products of bf16 added up in fp32", "CUDA convolutions in float32", "deterministic algorithms",
        "deterministic CUDA convolutions", "without cuDNN attention", "CUBLAS_WORKSPACE_CONFIG :4096:8",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("vector", "matrix", "native"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_x86_computes_bf16_natively_with_either_extension(
    monkeypatch: pytest.MonkeyPatch, vector: bool, matrix: bool, native: bool
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: vector)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: matrix)
    assert native_bf16(CPU) is native


def test_a_torch_that_cannot_tell_counts_as_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    assert native_bf16(CPU) is False


@pytest.mark.parametrize(("features", "native"), [("fp asimd bf16 i8mm", True), ("fp asimd ebf16x", False)])
def test_arm_computes_bf16_natively_where_its_features_say_so(
    monkeypatch: pytest.MonkeyPatch, features: str, native: bool
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(machine_module, "_cpu_info", {"Features": features}.get)
    assert native_bf16(CPU) is native


@pytest.mark.skipif(sys.platform != "linux", reason="compares with lscpu")
def test_bf16_on_this_machine_is_what_the_kernel_reports() -> None:
    if platform.machine() != "x86_64":
        pytest.skip("x86 flags")
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    assert native_bf16(CPU) == bool({"avx512_bf16", "amx_tile"} & set(flags))
