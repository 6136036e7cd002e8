"""How long does a step of each arm take, and what does it save? From steps in turns (`arms.turns`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean

import numpy as np
import polars as pl
from numpy.typing import NDArray

from frostline.arms import (
    Prepared,
    Visits,
    leave_device,
    measure_peak_memory,
    needed_flops,
    prepare,
    prepared_by_all,
    require_first_step,
    take_turns,
    tokens_of_a_step,
)
from frostline.engine import ALONE, StepOutcome, World, measured_peak
from frostline.errors import TrainingError
from frostline.plans import ceiling_sentence
from frostline.recipe import Recipe, Variant, variants_of
from frostline.stats import OVER_BLOCKS, Estimate, bootstrap, ratio

LATER_VISITS = 24
"""Timed steps on windows seen before, unless told otherwise."""


@dataclass(frozen=True)
class MeanSeconds:
    """Where the time of a step goes, mean over the timed steps."""

    data: float
    """Cutting the step's windows out of the corpus: once for all arms."""
    prefix: float
    forward: float
    backward: float
    optimizer: float
    exchange: float = 0.0
    """Waiting for other processes, and adding up gradients with them; 0 where one computes alone."""


@dataclass(frozen=True)
class ArmTiming:
    """One arm."""

    arm: str
    plan: str
    step_seconds: Estimate
    """Seconds of a step without `data`, on windows seen before."""
    phases: MeanSeconds
    first_visit_seconds: float | None
    """Median step on windows not seen before; None where nothing is stored, so that each visit is like the first, or
    where the corpus has too few windows to tell."""
    saving: Estimate | None
    """r against the baseline; None for the baseline."""
    ceiling: float
    """Largest r that the needed operations allow, prefix recomputed."""
    ceiling_cached: float
    """Largest r with the prefix stored."""
    ceiling_sentence: str
    needed_flops: float
    """Operations of a step on windows seen before; a stored prefix needs none."""
    share_of_peak: float
    """needed_flops / step time / the machine's measured peak."""
    peak_bytes: int | None
    """Memory of the arm alone in a process; None where not measured."""


@dataclass(frozen=True)
class Timing:
    """All arms of one variant."""

    variant: str
    baseline: str
    tokens: int
    """Tokens of a step."""
    precision: str
    device: str
    rounds: int
    """Timed steps of each arm."""
    interleaved: bool
    """False where the arms do not fit into memory together and were timed one after another."""
    peak_flops_per_second: float
    arms: list[ArmTiming]

    def frame(self) -> pl.DataFrame:
        """One row an arm: variant, arm, plan, step_seconds with step_seconds_low and step_seconds_high, saving with
        saving_low and saving_high, first_visit_seconds, ceiling, ceiling_cached, share_of_peak, peak_bytes, and the
        mean seconds of each phase of a step: data, prefix, forward, backward, optimizer."""
        return pl.DataFrame([_row(self.variant, arm) for arm in self.arms], schema=_COLUMNS)


_NUMBERS = (
    "step_seconds", "step_seconds_low", "step_seconds_high", "saving", "saving_low", "saving_high",
    "first_visit_seconds", "ceiling", "ceiling_cached", "share_of_peak",
)  # fmt: skip
_COLUMNS: dict[str, pl.DataType] = {
    **dict.fromkeys(("variant", "arm", "plan"), pl.String()),
    **dict.fromkeys(_NUMBERS, pl.Float64()),
    "peak_bytes": pl.Int64(),
    **dict.fromkeys((field.name for field in fields(MeanSeconds)), pl.Float64()),
}


def _row(variant: str, arm: ArmTiming) -> dict[str, object]:
    step, saving = arm.step_seconds, arm.saving
    return {
        "variant": variant,
        "arm": arm.arm,
        "plan": arm.plan,
        "step_seconds": step.value,
        "step_seconds_low": step.low,
        "step_seconds_high": step.high,
        "saving": None if saving is None else saving.value,
        "saving_low": None if saving is None else saving.low,
        "saving_high": None if saving is None else saving.high,
        "first_visit_seconds": arm.first_visit_seconds,
        "ceiling": arm.ceiling,
        "ceiling_cached": arm.ceiling_cached,
        "share_of_peak": arm.share_of_peak,
        "peak_bytes": arm.peak_bytes,
        **asdict(arm.phases),
    }


def time_recipe(
    recipe: Recipe,
    cache: Path,
    *,
    rounds: int = LATER_VISITS,
    memory: bool = True,
    say: Callable[[str], None],
    world: World = ALONE,
) -> list[Timing]:
    """Time every arm of `recipe`, once for each model that it varies over. Raises `FrostlineError`.

    The processes of `world` compute the arms together, and a step takes as long as the slowest of them.

    A plan that changes over time is timed as it begins.
    """
    timings = []
    seen_models = set()
    for variant in variants_of(recipe):
        if variant.recipe.model in seen_models:
            continue  # the corpus varies, and its length has no part in the time of a step
        seen_models.add(variant.recipe.model)
        prepared = prepared_by_all(_prepare(variant, cache, say), world)
        require_first_step(prepared)
        visits = take_turns(prepared, rounds, say)
        prepared = leave_device(prepared)
        peaks = _peak_memory(prepared.recipe, cache, say) if memory else {}
        timings.append(_timing(prepared, visits, rounds, peaks))
    return timings


def _prepare(variant: Variant, cache: Path, say: Callable[[str], None]) -> Prepared:
    # The retention corpus is for measures, which have no part in this.
    recipe = variant.recipe.model_copy(update={"retention": "none"})
    return prepare(Variant(variant.label, recipe), cache, say=say)


def _peak_memory(recipe: Recipe, cache: Path, say: Callable[[str], None]) -> dict[str, int]:
    peaks = {}
    for arm in recipe.arms:
        say(f"Memory of {arm}, alone in a process of its own")
        try:
            peaks[arm] = measure_peak_memory(recipe, arm, cache).peak_bytes
        except TrainingError as error:
            say(f"Not measured: {error}")
    return peaks


def _timing(prepared: Prepared, visits: dict[str, Visits], rounds: int, peaks: dict[str, int]) -> Timing:
    recipe = prepared.recipe
    peak = prepared.world.size * measured_peak(prepared.device, prepared.precision)
    arms = []
    for name, own in visits.items():
        planned = prepared.arms[name]
        cost = planned.cost
        needed = needed_flops(cost, stores_prefix=own.stores_prefix)
        seconds = _seconds(own.later)
        is_baseline = name == recipe.baseline_arm
        paired = np.column_stack([seconds, _seconds(visits[recipe.baseline_arm].later)])
        found = bootstrap([np.column_stack([seconds, np.ones(len(seconds))])], ratio)
        arms.append(
            ArmTiming(
                arm=name,
                plan=planned.plan.text,
                step_seconds=found.estimate("seconds", OVER_BLOCKS),
                phases=_mean_seconds(own),
                first_visit_seconds=_first_visit(prepared, own),
                saving=None
                if is_baseline
                else bootstrap([paired], lambda totals: 1 - ratio(totals)).estimate("share", OVER_BLOCKS),
                ceiling=cost.ceiling,
                ceiling_cached=cost.ceiling_cached,
                ceiling_sentence=ceiling_sentence(cost, planned.resolved),
                needed_flops=needed,
                share_of_peak=needed / found.value / peak if math.isfinite(found.value) else math.nan,
                peak_bytes=peaks.get(name),
            )
        )
    return Timing(
        variant=prepared.variant,
        baseline=recipe.baseline_arm,
        tokens=tokens_of_a_step(recipe),
        precision=prepared.precision,
        device=str(prepared.device),
        rounds=rounds,
        interleaved=prepared.schedule == "lock-step",
        peak_flops_per_second=peak,
        arms=arms,
    )


def _first_visit(prepared: Prepared, visits: Visits) -> float | None:
    training = prepared.recipe.training
    epoch = prepared.corpus.windows // (training.batch * training.accumulation)
    unseen = visits.first[1:epoch]
    return float(np.median(_seconds(unseen))) if visits.stores_prefix and unseen else None


def _mean_seconds(visits: Visits) -> MeanSeconds:
    phases = [outcome.phases for outcome in visits.later]
    return MeanSeconds(
        data=mean(visits.data_seconds),
        prefix=mean(phase.prefix for phase in phases),
        forward=mean(phase.forward for phase in phases),
        backward=mean(phase.backward for phase in phases),
        optimizer=mean(phase.optimizer for phase in phases),
        exchange=mean(phase.exchange for phase in phases),
    )


def _seconds(outcomes: list[StepOutcome]) -> NDArray[np.float64]:
    return np.array([outcome.seconds for outcome in outcomes])
