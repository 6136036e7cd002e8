"""What must hold on a GPU so that a run is a function of its recipe there as well? Settled before the first product.

By default the same step on a GPU gives other bits each time: attention adds up its gradients in any order, cuBLAS
chooses by what is free, float32 may be multiplied in TF32. `resolve_device` settles all of it, for this process and
for good, as soon as a GPU is what is computed on; the rest asks a device to wait, to give back memory, to tell a time.
For a CPU nothing here does anything.

Of what torch calls nondeterministic (`torch.use_deterministic_algorithms`), a step meets one: `NLLLoss`. The kernels of
[rows, classes], which every loss here is, are deterministic and stay; those of images are meant.
"""

from __future__ import annotations

import gc
import os
from contextlib import AbstractContextManager, nullcontext, suppress

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from frostline.errors import RecipeError
from frostline.machine import ATTENTION_ORDER, native_bf16

_KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
_WORKSPACE, _WORKSPACES = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")
"""Workspaces with which cuBLAS gives the same bits each time."""
_ALLOCATOR, _OLDER_ALLOCATOR = "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"
_TF32 = "NVIDIA_TF32_OVERRIDE"


def resolve_device(wanted: str) -> torch.device:
    """`auto` takes CUDA where there is one, `cuda:1` the second GPU, which is torch's current one from then on.

    A process that gets one computes deterministically from then on. Raises `RecipeError` for a device that is not
    there, or on which the environment rules that out.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(wanted)
    if device.type == "cuda":
        _require_there(device)
        _set_environment()
        if device.index is not None:
            # Kernels of other packages are launched on the current device, wherever their tensors lie.
            torch.cuda.set_device(device)
        _compute_deterministically()
    return device


def is_same_device(device: torch.device, other: torch.device) -> bool:
    """Whether both are one device: torch tells `cuda`, the current GPU, from the same GPU by its number."""
    return _numbered(device) == _numbered(other)


def settle_device(wanted: str) -> None:
    """Settle what a run on `wanted` settles, if it can be had: the machine is described as it is for such a run."""
    with suppress(RecipeError):
        resolve_device(wanted)


def resolve_precision(wanted: str, device: torch.device) -> str:
    """`fp32` or `bf16`: `auto` takes bf16 only where the machine computes it natively."""
    if wanted == "auto":
        return "bf16" if native_bf16(device) else "fp32"
    return wanted


def attention_kernels(device: torch.device) -> AbstractContextManager[None]:
    """The context of whatever runs attention: on CUDA the kernels with a deterministic backward pass, best first."""
    if device.type != "cuda":
        return nullcontext()
    return sdpa_kernel([_KERNELS[name] for name in ATTENTION_ORDER], set_priority=True)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it, so that a clock read next is honest."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def give_back_device_memory(device: torch.device) -> None:
    """Give the memory of what nothing refers to any more back to the device, for another process or group of arms."""
    if device.type == "cuda":
        gc.collect()  # models of some families hold themselves in a circle
        torch.cuda.empty_cache()


def free_device_bytes(device: torch.device) -> int:
    """Bytes of the GPU `device` that a tensor could take: what is free, and what the allocator keeps for later."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + kept


def random_devices(device: torch.device) -> list[torch.device]:
    """What `torch.random.fork_rng` must save beside the generator of the CPU."""
    return [device] if device.type == "cuda" else []


def _require_there(device: torch.device) -> None:
    """Raise `RecipeError` unless this process sees the GPU `device`."""
    if not torch.cuda.is_available():
        raise RecipeError("this machine has no CUDA device.", "Use 'cpu' or 'auto'.").at("training", "device")
    count = torch.cuda.device_count()
    if device.index is None or device.index < count:
        return
    found = "one CUDA device, 'cuda:0'" if count == 1 else f"{count} CUDA devices, 'cuda:0' to 'cuda:{count - 1}'"
    raise RecipeError(
        f"there is no '{device}': this process sees {found}.",
        "Name one of these or use 'auto'; CUDA_VISIBLE_DEVICES decides which a process sees.",
    ).at("training", "device")


def _numbered(device: torch.device) -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if str(device) == "cuda" else device


def _set_environment() -> None:
    """What libraries read when they are first asked for something. Raises `RecipeError` where it is set otherwise."""
    if os.environ.get(_TF32, "0") != "0":
        raise _ruled_out(_TF32, "products of float32 may be rounded to TF32 behind torch's back", "Unset it")
    workspace = os.environ.setdefault(_WORKSPACE, _WORKSPACES[0])
    if workspace not in _WORKSPACES:
        raise _ruled_out(_WORKSPACE, "cuBLAS need not give the same bits twice", f"Unset it or use {_WORKSPACES[0]}")
    if _OLDER_ALLOCATOR not in os.environ:
        os.environ.setdefault(_ALLOCATOR, "expandable_segments:True")  # arms come and go: fragments could not be used


def _ruled_out(variable: str, consequence: str, remedy: str) -> RecipeError:
    found = os.environ[variable]
    return RecipeError(
        f"the environment has {variable}={found}, with which {consequence} on a GPU.", f"{remedy}, or use 'cpu'."
    ).at("training", "device")


def _compute_deterministically() -> None:
    """Switches of torch, which hold for the process."""
    backends = torch.backends
    torch.use_deterministic_algorithms(True)
    # Filling costs time, and nothing here reads memory that was never written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property, set by torch
    backends.cudnn.benchmark = False
    backends.cudnn.deterministic = True
    # By the newer names: the older ones refuse where a user has set the newer ones.
    backends.cuda.matmul.fp32_precision = "ieee"
    backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    backends.cudnn.rnn.fp32_precision = "ieee"  # type: ignore[attr-defined]
    backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    # Its backward pass is not deterministic; beside `attention_kernels`, for passes that torch runs again by itself.
    backends.cuda.enable_cudnn_sdp(False)
