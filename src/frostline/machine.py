"""On which machine, with which versions? What a bug report and a report's last page need, and nothing personal.

No host name, no user name, no path, no environment variable.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch

PACKAGES = ("frostline", "torch", "transformers", "tokenizers", "numpy", "polars", "peft")


def describe_machine() -> dict[str, str]:
    """Versions, system, processor, memory and graphics processors, as text by name, always in the same order."""
    cpu = torch.device("cpu")
    return {
        **{name: _version(name) for name in PACKAGES[:1]},
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES[1:]},
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": f"{_usable_cores()} usable of {os.cpu_count() or 1}",
        "torch threads": str(torch.get_num_threads()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "blas": _blas(),
        "native bf16": "yes" if native_bf16(cpu) else "no",
        "gpu": _graphics_processors(),
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


def _usable_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _blas() -> str:
    found = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return found[1] if found else "unknown"


def _graphics_processors() -> str:
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ", ".join(names) or "none"
