"""Which charts does a run offer? `run.plot.loss()` and the rest: altair charts, to look at, change or save.

run = frostline.open_run("runs/demo")
run.plot.loss().save("loss.svg")
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import polars as pl

from frostline.errors import FrostlineError, RunFolderError, nearest
from frostline.recipe import load_recipe
from frostline.report.figures import cost, loss, outcome, rates, trade, variants, weights
from frostline.report.figures.parts import AnyChart
from frostline.report.style import LIGHT, WIDE, Palette, Style
from frostline.report.tables import RunTables
from frostline.run_folder import RECIPE_FILE
from frostline.stats import VariantSummary


class NothingMeasured(RunFolderError):  # noqa: N818 - it says what is the matter
    """The run did not measure what a chart shows."""


@dataclass(frozen=True)
class RunPlots:
    """The charts of one run. Each method takes the label of a variant (the first unless given) and a width in pixels.

    Raises `NothingMeasured` where the run lacks the measure. `with_palette(DARK)` draws on dark paper.
    """

    run: RunTables
    palette: Palette = LIGHT

    def with_palette(self, palette: Palette) -> RunPlots:
        return replace(self, palette=palette)

    def loss(self, variant: str | None = None, width: int = WIDE) -> AnyChart:
        """Training loss, raw and smoothed, with held-out points."""
        losses = self._losses(variant)
        evaluations = self._of(self.run.evaluations(), variant)
        return loss.loss_chart(losses, evaluations, self._style(variant), width)

    def loss_difference(self, variant: str | None = None, width: int = WIDE) -> AnyChart:
        """Loss of each arm minus the baseline's on the same windows."""
        self._need_pairs(variant)
        return loss.loss_difference_chart(self._losses(variant), self._style(variant), width)

    def scatter(self, variant: str | None = None, width: int = WIDE) -> AnyChart:
        """Loss of each arm against the baseline's, one point a step, with y = x."""
        self._need_pairs(variant)
        return loss.scatter_chart(self._losses(variant), self._style(variant), width)

    def rates(self, variant: str | None = None, width: int = WIDE) -> AnyChart:
        """Loss on the windows of the race over the learning rate, with the rate that each arm then trained at."""
        trials = self._of(self.run.rates(), variant)
        if trials.is_empty():
            raise NothingMeasured("The recipe gives the learning rates: none was raced ('learning_rate: best').")
        untouched = [curve.untouched for curve in self._variant(variant).rates.values() if curve.untouched is not None]
        return rates.rates_chart(trials, untouched[0] if untouched else None, self._style(variant), width)

    def token_share(self, variant: str | None = None, width: int = WIDE) -> AnyChart:
        """Share of common tokens before and after training."""
        found = self._estimates(variant, lambda measure: measure.startswith("common_share"), "No text was sampled.")
        share = self._variant(variant).common_share_of_corpus
        return outcome.token_share_chart(found, share, self._style(variant), width)

    def weight_change(self, variant: str | None = None, width: int = WIDE) -> AnyChart:
        """Weight change a step, by role, on a logarithmic scale."""
        changes = self._of(self.run.weight_changes(), variant)
        if changes.filter(pl.col("change") > 0).is_empty():
            raise NothingMeasured("The weight change of single steps was not measured.")
        noise = self._of(self.run.noise_changes(), variant)
        return weights.weight_change_chart(changes, noise, self._style(variant), width)

    def drift(self, variant: str | None = None, width: int = WIDE) -> AnyChart:
        """Relative drift from the start: layers x matrices for each arm."""
        final = self._of(self.run.final_weights(), variant)
        if final.get_column("layer").drop_nulls().is_empty():
            raise NothingMeasured("The drift of the weights was not measured.")
        return weights.drift_chart(final, self._style(variant), width)

    def loss_over_time(self, variant: str | None = None, width: int = WIDE) -> AnyChart:
        """Held-out loss over the seconds of training."""
        return self._over_cost("seconds", variant, width)

    def loss_over_flops(self, variant: str | None = None, width: int = WIDE) -> AnyChart:
        """Held-out loss over the floating-point operations that the steps need by analysis."""
        return self._over_cost("flops", variant, width)

    def loss_over_epochs(self, variant: str | None = None, width: int = WIDE) -> AnyChart:
        """Held-out loss over epochs, where the run reads its corpus more than once."""
        if self._variant(variant).epochs <= 1:
            raise NothingMeasured("The corpus was read once at most, so that the loss by step tells all.")
        return self._over_cost("epoch", variant, width)

    def front(self, variant: str | None = None, width: int = WIDE) -> AnyChart:
        """Loss at the end against time and memory, with the front of the arms that none beats."""
        found = self._of(self.run.front(), variant)
        if found.group_by("axis").len().filter(pl.col("len") > 1).is_empty():
            raise NothingMeasured("There are no two arms with a held-out loss and a cost that compares.")
        return trade.front_chart(found, self._style(variant), width)

    def gradient_norm(self, variant: str | None = None, width: int = WIDE) -> AnyChart:
        """Norm of the gradient before clipping, step by step."""
        losses = self._losses(variant)
        if losses.filter(pl.col("gradient_norm") > 0).is_empty():
            raise NothingMeasured("No gradient norm was recorded.")
        return trade.gradient_chart(losses, self._clipping(), self._style(variant), width)

    def time(self, variant: str | None = None, width: int = WIDE) -> AnyChart:
        """Time a step, and the saving r beside the plan's ceiling."""
        found = self._estimates(variant, lambda measure: measure in ("step_seconds", "saving"), "No step was timed.")
        arms = self._variant(variant).arms.values()
        ceilings = pl.DataFrame(
            [(arm.arm, arm.ceiling, arm.ceiling_cached) for arm in arms],
            schema={"arm": pl.String(), "ceiling": pl.Float64(), "ceiling_cached": pl.Float64()},
            orient="row",
        )
        return cost.time_chart(found, ceilings, self._style(variant), width)

    def memory(self, variant: str | None = None, width: int = WIDE) -> AnyChart:
        """Peak memory of each arm, measured alone."""
        memory = self._of(self.run.memory(), variant)
        if memory.is_empty():
            raise NothingMeasured("Peak memory was not measured.")
        return cost.memory_chart(memory, self._style(variant), width)

    def quality(self, variant: str | None = None, width: int = WIDE) -> AnyChart:
        """Held-out loss beside what the generated text is like."""
        found = self._of(self.run.estimates(), variant)
        measured = found.filter(pl.col("measure").str.starts_with("quality.") & (pl.col("arm") != ""))
        if measured.get_column("value").drop_nulls().is_empty():
            raise NothingMeasured("No text was sampled, so nothing was measured of it.")
        return outcome.quality_chart(found, self._style(variant), width)

    def forgetting(self, variant: str | None = None, width: int = WIDE) -> AnyChart:
        """Change of the loss on the retention corpus."""
        reason = "The recipe names no retention corpus, so forgetting was not measured."
        found = self._estimates(variant, lambda measure: measure == "forgetting", reason)
        title = "change of the loss on the retention corpus (nats)"
        return outcome.change_chart(found, "forgetting", title, self._style(variant), width)

    def overfitting(self, variant: str | None = None, width: int = WIDE) -> AnyChart:
        """Held-out minus training loss at the end."""
        reason = "No held-out loss was measured at the end."
        found = self._estimates(variant, lambda measure: measure == "overfitting", reason)
        title = "held-out minus training loss at the end (nats)"
        return outcome.change_chart(found, "overfitting", title, self._style(variant), width)

    def variants(self, variant: str | None = None, width: int = WIDE) -> AnyChart:
        """Saving and overfitting over the varied key; `variant` is not used."""
        labels = [found.variant for found in self.run.summary.variants]
        if len(labels) < 2:
            raise NothingMeasured("The recipe varies nothing.")
        return variants.variants_chart(self.run.estimates(), labels, self._style(labels[0]), width)

    def _variant(self, label: str | None) -> VariantSummary:
        found = {variant.variant: variant for variant in self.run.summary.variants}
        if not found:
            raise NothingMeasured("The run ended before its first variant was prepared.")
        if label is None:
            return next(iter(found.values()))
        if label not in found:
            raise RunFolderError(
                f"{self.run.folder}: no variant '{label}'.", nearest(label, found) or f"It has: {', '.join(found)}."
            )
        return found[label]

    def _of(self, frame: pl.DataFrame, label: str | None) -> pl.DataFrame:
        return frame.filter(pl.col("variant") == self._variant(label).variant)

    def _losses(self, label: str | None) -> pl.DataFrame:
        losses = self._of(self.run.losses(), label)
        if losses.get_column("loss_nats").drop_nulls().is_empty():
            raise NothingMeasured("No step was taken.")
        return losses

    def _over_cost(self, axis: str, label: str | None, width: int) -> AnyChart:
        curves = self._of(self.run.curves(), label).filter(pl.col(axis).is_not_null())
        if curves.filter(pl.col("step") > 0).is_empty():
            raise NothingMeasured("No held-out loss was measured after a step whose cost is known.")
        return trade.over_cost_chart(curves, axis, self._style(label), width)

    def _clipping(self) -> float | None:
        """Norm at which gradients are clipped; None where it is not known from the run folder."""
        try:
            return load_recipe(self.run.folder / RECIPE_FILE).training.gradient_clipping
        except FrostlineError:
            return None

    def _need_pairs(self, label: str | None) -> None:
        if loss.pairs(self._losses(label), self._style(label).baseline).is_empty():
            raise NothingMeasured("There is no second arm to compare with the baseline.")

    def _estimates(self, label: str | None, wanted: Callable[[str], bool], reason: str) -> pl.DataFrame:
        found = self._of(self.run.estimates(), label)
        measures = [measure for measure in found.get_column("measure").unique() if wanted(measure)]
        found = found.filter(
            pl.col("measure").is_in(measures) & pl.col("value").is_not_null() & pl.col("value").is_finite()
        )
        if found.is_empty():
            raise NothingMeasured(reason)
        return found

    def _style(self, label: str | None) -> Style:
        return Style(tuple(self._variant(label).arms), self.run.summary.baseline, self.palette)
