"""Which tables does a run offer? The journal and the summary as polars frames with fixed columns and types.

A number that was not finite is null. Frames of a run that lacks a kind of record are empty, with all their columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Final

import polars as pl

from frostline.run_folder import (
    ArmStarted,
    Continuation,
    Evaluation,
    FinalWeights,
    PeakMemory,
    Record,
    StepTaken,
    TrueContinuation,
    VariantPrepared,
    WatchedMatrices,
    WeightChange,
)
from frostline.stats import (
    ArmSummary,
    AtEqualCost,
    ClaimResult,
    Estimate,
    RunSummary,
    SeedResult,
    ToLoss,
    VariantRun,
    noise_change,
    seconds_spent,
)

Lines = list[dict[str, object]]

_TYPES: Final[Mapping[str, pl.DataType]] = {
    "str": pl.String(),
    "int": pl.Int64(),
    "int | None": pl.Int64(),
    "float": pl.Float64(),
    "bool": pl.Boolean(),
    "list[str]": pl.List(pl.String()),
    "list[int]": pl.List(pl.Int64()),
    "list[float]": pl.List(pl.Float64()),
    "list[bool]": pl.List(pl.Boolean()),
}
_PLACE = ["variant", "seed", "arm"]
_ESTIMATE = {"value": pl.Float64(), "low": pl.Float64(), "high": pl.Float64(), "n": pl.Int64(), "unit": pl.String(),
             "method": pl.String()}  # fmt: skip


def losses_frame(lines: Lines) -> pl.DataFrame:
    """One row a step: the fields of `StepTaken`."""
    return _records(lines, StepTaken).sort(*_PLACE, "step", maintain_order=True)


def evaluations_frame(lines: Lines) -> pl.DataFrame:
    """One row an evaluation: the fields of `Evaluation`."""
    return _records(lines, Evaluation)


def curves_frame(lines: Lines, windows_a_step: int) -> pl.DataFrame:
    """One row a held-out evaluation: variant, seed, arm, step, epoch, seconds, flops, loss_nats.

    What the steps before it took: untimed ones count as much as a timed one does on average; operations by analysis,
    null where the plan changes on the way.
    """
    spent = {}
    for place, steps in losses_frame(lines).group_by(*_PLACE, maintain_order=True):
        timed = ~steps.get_column("untimed") & steps.get_column("seconds").is_not_null()
        spent[place] = seconds_spent(steps.get_column("seconds").fill_null(0.0).to_numpy(), timed.to_numpy())
    changing = {tuple(line[name] for name in _PLACE) for line in lines if line["kind"] == "PlanChanged"}
    flops = {row[:3]: row[3] for row in _records(lines, ArmStarted).select(*_PLACE, "step_flops").iter_rows()}
    windows = {
        str(line["variant"]): dict(line["corpus"]).get("windows")  # type: ignore[call-overload]
        for line in lines if line["kind"] == VariantPrepared.__name__
    }  # fmt: skip
    rows = []
    held_out = evaluations_frame(lines).filter(pl.col("corpus") == "held_out")
    for variant, seed, arm, step, loss in held_out.select(*_PLACE, "step", "loss_nats").iter_rows():
        place, own = (variant, seed, arm), spent.get((variant, seed, arm))
        seconds = 0.0 if step == 0 else float(own[step]) if own is not None and step < len(own) else None
        step_flops = None if place in changing else flops.get(place)
        epoch = step * windows_a_step / windows[variant] if windows.get(variant) else None
        rows.append((*place, step, epoch, seconds, None if step_flops is None else step * step_flops, loss))
    numbers = {name: pl.Float64() for name in ("epoch", "seconds", "flops", "loss_nats")}
    schema = {"variant": pl.String(), "seed": pl.Int64(), "arm": pl.String(), "step": pl.Int64(), **numbers}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.col("seconds").fill_nan(None))


def seeds_frame(summary: RunSummary) -> pl.DataFrame:
    """One row a replicate of an arm: variant, arm, and the fields of `SeedResult`."""
    schema: dict[str, pl.DataType] = {"variant": pl.String(), "arm": pl.String()}
    schema |= {field.name: _TYPES[str(field.type).split(" ")[0]] for field in fields(SeedResult)}
    rows = [
        (variant.variant, arm.arm, *(getattr(one, field.name) for field in fields(SeedResult)))
        for variant in summary.variants for arm in variant.arms.values() for one in arm.by_seed
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def front_frame(summary: RunSummary) -> pl.DataFrame:
    """One row an arm and axis (`seconds`, `bytes`): cost and loss with their intervals, and whether an arm beats it.

    Columns: variant, axis, arm, cost, cost_low, cost_high, loss, loss_low, loss_high, beaten, surely_beaten.
    """
    rows = [
        (variant.variant, point.axis, point.arm, *_ends(point.cost), *_ends(point.loss), bool(point.beaten_by),
         bool(point.surely_beaten_by))
        for variant in summary.variants for point in variant.fronts
    ]  # fmt: skip
    numbers = {f"{name}{end}": pl.Float64() for name in ("cost", "loss") for end in ("", "_low", "_high")}
    schema = {"variant": pl.String(), "axis": pl.String(), "arm": pl.String(), **numbers}
    schema |= {"beaten": pl.Boolean(), "surely_beaten": pl.Boolean()}
    return pl.DataFrame(rows, schema=schema, orient="row")


def gains_frame(summary: RunSummary) -> pl.DataFrame:
    """One row an arm and part of the held-out text, with what the arm gained there, alone and beside the baseline.

    Columns: variant, arm, split, part, windows, predictions, gained, gained_low, gained_high, difference,
    difference_low, difference_high.
    """
    rows = [
        (variant.variant, arm.arm, one.split, one.part, one.windows, one.predictions, *_ends(one.gained),
         *((None, None, None) if one.difference is None else _ends(one.difference)))
        for variant in summary.variants for arm in variant.arms.values() for one in arm.gained_by
    ]  # fmt: skip
    schema: dict[str, pl.DataType] = {name: pl.String() for name in ("variant", "arm", "split", "part")}
    schema |= {name: pl.Int64() for name in ("windows", "predictions")}
    schema |= {f"{name}{end}": pl.Float64() for name in ("gained", "difference") for end in ("", "_low", "_high")}
    return pl.DataFrame(rows, schema=schema, orient="row")


def continuations_frame(lines: Lines) -> pl.DataFrame:
    """One row a sampled continuation: the fields of `Continuation`; `arm` is '' before training."""
    return _records(lines, Continuation)


def true_continuations_frame(lines: Lines) -> pl.DataFrame:
    """One row a prompt: the fields of `TrueContinuation`; `arm` is ''."""
    return _records(lines, TrueContinuation)


def memory_frame(lines: Lines) -> pl.DataFrame:
    """One row an arm: variant, arm, method, peak_bytes, model_bytes, reserved_bytes."""
    return _records(lines, PeakMemory)


def weight_changes_frame(lines: Lines) -> pl.DataFrame:
    """One row for each watched matrix and measured step: variant, seed, arm, step, name, layer, role, change, drift."""
    watched = _watched(lines)
    changes = _records(lines, WeightChange)
    return (
        changes.join(watched, on=_PLACE, how="inner")
        .explode("change", "drift", "name", "layer", "role", "trained")
        .select(*_PLACE, "step", "name", "layer", "role", "change", "drift")
    )


def noise_changes_frame(variants: Sequence[VariantRun]) -> pl.DataFrame:
    """The weight change that gradients of pure noise would have made: variant, arm, role, step, change.

    Mean over the matrices that train and over replicates, as in the figure. No row where it cannot be known.
    """
    rows: list[tuple[str, str, str, int, float]] = []
    for variant in variants:
        for (_, arm), one in variant.runs.items():
            expected = noise_change(one, variant.recipe.training.betas)
            for place, role in enumerate(one.watched.roles if one.watched is not None and expected.size else ()):
                known = zip(one.change_steps, expected[:, place], strict=True)
                rows += [(variant.label, arm, role, int(step), float(value)) for step, value in known if value > 0]
    schema = {"variant": pl.String(), "arm": pl.String(), "role": pl.String(), "step": pl.Int64()}
    found = pl.DataFrame(rows, schema=schema | {"change": pl.Float64()}, orient="row")
    return found.group_by("variant", "arm", "role", "step", maintain_order=True).agg(pl.col("change").mean())


def final_weights_frame(lines: Lines) -> pl.DataFrame:
    """One row for each watched matrix at the end.

    Columns: variant, seed, arm, name, layer, role, trained, norm, drift, relative_drift, stable_rank.
    """
    numbers = ["norm", "drift", "relative_drift", "stable_rank"]
    described = ["name", "layer", "role", "trained"]
    return (
        _records(lines, FinalWeights)
        .join(_watched(lines), on=_PLACE, how="inner")
        .explode(*numbers, *described)
        .select(*_PLACE, *described, *numbers)
    )


def claims_frame(summary: RunSummary) -> pl.DataFrame:
    """One row a claim and arm, with columns:

    id, claim, variant, arm, verdict, scope, at_rates, value, low, high, n, unit, method, p_value, sentence, statistic,
    null, margin, decides.
    """
    texts = ["id", "claim", "variant", "arm", "verdict", "scope", "at_rates"]
    explained = ["sentence", "statistic", "null", "margin", "decides"]
    schema: dict[str, pl.DataType] = {name: pl.String() for name in texts} | _ESTIMATE | {"p_value": pl.Float64()}
    schema |= {name: pl.String() for name in explained}
    return pl.DataFrame([_claim_row(claim, texts + explained) for claim in summary.claims], schema=schema)


def rates_frame(summary: RunSummary) -> pl.DataFrame:
    """One row a trial of a race of learning rates: variant, arm, learning_rate, loss_nats, diverged, steps, chosen."""
    rows = [
        {"variant": variant.variant, "arm": arm, **asdict(trial), "chosen": curve.chosen}
        for variant in summary.variants
        for arm, curve in variant.rates.items()
        for trial in curve.trials
    ]
    kinds = {"learning_rate": "float", "loss_nats": "float", "diverged": "bool", "steps": "int", "chosen": "float"}
    schema = {"variant": pl.String(), "arm": pl.String()} | {name: _TYPES[kind] for name, kind in kinds.items()}
    return pl.DataFrame(rows, schema=schema)


def estimates_frame(summary: RunSummary) -> pl.DataFrame:
    """Every estimate of the summary in long form: variant, arm, measure, value, low, high, n, unit, method.

    `measure` is the key in `summary.json`, such as `loss_last`, `quality.distinct_2` or `drift_by_role.attn.q`; `arm`
    is '' for the untouched model.
    """
    rows: list[dict[str, object]] = []
    for variant in summary.variants:
        for name, found in variant.quality_before.items():
            rows.append({"variant": variant.variant, "arm": "", "measure": f"quality.{name}", **_estimate_row(found)})
        for name, found in variant.quality_reference.items():
            measure = f"quality_reference.{name}"
            rows.append({"variant": variant.variant, "arm": "", "measure": measure, **_estimate_row(found)})
        for arm in variant.arms.values():
            for measure, found in _estimates_of(arm):
                rows.append({"variant": variant.variant, "arm": arm.arm, "measure": measure, **_estimate_row(found)})
    schema = {"variant": pl.String(), "arm": pl.String(), "measure": pl.String(), **_ESTIMATE}
    return pl.DataFrame(rows, schema=schema)


def _estimates_of(arm: ArmSummary) -> Iterator[tuple[str, Estimate]]:
    for field in fields(arm):
        value = getattr(arm, field.name)
        if isinstance(value, Estimate):
            yield field.name, value
        elif isinstance(value, AtEqualCost | ToLoss):
            yield field.name, value.difference
        elif isinstance(value, dict):
            for name, inner in value.items():
                yield f"{field.name}.{name}", inner


def _ends(found: Estimate) -> tuple[float | None, float | None, float | None]:
    return found.value, found.low, found.high


def _claim_row(claim: ClaimResult, texts: list[str]) -> dict[str, object]:
    row: dict[str, object] = {name: getattr(claim, name) for name in texts}
    return row | _estimate_row(claim.effect) | {"p_value": claim.p_value}


def _estimate_row(found: Estimate) -> dict[str, object]:
    return {name: getattr(found, name) for name in _ESTIMATE}


def _watched(lines: Lines) -> pl.DataFrame:
    """The last description of the watched matrices of each arm and replicate."""
    return (
        _records(lines, WatchedMatrices)
        .unique(subset=_PLACE, keep="last", maintain_order=True)
        .rename({"names": "name", "layers": "layer", "roles": "role"})
    )


def _records(lines: Lines, kind: type[Record]) -> pl.DataFrame:
    schema = {field.name: _TYPES[str(field.type)] for field in fields(kind)}
    rows = [
        [line.get(name) for name in schema]  # in the order of the schema
        for line in lines
        if line["kind"] == kind.__name__
    ]
    return pl.DataFrame(rows, schema=schema, orient="row")
