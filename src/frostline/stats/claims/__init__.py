"""Do the study's claims hold on this model and this text? Each claim's test, computed."""

from __future__ import annotations

from frostline.stats.claims import choices, costs, losses, texts, weights
from frostline.stats.claims.context import context_of
from frostline.stats.claims.definitions import DEFINITIONS, Definition
from frostline.stats.runs import RecordedRun
from frostline.stats.summary import ClaimResult

__all__ = ["DEFINITIONS", "Definition", "judge_claims"]

_PER_VARIANT = (
    losses.judge_slope,
    losses.judge_scatter,
    texts.judge_style,
    texts.judge_sampling_noise,
    weights.judge_shape,
    weights.judge_load,
    costs.judge_saving,
    losses.judge_equivalence,
    texts.judge_loss_against_text,
    losses.judge_early_variance,
    choices.judge_choice,
)


def judge_claims(run: RecordedRun) -> list[ClaimResult]:
    """Every claim on every arm that it speaks of, in the order C1 to C12."""
    contexts = [context_of(variant) for variant in run.variants if variant.arms]
    found = [claim for judge in _PER_VARIANT for context in contexts for claim in judge(context)]
    found += [*costs.judge_growth(contexts), *costs.judge_scarcity(contexts)]
    return sorted(found, key=lambda claim: int(claim.id[1:]))
