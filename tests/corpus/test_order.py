"""Is the order a pure function of (seed, step), as fair as it claims to be?"""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from frostline.corpus.order import below, epoch_order, permutation, positions_of_step, raw_numbers

SEEDS = st.integers(0, 1 << 40)


def plain_order(seed: int, epoch: int, windows: int) -> list[int]:
    """The definition, written again without numpy's sorting."""
    key = int.from_bytes(hashlib.sha256(f"frostline:epoch:{seed}:{epoch}".encode()).digest()[:16], "big")
    numbers = [int(number) for number in np.random.Philox(key=key).random_raw(windows)]
    return sorted(range(windows), key=lambda window: numbers[window])


@given(SEEDS, st.integers(0, 1000), st.integers(1, 300))
def test_each_epoch_visits_every_window_once(seed: int, epoch: int, windows: int) -> None:
    assert sorted(epoch_order(seed, epoch, windows).tolist()) == list(range(windows))


@given(SEEDS, st.integers(0, 50), st.integers(1, 9), st.integers(1, 30))
def test_a_step_reads_the_next_stretch_of_the_shuffled_epochs(seed: int, step: int, size: int, windows: int) -> None:
    epochs = ((step + 1) * size) // windows + 1
    endless = [window for epoch in range(epochs) for window in plain_order(seed, epoch, windows)]
    assert positions_of_step(seed, step, size, windows).tolist() == endless[step * size : (step + 1) * size]


@given(SEEDS, st.permutations(list(range(12))))
def test_steps_do_not_depend_on_the_order_of_calls(seed: int, calls: list[int]) -> None:
    asked = {step: positions_of_step(seed, step, 5, 17).tolist() for step in calls}
    assert asked == {step: positions_of_step(seed, step, 5, 17).tolist() for step in range(12)}


def test_a_stream_of_numbers_never_changes() -> None:
    # Recorded once: another numpy, another machine must give the same order, or journals stop being comparable.
    assert raw_numbers(0, "epoch", 0, 2).tolist() == [7675562233415557016, 12742293860073402375]
    assert permutation(7, "prompts", 3, 6).tolist() == [5, 1, 0, 3, 4, 2]


def test_seeds_purposes_and_counters_give_different_orders() -> None:
    orders = {
        tuple(permutation(seed, purpose, counter, 20).tolist())
        for seed in (0, 1, 10, 11)
        for purpose in ("epoch", "prompts")
        for counter in (0, 1, 10)
    }
    assert len(orders) == 4 * 2 * 3


def test_drawn_numbers_are_even_over_their_range() -> None:
    drawn = np.concatenate([below(5, "offset", step, 10, 100) for step in range(200)])
    counts = np.bincount(drawn, minlength=10)
    # 20,000 draws, 2,000 expected each with a standard deviation of 42.
    assert counts.size == 10
    assert np.abs(counts - 2000).max() < 5 * 42


def test_first_numbers_do_not_depend_on_how_many_are_drawn() -> None:
    assert raw_numbers(3, "offset", 9, 4).tolist() == raw_numbers(3, "offset", 9, 40)[:4].tolist()
