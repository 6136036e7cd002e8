"""Is generated text any good? A low loss does not say so; these measure the text itself, over its token ids.

distinct-n: Li et al. 2016, arXiv:1510.03055. Repetition: 'seq-rep-4' of Welleck et al. 2020, arXiv:1908.04319,
section 6.1. Self-BLEU: Zhu et al. 2018 ('Texygen'), arXiv:1802.01886; BLEU itself: Papineni et al. 2002.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import islice

BLEU_ORDER = 4
UNSEEN_MATCHES = 0.1
"""Counted instead of 0 matches of an order above 1 (Chen and Cherry 2014, smoothing method 1, as Texygen does)."""

NGram = tuple[int, ...]


def distinct(tokens: Sequence[int], n: int) -> float:
    """Share of different n-grams among all n-grams: 1 where none repeats; NaN where there are none."""
    grams = count_ngrams(tokens, n)
    return len(grams) / grams.total() if grams else math.nan


def repetition(tokens: Sequence[int], n: int = 4) -> float:
    """1 - distinct-n: 0 where no n-gram repeats, close to 1 in a loop; NaN where there are none."""
    return 1 - distinct(tokens, n)


def self_bleu(texts: Sequence[Sequence[int]]) -> list[float]:
    """BLEU-4 of each text against all the others: 1 where one of them is the same, near 0 where nothing is shared.

    NaN for an empty text, and where there is no other.
    """
    return [bleu(text, [*texts[:index], *texts[index + 1 :]]) for index, text in enumerate(texts)]


def bleu(text: Sequence[int], references: Sequence[Sequence[int]]) -> float:
    """BLEU of `text` against `references`, from 0 to 1, with equal weights for n-grams of 1 to 4 tokens.

    Matches of an n-gram count up to the most that any one reference holds (clipping). An order above 1 without a
    match counts as `UNSEEN_MATCHES`; orders longer than the text are left out. NaN for an empty text or no references.
    """
    if not text or not references:
        return math.nan
    logarithms = []
    for n in range(1, min(BLEU_ORDER, len(text)) + 1):
        grams = count_ngrams(text, n)
        allowed: Counter[NGram] = Counter()
        for reference in references:
            allowed |= count_ngrams(reference, n)  # the greater of the two counts
        matches = (grams & allowed).total()
        if matches == 0 and n == 1:
            return 0.0
        logarithms.append(math.log((matches or UNSEEN_MATCHES) / grams.total()))
    precision = math.exp(math.fsum(logarithms) / len(logarithms))
    return precision * _brevity_penalty(len(text), [len(reference) for reference in references])


def count_ngrams(tokens: Sequence[int], n: int) -> Counter[NGram]:
    """How often each run of `n` consecutive tokens occurs."""
    return Counter(zip(*(islice(tokens, start, None) for start in range(n)), strict=False))


def _brevity_penalty(length: int, references: Sequence[int]) -> float:
    """1, or less where the text is shorter than the reference nearest in length (the shorter one of two as near)."""
    nearest = min(references, key=lambda reference: (abs(reference - length), reference))
    return 1.0 if length >= nearest else math.exp(1 - nearest / length)
