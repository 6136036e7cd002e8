"""Which arms does a claim concern? The full arm is the baseline; the others by what their plans train.

A *frozen* arm trains at most half of the parameters (averaged over the steps, where the plan changes): C1 to C7, C9,
C10 and C12 speak of it. A *reversed* arm trains more than half, but not all: C8 speaks of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frostline.readable import learning_rate
from frostline.recipe import Recipe
from frostline.stats import scalars
from frostline.stats.claims.definitions import SHARE_OF_GAIN
from frostline.stats.pairs import Pairs, pairs_of
from frostline.stats.runs import VariantRun

FINISH = "A replicate in which both arms finish."
BEST, GIVEN = "each arm's best", "the given rates"


@dataclass(frozen=True)
class Obstacle:
    """Why a claim cannot be tested on this run, and what would help."""

    sentence: str
    decides: str


@dataclass(frozen=True)
class Context:
    """One variant, with the arms that the claims speak of, paired with the full arm."""

    variant: VariantRun
    frozen: tuple[Pairs, ...]
    reversed: tuple[Pairs, ...]
    baseline_is_full: bool

    @property
    def full(self) -> str:
        """Name of the baseline."""
        return self.variant.baseline

    def obstacle(self, arms: tuple[Pairs, ...], kind: str) -> Obstacle | None:
        """Why a claim about `arms` cannot be tested, if it cannot."""
        if not self.baseline_is_full:
            return Obstacle(
                f"The baseline {self.full} does not train everything, and the claim compares with full training.",
                "An experiment whose baseline trains everything ('train: all').",
            )
        if not arms:
            return Obstacle(f"No arm {kind}.", f"An arm that {kind.removeprefix('that ')}.")
        return None

    @property
    def margin(self) -> float | None:
        """What counts as practically equal in held-out loss, nats; None where nothing says so."""
        named = self.variant.recipe.margin_nats
        if named is not None:
            return named
        gained = gain(self.variant)
        return SHARE_OF_GAIN * gained if gained is not None and gained > 0 else None

    @property
    def frozen_obstacle(self) -> Obstacle | None:
        """What stands in the way of claims about frozen arms, if anything does."""
        return self.obstacle(self.frozen, "trains at most half of the parameters")

    @property
    def reversed_obstacle(self) -> Obstacle | None:
        """What stands in the way of claims about reversed arms, if anything does."""
        return self.obstacle(self.reversed, "trains more than half of the parameters, but not all")


def gain(variant: VariantRun) -> float | None:
    """What the baseline gains in held-out loss by training, mean over replicates, nats; None where not measured."""
    gains = [scalars.held_out_before(run) - scalars.held_out_after(run) for run in variant.counting(variant.baseline)]
    known = [one for one in gains if math.isfinite(one)]
    return float(np.mean(known)) if known else None


def rates_of(recipe: Recipe) -> str:
    """Whether every arm trains at its own best learning rate, as found by a race, or at given ones."""
    return BEST if all(str(recipe.learning_rate_of(arm)) == "best" for arm in recipe.arms) else GIVEN


def rates_text(pairs: Pairs) -> str:
    """`at a learning rate of 2e-4`, or the rates of arm and baseline where they differ."""
    if not pairs.pairs:
        return ""
    own, other = (run.started.learning_rate for run in (pairs.pairs[0].arm, pairs.pairs[0].baseline))
    if own == other:
        return f"at a learning rate of {learning_rate(own)}"
    return f"at learning rates of {learning_rate(own)} ({pairs.arm}) and {learning_rate(other)} ({pairs.baseline})"


def context_of(variant: VariantRun) -> Context:
    """Sort the arms of `variant` by the share of parameters that they train."""
    shares = {arm: variant.of(arm)[0].trained_share for arm in variant.arms}
    others = [arm for arm in variant.arms if arm != variant.baseline]
    return Context(
        variant,
        tuple(pairs_of(variant, arm) for arm in others if shares[arm] <= 0.5),
        tuple(pairs_of(variant, arm) for arm in others if 0.5 < shares[arm] < 1),
        shares.get(variant.baseline, 0.0) >= 1,
    )


def common_arms(contexts: Sequence[Context]) -> list[str]:
    """Frozen arms of every variant, where every variant's baseline trains everything."""
    if not contexts or not all(context.baseline_is_full for context in contexts):
        return []
    return [pairs.arm for pairs in contexts[0].frozen if all(_has(context, pairs.arm) for context in contexts)]


def pairs_in(context: Context, arm: str) -> Pairs:
    """The frozen arm's pairs in one variant."""
    return next(pairs for pairs in context.frozen if pairs.arm == arm)


def _has(context: Context, arm: str) -> bool:
    return any(pairs.arm == arm and pairs.pairs for pairs in context.frozen)
