"""Which arms does a claim concern? The full arm is the baseline; the others by what their plans train.

A *frozen* arm trains at most half of the parameters (averaged over the steps, where the plan changes): C1 to C7, C9,
C10 and C12 speak of it. A *reversed* arm trains more than half, but not all: C8 speaks of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from frostline.stats.pairs import Pairs, pairs_of
from frostline.stats.runs import VariantRun

FINISH = "A replicate in which both arms finish."


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
    def frozen_obstacle(self) -> Obstacle | None:
        """What stands in the way of claims about frozen arms, if anything does."""
        return self.obstacle(self.frozen, "trains at most half of the parameters")

    @property
    def reversed_obstacle(self) -> Obstacle | None:
        """What stands in the way of claims about reversed arms, if anything does."""
        return self.obstacle(self.reversed, "trains more than half of the parameters, but not all")


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
