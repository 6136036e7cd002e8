"""What does the time of a step go to? The engine's steps of one plan under torch's profiler.

python -m bench.profile_step 'all@-4:' --shape 8x256
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, defaultdict

import torch
from torch.profiler import ProfilerActivity, profile

from bench.contender import ARM, Setup, prepared_for, windows_of
from bench.engine import PLANS, header, print_machine
from frostline.arms.make import make_arm, shared_parts
from frostline.cache import cache_folder
from frostline.engine.peak import measured_peak

STEPS = 3
GROUPS = {
    "matrix products": ("mm", "addmm", "bmm", "matmul", "linear"),
    "attention": ("attention",),
    "norms, activations, rotations": ("mul", "add", "silu", "rsqrt", "mean", "pow", "neg", "cat", "sigmoid", "sub"),
    "softmax and cross-entropy": ("softmax", "nll"),
    "conversions and copies": ("copy", "to", "clone", "contiguous", "fill", "zero"),
    "optimizer": ("adam", "clip", "norm", "foreach"),
}
"""By words in an operator's name; the first group that fits."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", choices=list(PLANS))
    parser.add_argument("--shape", default="8x256", help="windows x tokens")
    parser.add_argument("--operators", type=int, default=12, help="rows of the second table")
    options = parser.parse_args()
    batch, length = (int(number) for number in options.shape.split("x"))
    setup = Setup("engine", PLANS[options.plan], batch, length, str(cache_folder()), sets=1)
    prepared = prepared_for(setup)
    print_machine()
    with shared_parts(prepared, None, keep_base=False) as sharing:
        arm = make_arm(sharing, sharing.arms[ARM], 0)
        windows = windows_of(prepared, setup, 0)
        for _ in range(2):
            arm.take_step(windows, 0)
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
        started = time.perf_counter()
        with profile(activities=activities) as profiler:
            for _ in range(STEPS):
                arm.take_step(windows, 0)
        wall = (time.perf_counter() - started) / STEPS
    own: dict[str, float] = defaultdict(float)
    calls: Counter[str] = Counter()
    for event in profiler.key_averages():
        on_device = getattr(event, "self_device_time_total", 0)
        own[event.key] += (on_device or event.self_cpu_time_total) / 1e6 / STEPS
        calls[event.key] += event.count // STEPS
    total = sum(own.values())
    print(f"\n`{options.plan}`, {batch} x {length} tokens: {wall:.2f} s a step under the profiler, mean of {STEPS}\n")
    print(header("what", "seconds", "share"))
    groups: dict[str, float] = defaultdict(float)
    for name, seconds in own.items():
        groups[group_of(name)] += seconds
    for name, seconds in largest(groups):
        print(f"| {name} | {seconds:.3f} | {100 * seconds / total:.0f} % |")
    print(f"\n{header('operator', 'calls', 'seconds', 'share')}")
    for name, seconds in largest(own)[: options.operators]:
        print(f"| `{name}` | {calls[name]} | {seconds:.3f} | {100 * seconds / total:.0f} % |")
    peak = measured_peak(prepared.device, prepared.precision)
    cost = prepared.arms[ARM].cost
    needed = (1 - cost.ceiling_cached) * cost.full_step_flops
    print(
        f"\nNeeded products: {needed / 1e9:.0f} GFLOP: {needed / peak:.2f} s at the {peak / 1e9:.0f} GFLOP/s measured"
    )


def largest(seconds: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(seconds.items(), key=lambda item: -item[1])


def group_of(operator: str) -> str:
    words = operator.lower().removeprefix("aten::")
    return next((group for group, keys in GROUPS.items() if any(key in words for key in keys)), "the rest")


if __name__ == "__main__":
    main()
