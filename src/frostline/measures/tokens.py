"""Which of the generated tokens are common? Those in S, the corpus's most frequent; their share is `stats`' to take."""

from __future__ import annotations

from collections.abc import Collection, Iterable


def count_common(continuation: Iterable[int], common_tokens: Collection[int]) -> int:
    """Tokens of `continuation` that are in S, repetitions counted."""
    common = frozenset(common_tokens)
    return sum(token in common for token in continuation)
