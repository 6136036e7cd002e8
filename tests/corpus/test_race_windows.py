"""Windows of a race of learning rates: chosen as held-out ones are, and nobody's else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.corpus import open_corpus
from frostline.corpus.windows import TextWindows, lay_out_windows
from frostline.errors import CorpusError
from frostline.recipe import CorpusSettings, WindowSettings
from tests.builders.tokenizers import word_tokenizer
from tests.corpus.test_conversations import write_pairs


def windows_of(
    tokens: int, length: int, held_out: int, race: int, order: str = "epochs", repeats: list[list[int]] | None = None
) -> TextWindows:
    """Windows of a text in which token i is i."""
    settings = WindowSettings.model_validate(
        {"length": length, "held_out": held_out, "race": max(1, race), "order": order}
    )
    spans = None if repeats is None else np.array(repeats, dtype=np.int64)
    return lay_out_windows(np.arange(tokens, dtype=np.uint32), settings, "the text", repeats=spans, race=race)


@pytest.mark.parametrize("order", ["epochs", "random"])
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 150), st.integers(0, 9))
def test_they_share_no_token_with_what_is_trained_or_held_out(
    order: str, held_out: int, race: int, extra: int, step: int
) -> None:
    windows = windows_of((held_out + race + 1) * 5 + extra, 5, held_out, race, order)
    raced, kept, trained = (
        set(windows.gather(ids).input_ids.ravel().tolist())
        for ids in (windows.race, windows.held_out, windows.ids_of_step(1, step, 16))
    )
    assert len(raced) == race * 5
    assert not raced & kept
    assert not raced & trained


def test_held_out_windows_are_those_of_a_recipe_without_a_race() -> None:
    assert windows_of(400, 5, 7, 4).held_out.tolist() == windows_of(400, 5, 7, 0).held_out.tolist()


def test_copies_of_their_text_are_not_trained_on_where_no_other_windows_are_to_be_had() -> None:
    # Rows of 10 tokens that all stand twice: windows 0 and 6, 1 and 7, ...
    repeats = [[10 * row, 10 * row + 10, row % 6] for row in range(12)]
    windows = windows_of(120, 10, 2, 2, repeats=repeats)
    of_row = {name: set((getattr(windows, name) // 10 % 6).tolist()) for name in ("held_out", "race", "training")}
    assert not of_row["race"] & of_row["training"]
    assert not of_row["held_out"] & of_row["training"]
    assert windows.race.size == 2


@pytest.mark.parametrize(("tokens", "works"), [(70, "windows.race to 3 or fewer"), (40, "windows.held_out")])
def test_too_few_windows_are_told_in_a_sentence_with_what_would_work(tokens: int, works: str) -> None:
    with pytest.raises(CorpusError, match="a race of learning rates sets 6 of them apart") as error:
        windows_of(tokens, 10, 3, 6)
    assert works in str(error.value)
    assert "best" in str(error.value)


def test_conversations_are_set_apart_too(tmp_path: Path) -> None:
    source = write_pairs(tmp_path / "pairs.jsonl", [([number, 50], [60, number]) for number in range(20)])
    corpus = open_corpus(
        CorpusSettings(source=str(source), prompt="question", response="answer"),
        WindowSettings(length=12, held_out=3),
        word_tokenizer(),
        cache=tmp_path / "cache",
        race=4,
    )
    race = {window for batch in corpus.race_batches(3) for window in batch.window_ids}
    held_out = {window for batch in corpus.held_out_batches(3) for window in batch.window_ids}
    trained = set(corpus.batch(0, 0, corpus.windows).window_ids)
    assert (len(race), len(held_out), len(trained)) == (4, 3, 13)
    assert len(race | held_out | trained) == 20
