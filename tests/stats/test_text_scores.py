"""The distance of a text to the held-out text's own: noise and loops are far from it, another stretch of it is near."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.random import Generator

from frostline.measures.quality import distinct, repetition, self_bleu
from frostline.run_folder import Continuation, TrueContinuation
from frostline.stats import text_scores
from frostline.stats.claims.definitions import DISTANCE_MARGIN
from frostline.stats.significance import guarded_p

VOCABULARY, PROMPTS, LENGTH = 500, 12, 60
COMMON = frozenset(range(25))


def language(generator: Generator, mixed: float = 0.0) -> list[int]:
    """Words by Zipf's law, each followed by one of a few; `mixed` is the share of words drawn from all alike."""
    weights = 1 / np.arange(1, VOCABULARY + 1)
    followers = np.random.default_rng(7).choice(VOCABULARY, (VOCABULARY, 6), p=weights / weights.sum())
    tokens = [0]
    while len(tokens) <= LENGTH:
        drawn = generator.random()
        if drawn < mixed:
            tokens.append(int(generator.integers(VOCABULARY)))
        elif drawn < mixed + (1 - mixed) * 0.5:
            tokens.append(int(generator.choice(VOCABULARY, p=weights / weights.sum())))
        else:
            tokens.append(int(generator.choice(followers[tokens[-1]])))
    return tokens[1:]


def texts_of(write: Callable[[Generator], list[int]], seed: int) -> list[TrueContinuation]:
    generator = np.random.default_rng(seed)
    return measured([write(generator) for _ in range(PROMPTS)])


def measured(texts: Sequence[Sequence[int]]) -> list[TrueContinuation]:
    overlaps = self_bleu(texts)
    return [
        TrueContinuation(
            "", 0, "", index, "", "", len(tokens), sum(token in COMMON for token in tokens), 3.0, len(tokens) - 7, 0,
            distinct(tokens, 1), distinct(tokens, 2), distinct(tokens, 3), repetition(tokens), overlaps[index],
        )
        for index, tokens in enumerate(texts)
    ]  # fmt: skip


def test_the_text_itself_is_nearest_and_random_tokens_are_farthest() -> None:
    truth = texts_of(language, 1)
    found = {
        "itself": truth,
        "another stretch": texts_of(language, 2),
        "half noise": texts_of(lambda generator: language(generator, 0.5), 3),
        "noise": texts_of(lambda generator: generator.integers(VOCABULARY, size=LENGTH).tolist(), 4),
    }
    distances = [text_scores.distance(texts, truth) for texts in found.values()]
    assert distances[0] == 0
    assert distances == sorted(distances)
    assert distances[1] < 0.5 * distances[2]
    # By the measures alone, noise would be the most varied text of all.
    varied = {name: text_scores.value(texts, text_scores.QUALITY["distinct_1"]) for name, texts in found.items()}
    assert max(varied, key=lambda name: varied[name]) == "noise"


def test_a_loop_of_common_words_is_far_from_the_text() -> None:
    truth = texts_of(language, 1)
    loop = texts_of(lambda generator: [0] * LENGTH, 2)
    noise = texts_of(lambda generator: generator.integers(VOCABULARY, size=LENGTH).tolist(), 4)
    assert text_scores.distance(loop, truth) > text_scores.distance(noise, truth)


def test_the_distance_is_the_mean_over_its_parts_by_hand() -> None:
    truth = measured([[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [0, 1, 30, 31, 32, 33, 34, 35, 36, 37]])
    text = measured([[0, 1, 0, 1, 0, 1, 0, 1, 0, 1], [40, 41, 42, 43, 44, 45, 46, 47, 48, 49]])
    parts: list[float] = [
        abs((2 / 10 + 1) / 2 - 1),
        abs((2 / 9 + 1) / 2 - 1),
        abs((1 - 2 / 7) / 2 - 0),
        abs(sum(one.self_bleu for one in text) - sum(one.self_bleu for one in truth)) / 2,
        0.0,
        abs(10 / 20 - 12 / 20),
    ]
    assert text_scores.distance(text, truth) == pytest.approx(sum(parts) / 6)


def test_a_text_too_short_for_a_part_is_as_far_as_can_be_in_it() -> None:
    truth = texts_of(language, 1)
    empty = [
        replace(one, tokens=0, common_tokens=0, ngrams=0, distinct_1=math.nan, distinct_2=math.nan,
                repetition=math.nan, self_bleu=math.nan)
        for one in truth
    ]  # fmt: skip
    assert text_scores.distance(empty, truth) == 1.0
    assert math.isnan(text_scores.distance(truth, []))
    assert math.isnan(text_scores.distance([], truth))


def test_draws_of_a_prompt_are_added_up_and_prompts_stay_the_units() -> None:
    def drawn(prompt: int, draw: int, common: int) -> Continuation:
        return Continuation(
            "", 0, "a", prompt, "", "", 10, common, 3.0, 3, 0, 1.0, 1.0, 1.0, 0.0, 0.1, draw=draw
        )  # fmt: skip

    texts = [drawn(prompt, draw, prompt + draw) for draw in range(3) for prompt in range(8)]
    found = text_scores.estimate([texts], text_scores.COMMON_SHARE)
    assert found.value == pytest.approx(sum(prompt + draw for draw in range(3) for prompt in range(8)) / 240)
    assert found.n == 8
    alike = text_scores.difference([(texts, [replace(one, common_tokens=one.common_tokens - 1) for one in texts])])
    assert alike.value == pytest.approx(0.1)
    assert alike.blocks == 8
    assert alike.error == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("replicates", [6, 7, 10])
@pytest.mark.parametrize("noise", ["normal", "t3", "skew"])
def test_a_gain_of_just_the_margin_is_seldom_told_from_it(replicates: int, noise: str) -> None:
    generator = np.random.default_rng(5)
    shape = (1500, replicates)
    kinds = {
        "normal": generator.standard_normal(shape),
        "t3": generator.standard_t(3, shape),
        "skew": generator.standard_exponential(shape) - 1,
    }
    drawn = kinds[noise]
    gains = DISTANCE_MARGIN + 0.01 * drawn
    p_values = [guarded_p(one - DISTANCE_MARGIN) for one in gains]
    assert np.mean([p is not None and p < 0.05 for p in p_values]) <= 0.06
