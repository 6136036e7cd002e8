"""The choice follows the arithmetic, and each outcome has its sentence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.engine.prefix_choice import PrefixChoice, choose_prefix, measure_read_rate, measure_write_rate
from frostline.engine.readable import readable_bytes, readable_seconds

FROZEN = "15 of 30 layers are frozen at the bottom"
KEYS = "training.prefix_cache.memory_mb or training.prefix_cache.disk_mb"


@dataclass(frozen=True)
class Case:
    """The upper half of 30 layers trains; three epochs of two arms. 62 ms to compute, 0.4 ms to read, 1 ms to write."""

    wanted: Literal["auto", "always", "never"] = "auto"
    depth: int = 15
    layers: int = 30
    row_bytes: int = 590_000
    row_flops: float = 62e9
    flops_per_second: float = 1e12
    read_bytes_per_second: float = 1.475e9
    write_bytes_per_second: float = 0.59e9
    reads_per_window: float = 6.0
    order: Literal["epochs", "random"] = "epochs"
    arms_sharing: int = 2
    deterministic: bool = True
    room_bytes: int = 10**9
    windows: int = 400


def choose(case: Case) -> PrefixChoice:
    return choose_prefix(**vars(case))


def test_a_prefix_that_is_cheaper_to_read_than_to_compute_is_kept() -> None:
    assert choose(Case()) == PrefixChoice(
        True,
        f"Prefix cache: on. {FROZEN}; a window is 590 kB to keep, 62 ms to compute and 0.4 ms to read, "
        "and is read 6.0 times.",
    )


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        (Case(wanted="never"), "The recipe says so (training.prefix_cache.use: never)."),
        (Case(depth=0), "The embeddings or layer 0 train, so nothing can be stored."),
        (
            Case(deterministic=False),
            "There is dropout below the lowest trained layer, so its input differs each time and cannot be stored.",
        ),
        (
            Case(order="random", arms_sharing=1),
            "With random offsets windows do not come back, so storing cannot help across steps.",
        ),
        (
            Case(reads_per_window=1.0, arms_sharing=1),
            "Each window is read only once and no other arm shares it, so nothing is gained by storing.",
        ),
        (
            Case(row_flops=0.3e9),
            "Reading is slower than computing: "
            "a window is 590 kB, 0.3 ms to compute, 1 ms to write and 0.4 ms to read.",
        ),
        (
            Case(row_flops=0.5e9),
            "Writing costs more than is saved in 6.0 reads: "
            "a window is 590 kB, 0.5 ms to compute, 1 ms to write and 0.4 ms to read.",
        ),
        (
            Case(room_bytes=20_000_000),
            f"All windows need 236 MB and there is room for 20 MB, less than a tenth. Raise {KEYS}.",
        ),
    ],
    ids=["never", "depth 0", "dropout", "random", "once", "slow reading", "slow writing", "no room"],
)
def test_each_refusal_has_its_sentence(case: Case, sentence: str) -> None:
    assert choose(case) == PrefixChoice(False, f"Prefix cache: off. {sentence}")


def test_with_random_offsets_the_arms_of_one_step_share_one_pass() -> None:
    choice = choose(Case(order="random", arms_sharing=3, room_bytes=0))
    assert choice.use
    assert choice.sentence.endswith(
        "and is read 3.0 times. With random offsets windows do not come back, so storing cannot help across steps, "
        "but the 3 arms of one step share one pass."
    )


def test_a_part_of_the_windows_is_better_than_none() -> None:
    choice = choose(Case(room_bytes=118_000_000))
    assert choice.use
    assert choice.sentence.endswith(
        f" There is room for 50 % of the windows (236 MB); the others are computed each time. Raise {KEYS} "
        "to keep more."
    )


@pytest.mark.parametrize(
    "case",
    [Case(row_flops=0.3e9), Case(row_flops=0.5e9), Case(reads_per_window=1.0), Case(room_bytes=20_000_000)],
    ids=["slow reading", "slow writing", "once", "no room"],
)
def test_always_overrides_what_storing_costs(case: Case) -> None:
    assert not choose(case).use
    choice = choose(replace(case, wanted="always"))
    assert choice.use
    assert choice.sentence.startswith(f"Prefix cache: on (training.prefix_cache.use: always). {FROZEN}")


@pytest.mark.parametrize(
    "case",
    [Case(depth=0), Case(deterministic=False), Case(order="random", arms_sharing=1)],
    ids=["depth 0", "dropout", "random"],
)
def test_always_does_not_override_what_cannot_be(case: Case) -> None:
    assert choose(replace(case, wanted="always")) == choose(case)


@given(
    flops=st.floats(1e6, 1e12),
    read=st.floats(1e7, 1e10),
    write=st.floats(1e7, 1e10),
    reads=st.integers(1, 50),
)
def test_rows_are_kept_exactly_if_that_takes_less_time(flops: float, read: float, write: float, reads: int) -> None:
    case = Case(
        row_flops=flops, read_bytes_per_second=read, write_bytes_per_second=write, reads_per_window=float(reads)
    )
    compute_seconds = flops / 1e12
    keeping, recomputing = compute_seconds + 590_000 / write, compute_seconds
    for _ in range(reads - 1):
        keeping += 590_000 / read
        recomputing += compute_seconds
    if keeping == pytest.approx(recomputing, rel=1e-9):
        return
    assert choose(case).use == (keeping < recomputing)


def test_a_machine_whose_speed_is_unknown_keeps_nothing() -> None:
    assert not choose(Case(row_flops=0.0, flops_per_second=0.0)).use


def test_rates_are_those_of_a_machine() -> None:
    for rate in (measure_read_rate(), measure_write_rate()):
        assert 1e6 < rate < 1e12


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
    assert readable_bytes(size) == text


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
    assert readable_seconds(seconds) == text
