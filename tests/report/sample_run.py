"""A run folder made by hand, with every kind of record: small, quick, and with any text in the places that show text.

Numbers are made up but consistent: the journal's curves come from a fixed generator, the summary's from formulas.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from frostline.run_folder import (
    ArmFailed,
    Continuation,
    CorpusFacts,
    Evaluation,
    FinalWeights,
    Journal,
    PeakMemory,
    RunEnded,
    RunStarted,
    StepTaken,
    TrueContinuation,
    VariantPrepared,
    WatchedMatrices,
    WeightChange,
)
from frostline.stats.arms import ArmSummary
from frostline.stats.checks import Checks
from frostline.stats.comparisons import Comparison
from frostline.stats.estimate import Estimate
from frostline.stats.per_seed import SeedResult
from frostline.stats.summary import FORMAT, RULES, ClaimResult, FrontPoint, RunSummary, VariantSummary
from frostline.stats.trade import AtEqualCost

ROLES = ("attn.q", "attn.k", "attn.v", "attn.o")
PLANS = {
    "full": "train: all",
    "freeze": "train: [attn.qkv@50%:]",
    "reversed": "freeze: [attn@50%:]",
    "lora": "lora: {rank: 8, targets: [attn.qkv]}",
    "mlp": "train: [mlp@-2:]",
    "norms": "train: [norm]",
}
FLOOR = {"full": 3.02, "freeze": 3.21, "reversed": 3.03, "lora": 3.28, "mlp": 3.12, "norms": 3.44}
SECONDS = {"full": 0.62, "freeze": 0.31, "reversed": 0.59, "lora": 0.45, "mlp": 0.28, "norms": 0.55}
QUALITY = (
    "distance", "distinct_1", "distinct_2", "distinct_3", "repetition", "self_bleu", "length", "from_untouched",
    "copied_share",
)  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """What the run consists of."""

    arms: tuple[str, ...] = ("full", "freeze", "reversed")
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 24
    layers: int = 6
    variants: tuple[str, ...] = ("",)
    prompts: int = 4
    watch: bool = True
    memory: bool = True
    retention: bool = True
    failed: str | None = None
    """An arm whose first replicate fails half-way, with a loss that is not a number."""
    text: str = "the value of an expression is bound to the name, and the statement is executed again."
    """Stands in every place that shows text from outside: question, corpus, prompts, continuations."""
    status: str = "finished"


def write_run(folder: Path, shape: Shape = Shape()) -> Path:
    """Write journal, experiment.yaml and summary.json of a made-up run into `folder`; returns it."""
    folder.mkdir(parents=True)
    (folder / "experiment.yaml").write_text(f"name: sample\nquestion: {json.dumps(shape.text)}\n", encoding="utf-8")
    with Journal(folder) as journal:
        journal.append(RunStarted("0.1.0", "ab" * 32, "2026-08-01T09:30:00+00:00", _environment(shape)))
        for place, variant in enumerate(shape.variants):
            _write_variant(journal, shape, variant, place)
        journal.append(RunEnded(shape.status, "2026-08-01T09:36:00+00:00", 361.0))
    summary = asdict(summary_of(shape))
    (folder / "summary.json").write_text(json.dumps(summary, ensure_ascii=False), encoding="utf-8")
    return folder


def summary_of(shape: Shape = Shape()) -> RunSummary:
    """The summary that goes with `write_run(folder, shape)`."""
    return RunSummary(
        format=FORMAT,
        name="sample",
        question=shape.text,
        answer=[
            "Training only the query, key and value matrices of the upper half saved 50.1 % of the time "
            "and ended 0.19 nats above full training.",
            f"The text it read: {shape.text}",
        ],
        status=shape.status,
        frostline_version="0.1.0",
        recipe_sha256="ab" * 32,
        started_at="2026-08-01T09:30:00+00:00",
        seconds=361.0,
        environment=_environment(shape),
        changes=[],
        baseline=shape.arms[0],
        seeds=list(shape.seeds),
        steps=shape.steps,
        batch=2,
        accumulation=1,
        window_length=128,
        order="epochs",
        claims=_claims(shape),
        variants=[_variant_summary(shape, variant, place) for place, variant in enumerate(shape.variants)],
        judged_by=RULES,
    )


def _environment(shape: Shape) -> dict[str, str]:
    return {"python": "3.11.2", "torch": "2.13.0", "processor": shape.text, "threads": "2"}


def _write_variant(journal: Journal, shape: Shape, variant: str, place: int) -> None:
    facts = CorpusFacts(shape.text, "cd" * 32, 113_108, 5284, 860, 16)
    journal.append(
        VariantPrepared(variant, shape.text, "LlamaForCausalLM", "ef" * 32, 134_515_008, shape.layers, 2048, facts,
                        facts if shape.retention else None, "fp32", "cpu", "lock-step", [" the", shape.text], 0.41)
    )  # fmt: skip
    for seed in shape.seeds:
        for prompt in range(shape.prompts):
            journal.append(
                TrueContinuation(
                    variant, seed, "", prompt, shape.text, f" the text itself: {shape.text}", 48, 20, 3.2, 41, 0, 0.7,
                    0.9, 0.95, 0.1, 0.2,
                )
            )  # fmt: skip
            journal.append(_continuation(shape, variant, seed, "", prompt))
        for arm in shape.arms:
            _write_arm(journal, shape, variant, place, seed, arm)
    if shape.memory:
        for arm in shape.arms:
            journal.append(PeakMemory(variant, arm, "process RSS", _peak(arm), 538_060_032))


def _write_arm(journal: Journal, shape: Shape, variant: str, place: int, seed: int, arm: str) -> None:
    shared = np.random.default_rng([seed, place])
    own = np.random.default_rng([seed, place, shape.arms.index(arm)])
    noise = 0.12 * shared.standard_normal(shape.steps)
    matrices = [(layer, role) for layer in range(shape.layers) for role in ROLES]
    trained = [_trains(arm, layer, role, shape.layers) for layer, role in matrices]
    if shape.watch:
        names = [f"model.layers.{layer}.self_attn.{role[-1]}_proj.weight" for layer, role in matrices]
        layers, roles = [layer for layer, _ in matrices], [role for _, role in matrices]
        journal.append(WatchedMatrices(variant, seed, arm, names, layers, roles, trained))
    broken = shape.failed == arm and seed == shape.seeds[0]
    drift = np.zeros(len(matrices))
    for step in range(shape.steps):
        if broken and step == shape.steps // 2:
            journal.append(ArmFailed(variant, seed, arm, step, "the loss is not a number"))
            return
        loss = FLOOR[arm] + 1.1 * math.exp(-step / (shape.steps / 5)) + noise[step] + 0.02 * own.standard_normal()
        if broken and step == shape.steps // 2 - 1:
            loss = math.nan
        seconds = SECONDS[arm] * (1 + 0.04 * own.standard_normal())
        journal.append(StepTaken(variant, seed, arm, step, float(loss), 1.2, 2e-4, 254, 256, "aa", step < 3, seconds))
        if shape.watch:
            size = (0.8 + own.random(len(matrices))) * np.array(trained) * (0.03 + 0.2 * math.exp(-step / 4))
            size = size * (1.6 if arm == "freeze" else 1.0)
            drift = np.sqrt(drift**2 + size**2)
            journal.append(WeightChange(variant, seed, arm, step, size.tolist(), drift.tolist()))
        if step % 8 == 0:
            journal.append(Evaluation(variant, seed, arm, step, "held_out", float(loss - noise[step] + 0.05), 2032))
    if shape.watch:
        norm = np.full(len(matrices), 40.0)
        rank = np.where(drift > 0, 6.0, 0.0)
        journal.append(
            FinalWeights(variant, seed, arm, norm.tolist(), drift.tolist(), (drift / norm).tolist(), rank.tolist())
        )
    for prompt in range(shape.prompts):
        journal.append(_continuation(shape, variant, seed, arm, prompt))


def _trains(arm: str, layer: int, role: str, layers: int) -> bool:
    upper = 2 * layer >= layers
    return {"freeze": upper and role != "attn.o", "reversed": not upper, "mlp": False, "norms": False}.get(arm, True)


def _continuation(shape: Shape, variant: str, seed: int, arm: str, prompt: int) -> Continuation:
    text = f" {arm or 'untouched'} says: " + " ".join([shape.text] * (1 + 4 * (prompt % 2)))
    return Continuation(
        variant, seed, arm, prompt, shape.text, text, 48, 20, 3.1, 41, 1, 0.7, 0.9, 0.95, 0.1, 0.2
    )  # fmt: skip


def _peak(arm: str) -> int:
    return 1_400_000_000 + round(1_700_000_000 * SECONDS[arm])


def _estimate(shape: Shape, value: float, spread: float, unit: str) -> Estimate:
    n = len(shape.seeds)
    if n < 2:
        return Estimate(value, None, None, n, unit, "t over replicates")
    half = spread * (12.7 if n == 2 else 2.5) / math.sqrt(n)
    return Estimate(value, value - half, value + half, n, unit, "t over replicates")


def _quality(shape: Shape, shift: float) -> dict[str, Estimate]:
    values = (0.04, 0.62, 0.88, 0.95, 0.12, 0.21, 46.0, 2.9, 0.03)
    units = ("share", "share", "share", "share", "share", "share", "tokens", "nats", "share")
    return {
        name: _estimate(shape, value * (1 + shift), 0.03 * value, unit)
        for name, value, unit in zip(QUALITY, values, units, strict=True)
    }


def _variant_summary(shape: Shape, variant: str, place: int) -> VariantSummary:
    failed = [f"{shape.failed}, seed {shape.seeds[0]}: the loss is not a number."] if shape.failed else []
    return VariantSummary(
        variant=variant,
        model=shape.text,
        parameters=134_515_008,
        layers=shape.layers,
        corpus=shape.text,
        corpus_sha256="cd" * 32,
        corpus_tokens=113_108,
        corpus_rows=60,
        corpus_left_out={shape.text: 12},
        corpus_cut=7,
        template_date=shape.text,
        beginning=shape.text,
        duplicates=0,
        held_out_overlap=0.01,
        windows=860,
        held_out_windows=16,
        epochs=0.056,
        precision="fp32",
        device="cpu",
        schedule="lock-step",
        common_share_of_corpus=0.41,
        checks=Checks(True, "All arms read identical windows at each step.", True, "Nothing frozen moved.", failed),
        quality_before=_quality(shape, 0.1) if shape.prompts else {},
        quality_reference=_quality(shape, 0.02) | {"common_share": _estimate(shape, 0.41, 0.0, "share")}
        if shape.prompts
        else {},
        arms={arm: _arm_summary(shape, arm, place) for arm in shape.arms},
        comparisons=_comparisons(shape),
        bottom_line=[f"Given the same time, full got further than freeze: {shape.text}", "On this machine: 1.4 GB."],
        cost_details=[f"To get down to a loss of 3.2, freeze took 7 s. {shape.text}"],
        fronts=_fronts(shape),
    )


def _arm_summary(shape: Shape, arm: str, place: int) -> ArmSummary:
    seconds = SECONDS[arm] / (1 + 0.3 * place)
    baseline = shape.arms[0]
    saving = 1 - SECONDS[arm] / SECONDS[baseline] + 0.02 * place
    by_role = {role: _estimate(shape, 0.05, 0.004, "norm") for role in ROLES} if shape.watch else {}
    sampled = shape.prompts > 0
    return ArmSummary(
        arm=arm,
        plan=PLANS[arm],
        learning_rate=2e-4,
        replicates=len(shape.seeds) - (shape.failed == arm),
        failed=[f"{arm}, seed {shape.seeds[0]}: the loss is not a number."] if shape.failed == arm else [],
        parameters=134_515_008,
        trained_parameters=134_515_008 if arm == "full" else 8_294_400,
        reused_from=[],
        optimizer_bytes=66_355_200,
        prefix_layers=0 if arm == "full" else shape.layers // 2,
        step_flops=2.1e11,
        ceiling=0.0 if arm == baseline else min(0.9, saving + 0.05),
        ceiling_cached=0.0 if arm == baseline else min(0.95, saving + 0.15),
        loss_first=_estimate(shape, 4.2, 0.1, "nats"),
        loss_last=_estimate(shape, FLOOR[arm], 0.03, "nats"),
        loss_slope=_estimate(shape, -0.021, 0.002, "nats per step"),
        loss_variance_early=_estimate(shape, 0.021, 0.004, "nats squared"),
        loss_variance=_estimate(shape, 0.017, 0.003, "nats squared"),
        held_out_before=_estimate(shape, 4.11, 0.0, "nats"),
        held_out_after=_estimate(shape, FLOOR[arm] + 0.05, 0.02, "nats"),
        overfitting=_estimate(shape, 0.05 + 0.02 * shape.arms.index(arm), 0.02, "nats"),
        retention_before=_estimate(shape, 3.4, 0.0, "nats") if shape.retention else None,
        retention_after=_estimate(shape, 3.5, 0.01, "nats") if shape.retention else None,
        forgetting=_estimate(shape, 0.3 - 0.1 * shape.arms.index(arm), 0.02, "nats") if shape.retention else None,
        common_share_before=_estimate(shape, 0.371, 0.0, "share") if sampled else None,
        common_share_after=_estimate(shape, 0.402 + 0.01 * shape.arms.index(arm), 0.01, "share") if sampled else None,
        common_share_change=_estimate(shape, 0.031, 0.01, "share") if sampled else None,
        step_seconds=_estimate(shape, seconds, 0.01, "seconds"),
        total_seconds=_estimate(shape, seconds * shape.steps, 0.1, "seconds"),
        saving=None if arm == baseline else _estimate(shape, saving, 0.01, "share"),
        tokens_per_second=_estimate(shape, 256 / seconds, 5.0, "tokens per second"),
        peak_bytes=_peak(arm) if shape.memory else None,
        quality=_quality(shape, -0.05 * shape.arms.index(arm)) if sampled else {},
        change_by_role=by_role,
        drift_by_role=by_role,
        relative_drift_by_role=by_role,
        stable_rank_by_role=by_role,
        training_seconds=_estimate(shape, seconds * shape.steps, 0.1, "seconds"),
        at_equal_time=None if arm == baseline else _at_equal_time(shape, arm),
        share_of_gain_kept=None if arm == baseline else _estimate(shape, 0.8, 0.02, "share"),
        diverged=[shape.seeds[0]] if shape.failed == arm else [],
        clipped_share=_estimate(shape, 0.4, 0.1, "share"),
        seed_spread=_estimate(shape, 0.02, 0.01, "nats"),
        by_seed=[
            SeedResult(seed, 4.11, FLOOR[arm] + 0.001 * seed, 0.1, 0.8, seconds * shape.steps, 0.4, False)
            for seed in shape.seeds
        ],
    )


def _at_equal_time(shape: Shape, arm: str) -> AtEqualCost:
    difference = _estimate(shape, 0.1, 0.02, "nats")
    return AtEqualCost("seconds", arm, 7.0, 3.2, 3.1, difference, 0.05, 0.2, [0.1] * len(shape.seeds))


def _fronts(shape: Shape) -> list[FrontPoint]:
    return [
        FrontPoint(
            axis, arm, _estimate(shape, SECONDS[arm] if axis == "seconds" else _peak(arm), 0.01, axis),
            _estimate(shape, FLOOR[arm], 0.01, "nats"), [], [],
        )
        for axis in (["seconds", "bytes"] if shape.memory else ["seconds"])
        for arm in shape.arms
    ]  # fmt: skip


def _comparisons(shape: Shape) -> list[Comparison]:
    return [
        Comparison(arm, "held_out_after", _estimate(shape, 0.1, 0.02, "nats"), 0.25, 0.5, "undecided")
        for arm in shape.arms[1:]
    ]


def _claims(shape: Shape) -> list[ClaimResult]:
    told: Sequence[tuple[str, str, str]] = (
        ("C1", "The full arm's loss falls faster than the frozen arm's.", "supported"),
        ("C7", "Freezing saves about 25 % of the time, and the saving grows with model size.", "undecided"),
        ("C8", "Freezing only late attention leaves the loss practically unchanged.", "refuted"),
    )
    return [
        ClaimResult(
            id, claim, arm, verdict, _estimate(shape, -0.0213, 0.004, "nats"), 0.25,
            f"The loss of {arm} fell by 0.0213 nats a step less than that of full, over {len(shape.seeds)} replicates.",
            f"difference of least-squares slopes {shape.text}", "no difference", "0.05 nats",
            "Six replicates or more." if verdict == "undecided" else "",
        )
        for id, claim, verdict in told
        for arm in shape.arms[1:]
    ]  # fmt: skip
