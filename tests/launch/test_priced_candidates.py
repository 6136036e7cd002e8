"""What two plans have in common."""

from __future__ import annotations

import pytest

from frostline.launch.priced_candidates import in_common


def test_what_two_plans_have_in_common_is_counted_in_values() -> None:
    assert in_common({"a": 3, "b": 1}, {"a": 3, "c": 2}) == pytest.approx(3 / 6)
    assert in_common({"a": 3}, {"a": 3}) == 1.0
    assert in_common({"a": 3}, {}) == 0.0
    assert in_common({}, {}) == 0.0
