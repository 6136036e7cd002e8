"""What do the frozen layers at the bottom take, and what does it take to fill the rows that stand for them?

Filled rows are made layer by layer over all windows: the file is read once, each layer is cast up once, and each window
goes through it alone; between two layers its state goes to the disk and comes back.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from frostline.arms import Prepared, evaluated_windows, fewer_tokens, make_arm, tokens_of_a_step, trial_training
from frostline.engine import RECORD_BYTES, PrefixTrial, measured_rates, synchronize
from frostline.forecast.cut import cut_prepared
from frostline.forecast.small_passes import FEWER, SmallPasses
from frostline.plans import decoder_stack

READ_BYTES = 200_000_000
ROUNDS = 2


@dataclass(frozen=True)
class PrefixCost:
    """What the layers below an arm's frost line take for a window, all of them together."""

    window_seconds: float
    """For its tokens."""
    pass_seconds: float
    """Whatever its tokens: matrices read and cast up, once a window, or once a fill."""
    row_bytes: int
    """Size of what they hand on."""

    @property
    def trial(self) -> PrefixTrial:
        """As the engine finds it out."""
        return PrefixTrial(None, self.window_seconds + self.pass_seconds, self.row_bytes)


@dataclass(frozen=True)
class FillEstimate:
    """Making all rows before training."""

    windows: int
    """Windows whose rows are made."""
    seconds: float
    """Reading the file, all layers of all windows, and their states to the disk and back."""
    rows_bytes: int
    passing_bytes: int
    """States between two layers, at most: they go with the fill."""


NOTHING_FILLED = FillEstimate(0, 0.0, 0, 0)


def prefix_cost(prepared: Prepared, name: str, small: SmallPasses | None) -> PrefixCost | None:
    """What the prefix of a window costs, from a cut model with a shorter one; None where there is none to store."""
    resolved = prepared.arms[name].resolved
    if not resolved.prefix_layers:
        return None
    # Where nothing trains in the layers, all of them are below it.
    above = [] if resolved.prefix_layers == resolved.layers else [resolved.prefix_layers]
    if small is not None:
        return _from_few_tokens(prepared, name, small, above)
    below = sorted({0, resolved.prefix_layers - 1})
    short = len(below)
    trials = []
    for depth in sorted({1, short}):
        cut = cut_prepared(prepared, name, [*below[:depth], *above])
        trial = make_arm(cut, cut.arms[name], cut.recipe.seeds[0]).forward.prefix_trial
        if trial is None:
            return None
        trials.append(trial)
    first, last = trials[0], trials[-1]
    per_layer = (last.seconds - first.seconds) / max(1, short - 1) if short > 1 else 0.0
    seconds = first.seconds + max(0.0, per_layer) * (resolved.prefix_layers - 1)
    return PrefixCost(seconds, 0.0, first.row_bytes)


def _from_few_tokens(prepared: Prepared, name: str, small: SmallPasses, above: list[int]) -> PrefixCost | None:
    length, depth = prepared.recipe.windows.length, prepared.arms[name].resolved.prefix_layers
    many = min(small.tokens, length)
    few = max(1, many // FEWER)
    cut = cut_prepared(prepared, name, [depth - 1, *above], small.rows, few)
    unproved = dict.fromkeys((own for own, _ in cut.model.named_parameters()), "")
    prefix = make_arm(cut, cut.arms[name], cut.recipe.seeds[0], hashed=unproved).forward.prefix
    if prefix is None:
        return None
    window = fewer_tokens(prepared.corpus.batch(cut.recipe.seeds[0], 0, 1), small.rows, many)
    seconds = []
    for tokens in (few, many):
        ids = torch.from_numpy(fewer_tokens(window, None, tokens).input_ids)
        took = []
        for _ in range(1 + ROUNDS):
            synchronize(prepared.device)
            started = time.perf_counter()
            prefix.compute(ids, None, [1])
            synchronize(prepared.device)
            took.append(time.perf_counter() - started)
        seconds.append(min(took))
    each = max(0.0, seconds[1] - seconds[0]) / max(1, many - few)
    return PrefixCost(depth * each * length, depth * max(0.0, seconds[0] - few * each), prefix.row_bytes(length))


def fill_estimate(prepared: Prepared, costs: dict[str, PrefixCost | None], steps: int, read: float) -> FillEstimate:
    """What the fill of a run of so many steps takes, where its file is read at `read` bytes a second."""
    arms = {name: arm for name, arm in prepared.arms.items() if costs.get(name) is not None}
    if not prepared.fills_rows or not arms:
        return NOTHING_FILLED
    recipe = prepared.recipe
    # A race reads as a replicate of its own would, in its longest trial; and is judged on windows of its own.
    trials = [trial_training(recipe.training.of_steps(steps), arm.resolved).steps for arm in arms.values() if arm.raced]
    read_steps = steps * len(recipe.seeds) + max(trials, default=0)
    visits = read_steps * tokens_of_a_step(recipe) // recipe.windows.length
    training = visits if recipe.windows.order == "random" else min(visits, prepared.corpus.windows)
    windows = training + evaluated_windows(prepared) + (prepared.corpus.race_windows if trials else 0)
    depths = sorted({arm.resolved.prefix_layers for arm in arms.values()})
    deepest = max(arms.values(), key=lambda arm: arm.resolved.prefix_layers)
    cost = costs[deepest.name]
    assert cost is not None
    row = cost.row_bytes + RECORD_BYTES
    rates = measured_rates()
    _, stack = decoder_stack(prepared.model)
    read_bytes = sum(own.nbytes for layer in stack[: depths[-1]] for own in layer.parameters())
    states = windows * row * depths[-1] * (1 / rates.write + 1 / rates.read)
    gaps = [upper - lower for lower, upper in zip([0, *depths], depths, strict=False)]
    return FillEstimate(
        windows=windows,
        seconds=read_bytes / read + cost.pass_seconds + windows * cost.window_seconds + states,
        rows_bytes=windows * row * len(depths),
        passing_bytes=windows * row * max(min(2, gap - 1) for gap in gaps),
    )


def read_rate(files: list[Path]) -> float:
    """Bytes a second at which the largest of `files` comes from its disk, past what the system has kept of it."""
    largest = max(files, key=lambda file: file.stat().st_size)
    size = min(READ_BYTES, largest.stat().st_size)
    start = (largest.stat().st_size - size) // 2
    block = bytearray(1 << 22)
    with largest.open("rb", buffering=0) as content:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(content.fileno(), start, size, os.POSIX_FADV_DONTNEED)
        content.seek(start)
        began, left = time.perf_counter(), size
        while left > 0 and (count := content.readinto(memoryview(block)[: min(left, len(block))])):
            left -= count
    return (size - left) / max(time.perf_counter() - began, 1e-9)
