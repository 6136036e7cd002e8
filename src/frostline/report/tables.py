"""Which tables does a run folder hold? Polars frames of its journal, made on first use and kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from frostline.errors import FrostlineError, RunFolderError
from frostline.report import frames
from frostline.run_folder import RECIPE_FILE
from frostline.stats import RunSummary, read_run


@dataclass(frozen=True)
class RunTables:
    """Summary and tables of one run."""

    folder: Path
    summary: RunSummary
    """Every number that the report prints."""
    lines: frames.Lines
    """The journal, line by line."""

    def losses(self) -> pl.DataFrame:
        """One row a step: variant, seed, arm, step, loss_nats, gradient_norm, learning_rate, predictions, tokens,
        windows_sha256, untimed, seconds, processes (that computed it together)."""
        return self._losses

    def evaluations(self) -> pl.DataFrame:
        """One row an evaluation: variant, seed, arm, step (steps done), corpus (`held_out`, `retention` or `trained`),
        loss_nats, predictions, and of each window in order window_losses, window_predictions."""
        return frames.evaluations_frame(self.lines)

    def curves(self) -> pl.DataFrame:
        """One row a held-out evaluation: variant, seed, arm, step, epoch, seconds (of the steps before it, untimed ones
        at the mean), flops (by analysis), loss_nats."""
        return self._curves

    def seeds(self) -> pl.DataFrame:
        """One row a replicate of an arm: variant, arm, seed, held_out_before, held_out_after, difference,
        share_of_gain_kept, training_seconds, clipped_share, diverged."""
        return frames.seeds_frame(self.summary)

    def front(self) -> pl.DataFrame:
        """Loss against cost, one row an arm and axis (`seconds`, `bytes`): variant, axis, arm, cost, cost_low,
        cost_high, loss, loss_low, loss_high, beaten, surely_beaten."""
        return frames.front_frame(self.summary)

    def gains(self) -> pl.DataFrame:
        """Who gained, one row an arm and part of the held-out text: variant, arm, split (`file`, `frequency`,
        `copies`), part, windows, predictions, gained, gained_low, gained_high, difference (from the baseline),
        difference_low, difference_high."""
        return frames.gains_frame(self.summary)

    def weight_changes(self) -> pl.DataFrame:
        """One row a watched matrix and step: variant, seed, arm, step, name, layer, role, change, drift."""
        return self._weight_changes

    def noise_changes(self) -> pl.DataFrame:
        """The weight change that gradients of pure noise would make: variant, arm, role, step, change (mean).

        Empty where the recipe, which names the optimizer's betas, cannot be read.
        """
        try:
            variants = read_run(self.folder).variants
        except FrostlineError:
            variants = ()
        return frames.noise_changes_frame(variants)

    def final_weights(self) -> pl.DataFrame:
        """One row a watched matrix: variant, seed, arm, name, layer, role, trained, norm, drift, relative_drift,
        stable_rank."""
        return frames.final_weights_frame(self.lines)

    def continuations(self) -> pl.DataFrame:
        """One row a sampled text: variant, seed, arm ('' before training), prompt_index, prompt, text, tokens,
        common_tokens, untouched_loss_nats, ngrams, copied_ngrams, distinct_1, distinct_2, distinct_3, repetition,
        self_bleu, measured_tokens, judge_loss_nats, draw."""
        return frames.continuations_frame(self.lines)

    def true_continuations(self) -> pl.DataFrame:
        """One row a prompt, with how the held-out text itself goes on: variant, seed, arm (''), prompt_index, prompt,
        text, tokens, common_tokens, untouched_loss_nats, ngrams, copied_ngrams, distinct_1, distinct_2, distinct_3,
        repetition, self_bleu, judge_loss_nats."""
        return frames.true_continuations_frame(self.lines)

    def times(self) -> pl.DataFrame:
        """One row a step: variant, seed, arm, step, seconds, untimed."""
        return self._losses.select("variant", "seed", "arm", "step", "seconds", "untimed")

    def memory(self) -> pl.DataFrame:
        """One row an arm: variant, arm, method, peak_bytes, model_bytes, reserved_bytes."""
        return frames.memory_frame(self.lines)

    def claims(self) -> pl.DataFrame:
        """One row a claim and arm: id, claim, variant, arm, verdict, value, low, high, n, unit, method, p_value,
        sentence, statistic, null, margin, decides."""
        return frames.claims_frame(self.summary)

    def rates(self) -> pl.DataFrame:
        """One row a trial of a race of learning rates: variant, arm, learning_rate, loss_nats, diverged, steps,
        chosen (the rate that the arm trained at)."""
        return frames.rates_frame(self.summary)

    def estimates(self) -> pl.DataFrame:
        """Every estimate of the summary: variant, arm ('' for the untouched model), measure, value, low, high, n, unit,
        method."""
        return frames.estimates_frame(self.summary)

    def recipe_text(self) -> str:
        """The resolved recipe as YAML. Raises `RunFolderError` if the folder has none."""
        try:
            return (self.folder / RECIPE_FILE).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunFolderError(f"{self.folder / RECIPE_FILE}: cannot be read.", "A run folder keeps it.") from error

    @cached_property
    def _losses(self) -> pl.DataFrame:
        return frames.losses_frame(self.lines)

    @cached_property
    def _curves(self) -> pl.DataFrame:
        return frames.curves_frame(self.lines, self.summary.batch * self.summary.accumulation)

    @cached_property
    def _weight_changes(self) -> pl.DataFrame:
        return frames.weight_changes_frame(self.lines)
