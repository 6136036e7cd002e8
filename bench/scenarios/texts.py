"""Simulated texts: C3 (style), C4 (sampling noise), C9 (loss against text)."""

from __future__ import annotations

import math
from functools import lru_cache
from types import SimpleNamespace
from typing import cast
from unittest.mock import patch

import numpy as np
from numpy.random import Generator

from bench.scenarios.cells import REFUTED, REPLICATES, SUPPORTED, Cell, Floats, Null, Scenario, Simulation, draw
from frostline.measures.quality import distinct, repetition, self_bleu
from frostline.run_folder import TrueContinuation
from frostline.stats import intervals, text_scores
from frostline.stats.claims.definitions import C3, C4, C9, DISTANCE_MARGIN, SHARE_MARGIN
from frostline.stats.claims.texts import noise_verdict, text_verdict
from frostline.stats.claims.verdicts import over_replicates
from frostline.stats.significance import guarded_p

PROMPTS, DRAWS, TOKENS = 10, 4, 50
RESAMPLES = 300
"""Resamples of the bootstrap, in place of 2,000: four times as quick, and its standard error right to 4 %."""


def style(effect: float) -> Simulation:
    """C3: training moves p nearer to the corpus's by `effect` standard deviations of what replicates differ by."""

    def simulate(generator: Generator, cell: Cell) -> str:
        before = 0.2 + 0.02 * draw(generator, cell.noise, cell.replicates)
        after = 0.2 - 0.02 * math.sqrt(2) * effect + 0.02 * draw(generator, cell.noise, cell.replicates)
        return over_replicates([np.abs(after) - np.abs(before)], -1)[0].verdict

    return simulate


def sampled(excess: float) -> Simulation:
    """C4: ten prompts, four texts of 50 tokens to each by every trained model; the frozen arm's p is `excess` larger.

    Prompts differ by 0.06, and each model has its own way with each of them, by 0.03.
    """

    def simulate(generator: Generator, cell: Cell) -> str:
        prompts = draw(generator, cell.noise, cell.replicates, PROMPTS)
        own = draw(generator, cell.noise, 2, cell.replicates, PROMPTS)
        shares = np.clip(0.45 + 0.06 * prompts + 0.03 * own, 0.02, 0.98 - SHARE_MARGIN)
        shares[0] += excess
        common = generator.binomial(DRAWS * TOKENS, shares)
        pairs = [(_counted(one), _counted(other)) for one, other in zip(*common, strict=True)]
        with patch.object(intervals, "DRAWS", RESAMPLES):
            found = text_scores.difference(pairs)
        return noise_verdict(found, found.p_value()).verdict

    return simulate


def _counted(common: Floats) -> list[TrueContinuation]:
    """As much of a continuation as the share of common tokens reads, the texts of a prompt added up."""
    texts = [
        SimpleNamespace(prompt_index=prompt, common_tokens=float(count), tokens=DRAWS * TOKENS)
        for prompt, count in enumerate(common)
    ]
    return cast("list[TrueContinuation]", texts)


def nearer(gain: float) -> Simulation:
    """C9: the arm of the lower loss is nearer to the held-out text by `gain` margins; the losses surely differ."""

    def simulate(generator: Generator, cell: Cell) -> str:
        gains = DISTANCE_MARGIN * (gain + 0.5 * draw(generator, cell.noise, cell.replicates))
        return text_verdict(gains, 0.0, guarded_p(gains - DISTANCE_MARGIN), 1).verdict

    return simulate


def tokens_at_random(in_lower: bool) -> Simulation:
    """C9: one arm writes random tokens, the other goes on as the held-out text does; which has the lower loss?"""

    def simulate(generator: Generator, cell: Cell) -> str:
        alike, noise = (generator.choice(one, cell.replicates) for one in _distances())
        gains = (alike - noise if in_lower else noise - alike) + 0.01 * draw(generator, cell.noise, cell.replicates)
        return text_verdict(gains, 0.0, guarded_p(gains - DISTANCE_MARGIN), 1).verdict

    return simulate


@lru_cache(maxsize=1)
def _distances() -> tuple[Floats, Floats]:
    """Distances to a held-out text: of other stretches of its language, and of random tokens, 20 each."""
    generator = np.random.default_rng(9)
    share = 1 / np.arange(1, 301)

    def text(at_random: bool) -> list[TrueContinuation]:
        weights = None if at_random else share / share.sum()
        texts = [generator.choice(300, 40, p=weights).tolist() for _ in range(6)]
        return [_measured(tokens, one) for tokens, one in zip(texts, self_bleu(texts), strict=True)]

    truth = text(at_random=False)
    alike, noise = (
        np.array([text_scores.distance(text(at_random), truth) for _ in range(20)]) for at_random in (False, True)
    )
    return alike, noise


def _measured(tokens: list[int], overlap: float) -> TrueContinuation:
    common, ngrams = sum(token < 15 for token in tokens), len(tokens) - 7
    shares = distinct(tokens, 1), distinct(tokens, 2), distinct(tokens, 3), repetition(tokens), overlap
    return TrueContinuation("", 0, "", 0, "", "", len(tokens), common, math.nan, ngrams, 0, *shares)


TEXTS = (
    Scenario(
        C3.id,
        (Null("the distance stays", style(0.0)),),
        "nearer by two standard deviations of its spread over replicates",
        style(2.0),
        over_steps=False,
    ),
    Scenario(
        C4.id,
        (
            Null("the arms' texts do not differ", sampled(0.0), REFUTED),
            Null("an excess of the margin", sampled(SHARE_MARGIN), SUPPORTED),
        ),
        "an excess of twice the margin",
        sampled(2 * SHARE_MARGIN),
        found="refuted",
        over_steps=False,
        replicates=(1, *REPLICATES),
        note=f"{PROMPTS} prompts, {DRAWS} texts of {TOKENS} tokens to each (measures.sampling.draws); {RESAMPLES} "
        "resamples in place of 2,000.",
    ),
    Scenario(
        C9.id,
        (
            Null("nearer by the margin", nearer(1.0)),
            Null("nearer by two margins", nearer(2.0), SUPPORTED),
            Null("no nearer", nearer(0.0), REFUTED),
            Null("random tokens in the arm of the lower loss", tokens_at_random(in_lower=True), REFUTED),
            Null("random tokens in the other arm", tokens_at_random(in_lower=False), SUPPORTED),
        ),
        "no nearer, replicates differing by half of the margin",
        nearer(0.0),
        over_steps=False,
    ),
)
