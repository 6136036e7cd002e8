"""How common are the generated tokens? p = (1/M) sum 1(g_i in S), S being the corpus's most frequent tokens."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence


def count_common(continuation: Iterable[int], common_tokens: Collection[int]) -> int:
    """Tokens of `continuation` that are in S, repetitions counted."""
    common = frozenset(common_tokens)
    return sum(token in common for token in continuation)


def common_token_share(continuations: Sequence[Sequence[int]], common_tokens: Collection[int]) -> float:
    """p over all tokens of all continuations, from 0 to 1; NaN where no token was generated."""
    tokens = sum(len(continuation) for continuation in continuations)
    found = sum(count_common(continuation, common_tokens) for continuation in continuations)
    return found / tokens if tokens else math.nan
