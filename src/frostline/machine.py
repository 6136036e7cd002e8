"""On which machine, with which versions? What a bug report and a report's last page need, and nothing personal.

No host name, no user name, no path; of the environment's variables only those that choose instructions.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch

from frostline.storage import code_sha256
from frostline.system import usable_cores

PACKAGES = ("frostline", "torch", "transformers", "tokenizers", "numpy", "polars", "peft")
KERNEL_PACKAGES = ("causal-conv1d", "flash-attn", "flash-linear-attention", "kernels", "mamba-ssm")
"""Packages whose kernels some families take where they are installed."""
INSTRUCTION_VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG", "DNNL_DEFAULT_FPMATH_MODE", "DNNL_MAX_CPU_ISA", "MKL_CBWR", "MKL_DEBUG_CPU_TYPE",
    "MKL_ENABLE_INSTRUCTIONS", "NVIDIA_TF32_OVERRIDE", "ONEDNN_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)  # fmt: skip
"""Variables by which math libraries choose the instructions of a product, and with them its rounding."""


ATTENTION_ORDER = ("flash", "memory-efficient", "math")
"""Kernels of attention that are used on a GPU, the preferred one first: those whose backward pass is deterministic."""
_DRIVER = Path("/proc/driver/nvidia/version")
_CUBLAS_PACKAGES = ("nvidia-cublas", "nvidia-cublas-cu13", "nvidia-cublas-cu12", "nvidia-cublas-cu11")


THREADS = "torch threads"
"""Name of the fact how many threads compute."""


def describe_machine() -> dict[str, str]:
    """Versions, system, processor, memory and graphics processors, as text by name, always in the same order."""
    cpu = torch.device("cpu")
    return {
        **{name: _version(name) for name in PACKAGES[:1]},
        "frostline code": code_sha256()[:16],
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES[1:]},
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": f"{usable_cores()} usable of {os.cpu_count() or 1}",
        THREADS: str(torch.get_num_threads()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "blas": _blas(),
        "arithmetic": _arithmetic(),
        "native bf16": "yes" if native_bf16(cpu) else "no",
        "gpu": _graphics_processor(),
    }


def native_bf16(device: torch.device) -> bool:
    """Whether `device` multiplies bf16 matrices in hardware, instead of emulating it more slowly than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if platform.machine().lower() in ("arm64", "aarch64"):
        return _arm_has_bf16()
    # Private functions of torch: a version without one cannot say that the machine has it.
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check is not None and check() for check in checks)


def _arm_has_bf16() -> bool:
    if sys.platform == "darwin":
        return _system_control("hw.optional.arm.FEAT_BF16") == "1"
    return "bf16" in (_cpu_info("Features") or "").split()


@cache  # what this process has loaded stays what it is
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    if sys.platform == "darwin":
        name = _system_control("machdep.cpu.brand_string")
    else:
        name = _cpu_info("model name") or platform.processor()
    return re.sub(r"\s+", " ", name).strip() or platform.machine()


def _cpu_info(key: str) -> str | None:
    """The first value of `key` in Linux's `/proc/cpuinfo`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def _system_control(key: str) -> str:
    """The value of `key` on macOS; empty if there is none."""
    try:
        found = subprocess.run(["/usr/sbin/sysctl", "-n", key], capture_output=True, text=True, check=False, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()


def _blas() -> str:
    found = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return found[1] if found else "unknown"


def _arithmetic() -> str:
    """What else decides how a product or a sum is rounded: instructions, switches of torch that are not as it sets
    them, kernels that are installed."""
    backends = torch.backends
    # Only these names can be read whatever the user has set: the older ones refuse where the newer ones were used.
    precisions = {
        "CPU products": backends.mkldnn.matmul.fp32_precision,  # type: ignore[attr-defined]  # set when torch is imported
        "CPU convolutions": backends.mkldnn.conv.fp32_precision,  # type: ignore[attr-defined]
        "CUDA products": backends.cuda.matmul.fp32_precision,
    }
    fused = {
        "flash": backends.cuda.flash_sdp_enabled(),
        "memory-efficient": backends.cuda.mem_efficient_sdp_enabled(),
        "math": backends.cuda.math_sdp_enabled(),
        "cuDNN": backends.cuda.cudnn_sdp_enabled(),
    }
    switched = {
        **{f"{name} in {found}": found not in ("none", "ieee") for name, found in precisions.items()},
        "CUDA convolutions in float32": backends.cudnn.conv.fp32_precision != "tf32",  # type: ignore[attr-defined]
        "CUDA products of bf16 added up in fp32": not backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
        "CUDA convolutions chosen by speed": backends.cudnn.benchmark,
        "deterministic CUDA convolutions": backends.cudnn.deterministic,
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "without MKL-DNN": not backends.mkldnn.enabled,
        f"{torch.get_default_dtype()} by default": torch.get_default_dtype() != torch.float32,
        **{f"without {name} attention": not enabled for name, enabled in fused.items()},
    }
    facts = [backends.cpu.get_cpu_capability()]
    facts += [name for name, is_on in switched.items() if is_on]
    facts += [f"{name} {os.environ[name]}" for name in INSTRUCTION_VARIABLES if os.environ.get(name)]
    installed = [(name, _version(name)) for name in KERNEL_PACKAGES]
    facts += [f"{name} {found}" for name, found in installed if found != "not installed"]
    return ", ".join(" ".join(fact.split()) for fact in facts)


def _graphics_processor() -> str:
    """The one that is computed on, of however many there are, and what besides it decides the bits of its results."""
    if not torch.cuda.is_available():
        return "none"
    cublas = next((found for name in _CUBLAS_PACKAGES if (found := _version(name)) != "not installed"), "of torch")
    return (
        f"{torch.cuda.get_device_name(torch.cuda.current_device())}, driver {_driver()}, CUDA {torch.version.cuda}, "
        f"cuDNN {torch.backends.cudnn.version()}, cuBLAS {cublas}, attention by {' or '.join(ATTENTION_ORDER)}"
    )


def _driver() -> str:
    try:
        found = re.search(r"Kernel Module.*?(\d+\.\d+[.\d]*)", _DRIVER.read_text(encoding="utf-8", errors="replace"))
    except OSError:  # a system without it
        found = None
    return found[1] if found else "unknown"
