"""Do the measures of text give the values that one computes by hand?"""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.measures import bleu, distinct, repetition, self_bleu
from frostline.measures.quality import count_ngrams

TOKENS = st.lists(st.integers(0, 5), min_size=1, max_size=30)


def test_distinct_counts_different_ngrams_among_all() -> None:
    text = [1, 2, 1, 2, 3]
    assert distinct(text, 1) == 3 / 5
    assert distinct(text, 2) == 3 / 4  # 12, 21, 12, 23
    assert distinct(text, 3) == 1  # 121, 212, 123


def test_repetition_is_the_share_of_4_grams_that_stood_before() -> None:
    assert repetition([7] * 10) == pytest.approx(6 / 7)
    assert repetition([1, 2, 3, 4, 1, 2, 3, 4]) == pytest.approx(1 / 5)
    assert repetition(list(range(10))) == 0


def test_a_text_shorter_than_the_ngram_has_no_value() -> None:
    assert math.isnan(distinct([], 1))
    assert math.isnan(distinct([1, 2], 3))
    assert math.isnan(repetition([1, 2, 3]))


@given(TOKENS, st.integers(1, 4))
def test_ngrams_are_those_of_a_sliding_window(tokens: list[int], n: int) -> None:
    windows = [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]
    counts = count_ngrams(tokens, n)
    assert counts == {window: windows.count(window) for window in windows}


def test_bleu_clips_matches_and_takes_the_geometric_mean() -> None:
    # Orders 1 to 4 match 5 of 6, 3 of 5, 2 of 4, 1 of 3: 'the cat sat on the hat' against 'the cat sat on a mat the'.
    text = [1, 2, 3, 4, 1, 6]
    reference = [1, 2, 3, 4, 7, 8, 1]
    expected = (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25 * math.exp(1 - 7 / 6)
    assert bleu(text, [reference]) == pytest.approx(expected)


def test_bleu_allows_the_most_that_any_one_reference_holds() -> None:
    # 1-grams: 1 twice (second reference) of three; 2-grams: (1, 1) once of two; 3-grams: none of one, counted as 0.1.
    expected = (2 / 3 * 1 / 2 * 0.1 / 1) ** (1 / 3)
    assert bleu([1, 1, 1], [[1, 2, 3], [1, 1, 4]]) == pytest.approx(expected)


def test_bleu_shortens_against_the_reference_nearest_in_length() -> None:
    # Of lengths 4 and 8, both 2 away from 6, the shorter one counts: no penalty.
    text = [1, 2, 3, 4, 5, 6]
    assert bleu(text, [[*text, 7, 8], text[:4]]) == pytest.approx(1)
    assert bleu(text, [[*text, 7, 8]]) == pytest.approx(math.exp(1 - 8 / 6))


def test_identical_texts_have_self_bleu_1_and_disjoint_ones_0() -> None:
    assert self_bleu([[1, 2, 3, 4, 5]] * 3) == pytest.approx([1, 1, 1])
    assert self_bleu([[1, 2, 3, 4, 5], [6, 7, 8, 9], [10, 11, 12]]) == [0, 0, 0]


def test_texts_that_share_single_words_only_have_a_low_self_bleu() -> None:
    words = list(range(40))
    assert max(self_bleu([words, words[::-1]])) < 0.03


def test_an_empty_text_or_a_lonely_one_has_no_self_bleu() -> None:
    scores = self_bleu([[], [1, 2], [1, 2]])
    assert math.isnan(scores[0])
    assert scores[1:] == pytest.approx([1, 1])
    assert math.isnan(self_bleu([[1, 2, 3]])[0])


@given(TOKENS, st.lists(TOKENS, min_size=1, max_size=4))
def test_bleu_lies_between_0_and_1_and_ignores_the_order_of_references(
    text: list[int], references: list[list[int]]
) -> None:
    score = bleu(text, references)
    assert 0 <= score <= 1 + 1e-12
    assert bleu(text, references[::-1]) == pytest.approx(score)
    assert bleu(text, [*references, text]) == pytest.approx(1)
