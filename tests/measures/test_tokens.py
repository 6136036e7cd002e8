"""Tokens that are in S are counted, repetitions included."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from frostline.measures import count_common


def test_repeated_common_tokens_count_each_time() -> None:
    assert count_common([1, 2, 1, 9, 1], [1, 2]) == 4


@given(st.lists(st.integers(0, 20)), st.frozensets(st.integers(0, 20)))
def test_the_count_is_what_numpy_finds(continuation: list[int], common: frozenset[int]) -> None:
    assert count_common(continuation, common) == np.isin(np.array(continuation, dtype=np.int64), list(common)).sum()
