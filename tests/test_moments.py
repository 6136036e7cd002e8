"""Moments tell runs apart that begin within one second, and people read them to the second."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from frostline.moments import moment_for_people, moment_now


def test_moments_within_one_second_differ() -> None:
    moments = []
    for _ in range(5):
        moments.append(moment_now())
        time.sleep(0.001)
    assert len(set(moments)) == 5
    assert moments == sorted(moments)
    assert abs((datetime.fromisoformat(moments[0]) - datetime.now(UTC)).total_seconds()) < 60


def test_people_read_a_moment_to_the_second() -> None:
    assert moment_for_people("2026-08-01T09:30:00.123456+00:00") == "2026-08-01 09:30:00 UTC"
    assert moment_for_people("2026-08-01T09:30:00+00:00") == "2026-08-01 09:30:00 UTC"
    assert moment_for_people("2026-08-01T11:30:00+02:00") == "2026-08-01 09:30:00 UTC"
    assert moment_for_people("once") == "once"
