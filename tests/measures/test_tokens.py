"""Is p the share of generated tokens that are in S?"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.measures import common_token_share, count_common


def test_repeated_common_tokens_count_each_time() -> None:
    assert count_common([1, 2, 1, 9, 1], [1, 2]) == 4


def test_the_share_runs_over_all_tokens_and_not_over_continuations() -> None:
    assert common_token_share([[1, 1, 1], [5]], [1]) == 0.75


def test_no_token_at_all_has_no_share() -> None:
    assert math.isnan(common_token_share([[], []], [1]))


@given(st.lists(st.lists(st.integers(0, 20)), min_size=1), st.frozensets(st.integers(0, 20)))
def test_the_share_is_what_numpy_finds(continuations: list[list[int]], common: frozenset[int]) -> None:
    flat = np.array([token for continuation in continuations for token in continuation], dtype=np.int64)
    share = common_token_share(continuations, common)
    if flat.size:
        assert share == pytest.approx(np.isin(flat, list(common)).mean())
    else:
        assert math.isnan(share)
