"""The choice follows the arithmetic, and each outcome has its sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.engine.prefix_choice import PrefixCase, PrefixChoice, StoreRates, choose_prefix, measured_rates

FROZEN = "15 of 30 layers are frozen at the bottom"
KEYS = "training.prefix_cache.memory_mb or training.prefix_cache.disk_mb"


CASE = PrefixCase(
    wanted="auto",
    depth=15,
    layers=30,
    row_bytes=590_000,
    compute_seconds=62e-3,
    reads_per_window=6.0,
    order="epochs",
    arms_sharing=2,
    windows=400,
    room_bytes=10**9,
)
"""The upper half of 30 layers trains; three epochs of two arms."""
RATES = StoreRates(read=1.475e9, write=0.59e9)
"""0.4 ms to read, 1 ms to write."""


def choose(case: PrefixCase = CASE, rates: StoreRates = RATES) -> PrefixChoice:
    return choose_prefix(case, rates)


def test_a_prefix_that_is_cheaper_to_read_than_to_compute_is_kept() -> None:
    assert choose() == PrefixChoice(
        True,
        f"Prefix cache: on. {FROZEN}; a window is 590 kB to keep, 62 ms to compute and 0.4 ms to read, "
        "and is read 6.0 times.",
    )


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        (replace(CASE, wanted="never"), "The recipe says so (training.prefix_cache.use: never)."),
        (replace(CASE, depth=0), "The embeddings or layer 0 train, so nothing can be stored."),
        (
            replace(CASE, order="random", arms_sharing=1),
            "With random offsets windows do not come back, so storing cannot help across steps.",
        ),
        (
            replace(CASE, reads_per_window=1.0, arms_sharing=1),
            "Each window is read only once and no other arm shares it, so nothing is gained by storing.",
        ),
        (
            replace(CASE, compute_seconds=0.3e-3),
            "Reading is slower than computing: "
            "a window is 590 kB, 0.3 ms to compute, 1 ms to write and 0.4 ms to read.",
        ),
        (
            replace(CASE, compute_seconds=0.5e-3),
            "Writing costs more than is saved in 6.0 reads: "
            "a window is 590 kB, 0.5 ms to compute, 1 ms to write and 0.4 ms to read.",
        ),
        (
            replace(CASE, room_bytes=20_000_000),
            f"All windows need 236 MB and there is room for 20 MB, less than a tenth. Raise {KEYS}.",
        ),
    ],
    ids=["never", "depth 0", "random", "once", "slow reading", "slow writing", "no room"],
)
def test_each_refusal_has_its_sentence(case: PrefixCase, sentence: str) -> None:
    assert choose(case) == PrefixChoice(False, f"Prefix cache: off. {sentence}")


def test_with_random_offsets_the_arms_of_one_step_share_one_pass() -> None:
    choice = choose(replace(CASE, order="random", arms_sharing=3, room_bytes=0))
    assert choice.use
    assert choice.sentence.endswith(
        "and is read 3.0 times. With random offsets windows do not come back, so storing cannot help across steps, "
        "but the 3 arms of one step share one pass."
    )


def test_a_part_of_the_windows_is_better_than_none() -> None:
    choice = choose(replace(CASE, room_bytes=118_000_000))
    assert choice.use
    assert choice.sentence.endswith(
        f" There is room for 50 % of the windows (236 MB); the others are computed each time. Raise {KEYS} "
        "to keep more."
    )


@pytest.mark.parametrize(
    "case",
    [
        replace(CASE, compute_seconds=0.3e-3),
        replace(CASE, compute_seconds=0.5e-3),
        replace(CASE, reads_per_window=1.0),
        replace(CASE, room_bytes=20_000_000),
    ],
    ids=["slow reading", "slow writing", "once", "no room"],
)
def test_always_overrides_what_storing_costs(case: PrefixCase) -> None:
    assert not choose(case).use
    choice = choose(replace(case, wanted="always"))
    assert choice.use
    assert choice.sentence.startswith(f"Prefix cache: on (training.prefix_cache.use: always). {FROZEN}")


@pytest.mark.parametrize(
    "case",
    [replace(CASE, depth=0), replace(CASE, order="random", arms_sharing=1)],
    ids=["depth 0", "random"],
)
def test_always_does_not_override_what_cannot_be(case: PrefixCase) -> None:
    assert choose(replace(case, wanted="always")) == choose(case)


@given(
    compute=st.floats(1e-6, 1.0),
    read=st.floats(1e7, 1e10),
    write=st.floats(1e7, 1e10),
    suffix=st.sampled_from([0.0, 1e-4, 1e-2, 1.0]),
    reads=st.integers(1, 50),
)
def test_rows_are_kept_exactly_if_that_takes_less_time(
    compute: float, read: float, write: float, suffix: float, reads: int
) -> None:
    keeping, recomputing = compute + suffix + 590_000 / write, compute + suffix
    for _ in range(reads - 1):
        keeping += max(suffix, 590_000 / read)  # the next rows are read meanwhile
        recomputing += compute + suffix
    if keeping == pytest.approx(recomputing, rel=1e-9):
        return
    case = replace(CASE, compute_seconds=compute, suffix_seconds=suffix, reads_per_window=float(reads))
    assert choose(case, StoreRates(read, write)).use == (keeping < recomputing)


def test_reading_that_hides_behind_the_rest_of_a_step_costs_nothing() -> None:
    slow = replace(CASE, compute_seconds=0.3e-3)
    assert not choose(slow).use
    assert choose(replace(slow, suffix_seconds=0.4e-3, reads_per_window=9.0)).use
    assert not choose(replace(slow, suffix_seconds=0.4e-3, order="random")).use, "there it cannot be read ahead"


def test_rows_that_are_filled_are_kept_whatever_that_costs() -> None:
    for case in (replace(CASE, compute_seconds=0.3e-3), replace(CASE, order="random", arms_sharing=1)):
        choice = choose(replace(case, filled=True))
        assert choice == PrefixChoice(
            True, f"Prefix cache: on, filled before training. {FROZEN}; a window is 590 kB to keep and 0.4 ms to read."
        )
    assert not choose(replace(CASE, filled=True, depth=0)).use


def test_rates_are_those_of_a_machine() -> None:
    rates = measured_rates()
    for rate in (rates.read, rates.write):
        assert 1e6 < rate < 1e12
