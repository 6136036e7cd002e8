"""What is true of an arm in a simulated experiment, and which losses follow from it?

The loss of a step is `floor + height * exp(-step / decay)` plus AR(1) noise that all arms of a replicate share (they
read the same windows) plus AR(1) noise of the arm's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

PARAMETERS = 134_515_008
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ArmTruth:
    """The true parameters of one simulated arm."""

    plan: str = "train: [all]"
    trained_parameters: int = PARAMETERS
    prefix_layers: int = 0
    ceiling: float = 0.0
    ceiling_cached: float = 0.0
    floor: float = 2.6
    """Loss that training approaches, nats."""
    height: float = 1.2
    decay: float = 8.0
    """Steps in which the distance to the floor falls to 1/e."""
    noise: float = 0.01
    """Standard deviation of the arm's own AR(1) noise, nats."""
    shared_noise: float = 1.0
    """How strongly the noise shared by all arms acts on this one."""
    spread: float = 0.01
    """Standard deviation of the arm's floor between replicates, nats."""
    gap: float = 0.06
    """Held-out minus training loss at the end, nats."""
    forgetting: float = 0.3
    seconds: float = 1.4
    """Mean time of a step."""
    change: float = 1.0
    """Size of the weight change per step of a trained matrix, relative to the full arm's."""
    creep: float = 0.004
    """Growth of the weight change per step, late in training."""
    common_share: float = 0.45
    """p after training; 0.38 before."""
    quality: float = 0.0
    """Shift of the text's quality: positive is more varied text."""
    optimizer_bytes: int = 8 * PARAMETERS


FULL = ArmTruth()
TRUTHS = {
    "full": FULL,
    "freeze": ArmTruth(
        plan="train: [attn.qkv@50%:]", trained_parameters=8_294_400, prefix_layers=15, ceiling=0.46,
        ceiling_cached=0.63, floor=2.7, height=1.1, decay=10.0, gap=0.03, forgetting=0.05, seconds=0.55, change=1.6,
        common_share=0.43, optimizer_bytes=8 * 8_294_400,
    ),
    "reversed": ArmTruth(
        plan="freeze: [attn@50%:]", trained_parameters=121_244_000, ceiling=0.05, ceiling_cached=0.05, floor=2.605,
        height=1.195, forgetting=0.28, seconds=1.35, common_share=0.452, optimizer_bytes=8 * 121_244_000,
    ),
    "lora": ArmTruth(
        plan="lora: rank 8, targets [attn.qkv]", trained_parameters=614_400, floor=2.72, seconds=0.9, change=0.4,
        optimizer_bytes=8 * 614_400,
    ),
}  # fmt: skip


def default_truth(variant: str, arm: str) -> ArmTruth:
    """The original study's arms by name; any other name trains everything."""
    del variant
    return TRUTHS.get(arm, FULL)


def true_losses(truth: ArmTruth, steps: int) -> Floats:
    """The loss of each step without any noise."""
    return truth.floor + truth.height * np.exp(-np.arange(steps) / truth.decay)


def autoregressive(generator: Generator, steps: int, sigma: float, phi: float) -> Floats:
    """A stationary AR(1) series with standard deviation `sigma` and first-order autocorrelation `phi`."""
    innovations = generator.standard_normal(steps) * np.sqrt(1 - phi**2)
    series = np.empty(steps)
    previous = generator.standard_normal()
    for step in range(steps):
        previous = phi * previous + innovations[step]
        series[step] = previous
    return sigma * series
