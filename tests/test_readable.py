"""Numbers are written with few digits and the unit that suits them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from frostline import readable
from frostline.readable import duration, rough_seconds, rough_size


@pytest.mark.parametrize(
    ("written", "value", "text"),
    [
        (readable.number, 0.0, "0"), (readable.number, 3.14159, "3.14"), (readable.number, 3.0, "3"),
        (readable.number, -1234.0, "-1,234"), (readable.number, 999.7, "1,000"), (readable.number, 5e-4, "5.00e-04"),
        (readable.number, 12_345_678, "1.23e+07"),
        (readable.significant, 0.0, "0"), (readable.significant, 0.0123456, "0.0123"),
        (readable.significant, 3.0, "3.00"), (readable.significant, 1234.5, "1,234"),
        (readable.significant, 1e-7, "1.00e-07"), (readable.significant, None, "unknown"),
        (readable.significant, math.nan, "unknown"),
        (readable.percent, 0.1234, "12.3 %"), (readable.percent, -0.0, "0.0 %"), (readable.percent, None, "unknown"),
        (readable.points, -0.05, "-5.0 points"), (readable.points, None, "unknown"),
        (readable.loss, 2.34567, "2.346"), (readable.loss, math.inf, "unknown"), (readable.loss, -0.0002, "0.000"),
        (readable.count, 12_345, "12,345"), (readable.count, 134_515_008, "134.5 M"), (readable.count, 7e9, "7.0 G"),
        (readable.count, -2e6, "-2.0 M"),
        (readable.p_value, 0.0004, "< 0.001"), (readable.p_value, 0.0312, "0.031"), (readable.p_value, 0.25, "0.25"),
        (readable.size, 999, "999 B"), (readable.size, 589_824, "590 kB"), (readable.size, 1.25e9, "1.25 GB"),
        (readable.size, 2e9, "2 GB"), (readable.gigabytes, 2e9, "2.00 GB"), (readable.gigabytes, 236e6, "236 MB"),
        (readable.seconds, 0.000394, "0.39 ms"), (readable.seconds, 0.0617, "62 ms"),
        (readable.seconds, 1.54, "1.54 s"),
        (readable.seconds, 720, "12.0 min"), (readable.seconds, 9000, "2.5 h"), (readable.seconds, -0.172, "-172 ms"),
    ],
)  # fmt: skip
def test_a_number_is_written_in_few_digits(written: Callable[[float | None], str], value: float, text: str) -> None:
    assert written(value) == text


def test_one_of_a_thing_is_told_without_an_s() -> None:
    assert [readable.plural(amount, "pair") for amount in (0, 1, 2000)] == ["0 pairs", "1 pair", "2,000 pairs"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (5300, "88 min"), (7500, "2 h 05 min")]
)
def test_waiting_is_told_in_seconds_minutes_or_hours(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1500, "1.5 kB"),
        (589_824, "590 kB"),
        (999_600, "1 MB"),
        (236e6, "236 MB"),
        (1.25e9, "1.2 GB"),
        (4e12, "4 TB"),
        (4e15, "4000 TB"),
    ],
)
def test_sizes_are_readable(size: float, text: str) -> None:
    assert rough_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (3.94e-4, "0.39 ms"),
        (0.0004, "0.4 ms"),
        (1e-6, "0.001 ms"),
        (0.0617, "62 ms"),
        (0.9999, "1 s"),
        (1.54, "1.5 s"),
        (119.0, "119 s"),
        (720.0, "12 min"),
    ],
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert rough_seconds(seconds) == text
