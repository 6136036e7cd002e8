"""Are held-out windows spread evenly, and does training really never see one of their tokens?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from frostline.corpus.windows import TextWindows, choose_held_out, lay_out_windows
from frostline.errors import CorpusError
from frostline.recipe import WindowSettings

ORDERS = ("epochs", "random")


def windows_of(tokens: int, length: int, held_out: int, order: str = "epochs") -> TextWindows:
    """Windows of a text in which token i is i, so that a batch tells where it is from."""
    settings = WindowSettings.model_validate({"length": length, "held_out": held_out, "order": order})
    return lay_out_windows(np.arange(tokens, dtype=np.uint32), settings, "the text")


@given(st.integers(2, 500), st.data())
def test_one_window_is_held_out_in_each_equal_stretch(windows: int, data: st.DataObject) -> None:
    held_out = data.draw(st.integers(1, windows - 1))
    chosen = choose_held_out(windows, held_out)
    for place, window in enumerate(chosen.tolist()):
        assert place * windows // held_out <= window < (place + 1) * windows // held_out


@pytest.mark.parametrize("order", ORDERS)
@given(st.integers(2, 9), st.integers(1, 8), st.integers(0, 200), st.integers(0, 99), st.integers(0, 40))
def test_training_never_sees_a_held_out_token(
    order: str, length: int, held_out: int, extra: int, seed: int, step: int
) -> None:
    windows = windows_of((held_out + 1) * length + extra, length, held_out, order)
    kept = set(windows.gather(windows.held_out).input_ids.ravel().tolist())
    assert len(kept) == held_out * length
    trained = windows.gather(windows.ids_of_step(seed, step, 16)).input_ids
    assert not kept & set(trained.ravel().tolist())


@pytest.mark.parametrize("order", ORDERS)
def test_every_window_is_a_run_of_the_text(order: str) -> None:
    windows = windows_of(103, 7, 3, order)
    for step in range(30):
        rows = windows.gather(windows.ids_of_step(1, step, 4)).input_ids
        assert rows.shape == (4, 7)
        assert (np.diff(rows, axis=1) == 1).all()
        assert rows.max() < 103


def test_an_epoch_reads_every_training_window_once_and_no_two_overlap() -> None:
    windows = windows_of(260, 10, 5)
    assert (windows.training.size, windows.held_out.size) == (21, 5)
    epoch = np.concatenate([windows.ids_of_step(0, step, 7) for step in range(3)])
    assert sorted(epoch.tolist()) == windows.training.tolist()
    tokens = windows.gather(epoch).input_ids.ravel()
    assert np.unique(tokens).size == tokens.size


def test_random_offsets_reach_every_allowed_place() -> None:
    windows = windows_of(43, 5, 2, "random")
    kept = set(windows.gather(windows.held_out).input_ids.ravel().tolist())
    allowed = {start for start in range(43 - 5 + 1) if not kept & set(range(start, start + 5))}
    drawn = np.concatenate([windows.ids_of_step(0, step, 50) for step in range(20)])
    assert set(drawn.tolist()) == allowed


def test_held_out_windows_are_the_same_for_every_seed_and_order() -> None:
    assert windows_of(300, 10, 4, "epochs").held_out.tolist() == windows_of(300, 10, 4, "random").held_out.tolist()


def test_labels_are_the_tokens_themselves_and_nothing_is_masked() -> None:
    windows = windows_of(100, 10, 2)
    rows = windows.gather(windows.training[:3])
    assert (rows.labels == rows.input_ids).all()
    assert rows.labels is not rows.input_ids
    assert rows.attention_mask is None


def test_prompts_begin_held_out_windows_and_differ_between_seeds() -> None:
    windows = windows_of(1000, 10, 12)
    prompts = windows.prompts(0, 8, 4)
    assert prompts.shape == (8, 4)
    assert set(prompts[:, 0].tolist()) <= set(windows.held_out.tolist())
    assert np.unique(prompts[:, 0]).size == 8
    assert prompts.tolist() == windows.prompts(0, 8, 4).tolist()
    assert prompts.tolist() != windows.prompts(1, 8, 4).tolist()


def test_prompts_stay_distinct_until_the_held_out_windows_are_used_up() -> None:
    windows = windows_of(100, 10, 3)
    prompts = windows.prompts(0, 7, 4)
    assert np.unique(prompts[:6, 0]).size == 6
    kept = set(windows.gather(windows.held_out).input_ids.ravel().tolist())
    assert set(prompts.ravel().tolist()) <= kept


def test_no_prompts_are_an_empty_table() -> None:
    assert windows_of(100, 10, 3).prompts(0, 0, 4).shape == (0, 4)


def test_a_prompt_longer_than_a_window_is_an_error_with_both_numbers() -> None:
    with pytest.raises(CorpusError, match="prompts of 11 tokens do not fit into held-out windows of 10"):
        windows_of(100, 10, 3).prompts(0, 1, 11)


@given(st.integers(1, 300), st.integers(2, 20), st.integers(1, 20))
def test_a_text_too_short_says_what_would_work_and_it_does(tokens: int, length: int, held_out: int) -> None:
    assume(tokens // length < held_out + 1)
    with pytest.raises(CorpusError) as caught:
        windows_of(tokens, length, held_out)
    assert f"{tokens:,} tokens" in caught.value.message
    assert f"need {(held_out + 1) * length:,}." in caught.value.message
    hint = caught.value.hint
    if "windows.held_out: " in hint:
        assert windows_of(tokens, length, int(hint.split("windows.held_out: ")[1].split()[0])).training.size >= 1
    if "windows.length: " in hint:
        assert windows_of(tokens, int(hint.split("windows.length: ")[1].split()[0]), held_out).training.size >= 1


def test_the_smallest_text_leaves_one_window_to_train_on() -> None:
    for order in ORDERS:
        windows = windows_of(40, 10, 3, order)
        assert windows.training.size == 1
        assert set(windows.ids_of_step(0, 5, 3).tolist()) == set(windows.training.tolist())


def test_a_true_continuation_is_what_follows_its_prompt_within_the_window() -> None:
    ids = np.arange(1000, dtype=np.uint16)
    windows = lay_out_windows(ids, WindowSettings(length=50, held_out=4), "text")
    prompts = windows.prompts(seed=3, count=10, length=16)
    found = windows.true_continuations(seed=3, count=10, length=16, new_tokens=20)
    for prompt, tokens in zip(prompts.tolist(), found, strict=True):
        assert tokens == list(range(prompt[-1] + 1, prompt[-1] + 1 + len(tokens)))
        end = next(start + 50 for start in windows.held_out.tolist() if start <= prompt[0] < start + 50)
        assert len(tokens) == min(20, end - prompt[-1] - 1)
    assert [len(tokens) for tokens in found] == [20] * 4 + [18] * 4 + [2] * 2
