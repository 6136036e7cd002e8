"""Which way from hidden states to the loss is fastest, and how exact is it? Head and cross-entropy alone.

    python -m bench.head                      # [1024, 576] x 49,152 and [2048, 576] x 49,152
    python -m bench.head --tokens 4096 --hidden 2048 --vocabulary 128256

Contenders: the plain loss (all logits at once), `torch.nn.functional.linear_cross_entropy` where this torch has it,
Frostline's chunked loss, and Liger and cut-cross-entropy where they are installed and run on the device. Each gives
the loss and the gradient of the hidden states, with a frozen head and with one that trains.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.engine import header, print_machine
from frostline.engine.device import resolve_device, resolve_precision, synchronize
from frostline.engine.head_loss import chunked_loss

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
ROUNDS = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, action="append")
    parser.add_argument("--hidden", type=int, default=576)
    parser.add_argument("--vocabulary", type=int, default=49_152)
    options = parser.parse_args()
    print_machine()
    device = resolve_device("auto")
    precision = resolve_precision("auto", device)
    for tokens in options.tokens or (1024, 2048):
        for trains in (False, True):
            compare(tokens, options.hidden, options.vocabulary, device, precision, trains)


def compare(tokens: int, hidden: int, vocabulary: int, device: torch.device, precision: str, trains: bool) -> None:
    generator = torch.Generator(device=device).manual_seed(0)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    states = torch.randn(tokens, hidden, generator=generator, device=device).to(dtype)
    weight = torch.randn(vocabulary, hidden, generator=generator, device=device) * hidden**-0.5
    labels = torch.randint(vocabulary, (tokens,), generator=generator, device=device)
    # A head that trains is held in fp32 and converted in each step, a frozen one was converted once.
    weight = weight.requires_grad_() if trains else weight.to(dtype)
    exact = gradients(plain, states.double(), weight.double(), labels)

    contenders = available(dtype)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    errors: dict[str, float] = {}
    for turn in range(ROUNDS + 1):
        names = list(contenders) if turn % 2 == 0 else list(reversed(contenders))
        for name in names:
            synchronize(device)
            started = time.perf_counter()
            found = gradients(contenders[name], states, weight, labels)
            synchronize(device)
            if turn:
                seconds[name].append(time.perf_counter() - started)
            errors[name] = relative_error(found[1], exact[1])
    head = "head trains" if trains else "head frozen"
    shape = f"[{tokens}, {hidden}] x {vocabulary:,}"
    print(f"\n## {shape}, {precision} on {device.type}, {head}, {ROUNDS} rounds in turns\n")
    print(header("way", "seconds, median [range]", "against plain", "error of the hidden gradient"))
    for name, own in seconds.items():
        share = median(own) / median(seconds["plain"])
        print(
            f"| {name} | {median(own):.3f} [{min(own):.3f}, {max(own):.3f}] | {share:.2f} | {errors[name]:.1e} |",
            flush=True,
        )


def available(dtype: torch.dtype) -> dict[str, Loss]:
    """Those that this machine has."""
    found: dict[str, Loss] = {"plain": partial(plain, dtype=dtype), "frostline": frostline}
    if hasattr(F, "linear_cross_entropy"):
        found["torch linear_cross_entropy"] = partial(of_torch, dtype=dtype)
    for name, module, function in (
        ("Liger", "liger_kernel.transformers.functional", "liger_fused_linear_cross_entropy"),
        ("cut-cross-entropy", "cut_cross_entropy", "linear_cross_entropy"),
    ):
        try:
            kernel = getattr(importlib.import_module(module), function)
        except ImportError as error:
            print(f"{name}: not here ({error})")
            continue
        found[name] = partial(of_package, kernel, name, dtype)
    return found


def plain(states: Tensor, weight: Tensor, labels: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    logits = F.linear(states, weight if dtype is None else weight.to(dtype))
    return F.cross_entropy(logits if dtype is None else logits.float(), labels, reduction="sum")


def frostline(states: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    return chunked_loss(states, weight, None, labels, 1.0)


def of_torch(states: Tensor, weight: Tensor, labels: Tensor, dtype: torch.dtype) -> Tensor:
    loss: Tensor = F.linear_cross_entropy(states, weight.to(dtype), labels, reduction="sum")
    return loss


def of_package(
    kernel: Callable[..., Tensor], name: str, dtype: torch.dtype, states: Tensor, weight: Tensor, labels: Tensor
) -> Tensor:
    cast = weight.to(dtype)
    if name == "Liger":
        return kernel(states, cast, labels, reduction="sum")
    return kernel(states, cast, labels, reduction="sum")


def gradients(loss: Loss, states: Tensor, weight: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The loss and the gradient of the hidden states; that of the head is computed where it trains."""
    own = states.detach().requires_grad_()
    value = loss(own, weight, labels)
    value.backward()
    weight.grad = None
    assert own.grad is not None
    return value.detach(), own.grad


def relative_error(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).norm() / exact.norm())


if __name__ == "__main__":
    main()
