"""A signal that there is not is told with those that there are."""

from __future__ import annotations

import pytest

from frostline.errors import PlanError
from frostline.recipe import CHOOSING_SIGNALS, SIGNALS, require_choosing_signal, require_signal


@pytest.mark.parametrize("name", CHOOSING_SIGNALS)
def test_a_signal_that_chooses_is_one(name: str) -> None:
    require_signal(name)
    require_choosing_signal(name)


@pytest.mark.parametrize(
    ("name", "told"),
    [("gradient", "there is no signal 'gradient'"), ("cka", "tells nothing about where training pays")],
)
def test_a_name_that_chooses_nothing_is_told_with_those_that_do(name: str, told: str) -> None:
    with pytest.raises(PlanError, match=told) as caught:
        require_choosing_signal(name)
    assert all(known in str(caught.value) for known in CHOOSING_SIGNALS)


def test_a_name_that_is_none_is_told_with_all() -> None:
    with pytest.raises(PlanError, match=r"there is no signal 'snrr'\. Did you mean 'snr'") as caught:
        require_signal("snrr")
    assert all(known in str(caught.value) for known in SIGNALS)
