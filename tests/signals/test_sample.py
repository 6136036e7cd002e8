"""The sample is training text, never held-out text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from frostline.errors import CorpusError
from frostline.signals.sample import take_sample
from tests.builders.corpora import open_small, some_ids, write_words


def test_the_sample_holds_training_windows_only(tmp_path: Path) -> None:
    corpus = open_small(write_words(tmp_path / "text.txt", some_ids(120)), tmp_path)
    sample = take_sample(corpus, 6)
    held_out = {window for batch in corpus.held_out_batches(4) for window in batch.window_ids}
    assert len(sample.windows) == 6
    assert not held_out & {window for own in sample.windows for window in own.window_ids}
    assert all(own.input_ids.shape[0] == 1 for own in sample.windows)
    joined = sample.batches(4)
    assert [len(batch.input_ids) for batch in joined] == [4, 2]
    one_by_one, together = (np.concatenate([b.input_ids for b in parts]) for parts in (sample.windows, joined))
    assert np.array_equal(one_by_one, together)
    assert sample.predictions == sum(own.input_ids.shape[1] - 1 for own in sample.windows)


def test_a_corpus_too_small_for_a_sample_is_told(tmp_path: Path) -> None:
    corpus = open_small(write_words(tmp_path / "text.txt", some_ids(120)), tmp_path)
    corpus.windows = 3
    with pytest.raises(CorpusError, match="has 3 training windows; looking inside the model takes 4 or more"):
        take_sample(corpus)
