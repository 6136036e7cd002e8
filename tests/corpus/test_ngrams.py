"""Are exactly those n-grams found that stand in the training text?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.corpus import ngrams
from frostline.corpus.ngrams import count_copied, ngram_hashes, training_hashes

IDS = st.lists(st.integers(0, 3), max_size=60)


def plain_count(text: list[int], stretches: list[tuple[int, int]], asked: list[int], n: int) -> tuple[int, int]:
    known = {tuple(text[i : i + n]) for begin, end in stretches for i in range(begin, end - n + 1)}
    found = [tuple(asked[i : i + n]) for i in range(len(asked) - n + 1)]
    return len(found), sum(ngram in known for ngram in found)


@given(IDS, IDS, st.integers(1, 9), st.data())
def test_copied_ngrams_are_those_inside_a_stretch(
    text: list[int], asked: list[int], n: int, data: st.DataObject
) -> None:
    borders = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    stretches = list(zip(borders[::2], borders[1::2], strict=False))
    ids, table = np.array(text, dtype=np.uint16), np.array(stretches, dtype=np.int64).reshape(-1, 2)
    known = training_hashes(ids, table, n, Path("unused"), "")
    assert count_copied(np.array(asked, dtype=np.int64), n, known) == plain_count(text, stretches, asked, n)


def test_a_large_corpus_is_sorted_on_disk_with_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.random.Generator(np.random.Philox(3)).integers(0, 50, 20_000).astype(np.uint16)
    stretches = np.array([[0, 7_001], [7_011, 20_000]])
    expected = training_hashes(ids, stretches, 4, tmp_path, "a")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(ngrams, "IN_MEMORY", 1_000)
    monkeypatch.setattr(ngrams, "CHUNK_TOKENS", 333)
    for _ in range(2):
        assert (training_hashes(ids, stretches, 4, tmp_path, "a") == expected).all()
    (entry,) = (tmp_path / "ngrams").iterdir()
    assert sorted(path.name for path in entry.iterdir()) == ["facts.json", "hashes.bin"]


def test_texts_held_out_elsewhere_get_an_index_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngrams, "IN_MEMORY", 10)
    ids = np.arange(100, dtype=np.uint16)
    for stretches in ([[0, 50]], [[0, 60]]):
        training_hashes(ids, np.array(stretches), 4, tmp_path, "a")
    assert len(list((tmp_path / "ngrams").iterdir())) == 2


def test_different_ngrams_have_different_hashes() -> None:
    pairs = np.array([(a, b) for a in range(300) for b in range(300)], dtype=np.uint32)
    hashes = ngram_hashes(pairs.ravel(), 2)[::2]
    assert np.unique(hashes).size == 300 * 300


def test_a_text_shorter_than_n_has_no_ngrams() -> None:
    assert count_copied(np.arange(7), 8, np.array([1], dtype=np.uint64)) == (0, 0)
