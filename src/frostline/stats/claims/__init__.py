"""Do the study's claims hold on this model and this text? Each claim's test, computed."""

from __future__ import annotations

from dataclasses import replace

from frostline.stats.claims import choices, equivalence, losses, saving, scarcity, texts, weights
from frostline.stats.claims.context import context_of, gain, rates_of
from frostline.stats.claims.definitions import DEFINITIONS, Definition
from frostline.stats.estimate import Estimate
from frostline.stats.runs import RecordedRun
from frostline.stats.summary import ClaimResult
from frostline.stats.wording import scaled

__all__ = ["DEFINITIONS", "Definition", "judge_claims"]

_PER_VARIANT = (
    losses.judge_slope,
    losses.judge_scatter,
    texts.judge_style,
    texts.judge_sampling_noise,
    weights.judge_shape,
    weights.judge_load,
    saving.judge_saving,
    equivalence.judge_equivalence,
    texts.judge_loss_against_text,
    losses.judge_early_variance,
    choices.judge_choice,
)


def judge_claims(run: RecordedRun) -> list[ClaimResult]:
    """Every claim on every arm that it speaks of, in the order C1 to C12."""
    contexts = [context_of(variant) for variant in run.variants if variant.arms]
    found = [claim for judge in _PER_VARIANT for context in contexts for claim in judge(context)]
    found += [*choices.judge_looking(contexts), *saving.judge_growth(contexts)]
    # Texts differ in more than in how much there is of them.
    found += scarcity.judge_scarcity([] if "corpus.source" in run.recipe.vary else contexts)
    return [_completed(run, claim) for claim in sorted(found, key=lambda claim: int(claim.id[1:]))]


def _completed(run: RecordedRun, claim: ClaimResult) -> ClaimResult:
    """The row with what every claim says alike: at which rates, whether exploratory, its share of what was gained."""
    definition = next(one for one in DEFINITIONS if one.claim == claim.claim)
    primary = run.recipe.primary
    return replace(
        claim,
        at_rates=rates_of(run.recipe) if definition.of_rate else "",
        exploratory=primary is not None and primary != claim.id,
        share_of_gain=_share_of_gain(run, claim),
    )


def _share_of_gain(run: RecordedRun, claim: ClaimResult) -> Estimate | None:
    """The effect over what the baseline gained by training, taken as known; of the scarcest data, for all variants."""
    if not claim.effect.unit.startswith("nats") or claim.effect.value is None:
        return None
    variants = [one for one in run.variants if one.label == claim.variant] or list(run.variants)
    gained = gain(min(variants, key=lambda one: one.prepared.corpus.tokens / one.prepared.parameters))
    if gained is None or gained <= 0:
        return None
    unit = claim.effect.unit.replace("nats", "share", 1)
    return replace(scaled(claim.effect, 1 / gained), unit=unit, method=f"{claim.effect.method}; the gain as measured")
