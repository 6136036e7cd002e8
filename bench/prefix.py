"""What do stored rows cost and spare? Steps that compute the prefix, against rows from memory and from disk.

    python -m bench.prefix                                     # a narrow Llama of 12 layers, 'train: [all@-2:]'
    python -m bench.prefix --layers 16 --hidden 2048 --plan 'train: [all@-4:]' --tokens 256 --batch 8

Random weights. Arms take turns step by step on the same windows (A B, B A, ...), each with a store of its own:
`computed` keeps no rows, `memory` holds them all, `disk` holds none in memory and reads the next step's rows ahead,
`disk, in the step` reads them when they are asked for. Then a fill of all windows, layer by layer, against computing
each window's rows in one pass.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from bench.engine import header, print_machine
from frostline.corpus import Batch
from frostline.engine import (
    Arm,
    FastForward,
    FillWindow,
    FrozenWeights,
    PrefixIdentity,
    PrefixStore,
    SharedParts,
    copy_for_arm,
    fill_rows,
    fit_model,
    resolve_device,
    resolve_precision,
    turn_order,
)
from frostline.plans import AppliedPlan, Plan
from frostline.recipe import TrainingSettings

DISTINCT_STEPS, ROUNDS = 4, 6
"""Steps on windows of their own, and how often each is taken again with what was stored."""
WAYS = {"computed": (0, 0), "memory": (1 << 40, 0), "disk": (0, 1 << 40), "disk, in the step": (0, 1 << 40)}
"""Bytes in memory and on disk that the store of each way may have."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--plan", default="train: [all@-2:]")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    options = parser.parse_args()
    print_machine()
    config = LlamaConfig(
        num_hidden_layers=options.layers,
        hidden_size=options.hidden,
        intermediate_size=4 * options.hidden,
        num_attention_heads=options.hidden // 64,
        num_key_value_heads=options.hidden // 64,
        vocab_size=8192,
    )
    torch.manual_seed(0)
    base = LlamaForCausalLM(config)
    batches = [batch_of(step, options.batch, options.tokens) for step in range(DISTINCT_STEPS)]
    with tempfile.TemporaryDirectory(dir=".") as folder:
        arms, stores = {}, {}
        for name, (memory, disk) in WAYS.items():
            stores[name] = PrefixStore(
                PrefixIdentity(name, ""), folder=Path(folder), memory_bytes=memory, disk_bytes=disk
            )
            arms[name] = arm_of(name, base, options.plan, stores[name])
        compare_steps(arms, stores, batches)
        compare_fill(arms["memory"], batches)
        for store in stores.values():
            store.close()


def batch_of(step: int, rows: int, tokens: int) -> Batch:
    ids = np.random.default_rng(step).integers(3, 8192, size=(rows, tokens), dtype=np.int64)
    return Batch(ids, ids.copy(), None, tuple(range(rows)), "")


def arm_of(name: str, base: LlamaForCausalLM, plan: str, store: PrefixStore) -> Arm:
    device = resolve_device("auto")
    precision = resolve_precision("auto", device)
    settings, parsed = TrainingSettings(steps=1000), Plan.parse(plan)
    resolved = parsed.resolve(base)
    shared = SharedParts(FrozenWeights(precision), store, (resolved.prefix_layers,), keep_base=True)

    def fast(applied: AppliedPlan) -> FastForward:
        sample = batch_of(0, 2, 64)
        fitted = fit_model(applied, shared, settings, device=device, precision=precision, sample=sample)
        return FastForward(fitted, shared, settings, keep_rows=name != "computed", device=device, precision=precision)

    return Arm(
        name,
        copy_for_arm(base, resolved),
        parsed,
        settings,
        learning_rate=1e-4,
        weight_decay=0.0,
        seed=0,
        device=device,
        precision=precision,
        forward=fast,
    )


def compare_steps(arms: dict[str, Arm], stores: dict[str, PrefixStore], batches: list[Batch]) -> None:
    """Steps in turns; the first round, which stores the rows, is left out."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    prefix: dict[str, list[float]] = {name: [] for name in arms}
    depth = arms["disk"].forward.stored_depth(0)
    for turn in range(DISTINCT_STEPS * (1 + ROUNDS)):
        batch, following = (batches[step % DISTINCT_STEPS] for step in (turn, turn + 1))
        for arm in turn_order(list(arms.values()), turn):
            if arm.name == "disk":
                keys = [FillWindow.of(row, None).key for row in following.input_ids]
                stores["disk"].bring(keys, [depth])
            outcome = arm.take_step(batch, turn)
            if turn >= DISTINCT_STEPS:
                seconds[arm.name].append(outcome.seconds)
                prefix[arm.name].append(outcome.phases.prefix)
    print(f"\n## Steps of {batches[0].input_ids.shape} tokens, {ROUNDS} rounds in turns\n")
    print(header("rows", "seconds a step, median [range]", "against memory", "of it for rows"))
    for name, own in seconds.items():
        share = median(own) / median(seconds["memory"])
        spread = f"{median(own):.3f} [{min(own):.3f}, {max(own):.3f}]"
        print(f"| {name} | {spread} | {share:.2f} | {median(prefix[name]):.4f} |")


def compare_fill(arm: Arm, batches: list[Batch]) -> None:
    """Seconds of a fill, layer by layer, and of computing the rows of each window in one pass."""
    assert isinstance(arm.forward, FastForward)
    prefix, depth = arm.forward.prefix, arm.forward.stored_depth(0)
    windows = [FillWindow.of(row, None) for batch in batches for row in batch.input_ids]
    print(f"\n## Rows of {len(windows)} windows at depth {depth}\n")
    print(header("way", "seconds", "bytes of hidden states"))
    began = time.perf_counter()
    for window in windows:
        prefix.compute(torch.from_numpy(window.input_ids[None]), None, [depth])
    rows_bytes = sum(prefix.row_bytes(len(window.input_ids)) for window in windows)
    print(f"| one pass a window | {time.perf_counter() - began:.2f} | {rows_bytes:,} |")
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for name, path in (("memory", None), ("disk", Path(folder))):
            room = 0 if path is None else 1 << 40
            with PrefixStore(PrefixIdentity(name, ""), folder=path, memory_bytes=1 << 40, disk_bytes=room) as store:
                prefix.store = store
                began = time.perf_counter()
                written = sum(layer.written_bytes for layer in fill_rows(prefix, windows, [depth]))
                print(f"| layer by layer, {name} | {time.perf_counter() - began:.2f} | {written:,} |")


if __name__ == "__main__":
    main()
