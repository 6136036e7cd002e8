"""Are exactly those n-grams found that stand in the training text?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.corpus import ngrams
from frostline.corpus.ngrams import copied_from_training, ngram_hashes

IDS = st.lists(st.integers(0, 3), max_size=60)


def plain_count(text: list[int], stretches: list[tuple[int, int]], asked: list[int], n: int) -> tuple[int, int]:
    known = {tuple(text[i : i + n]) for begin, end in stretches for i in range(begin, end - n + 1)}
    found = [tuple(asked[i : i + n]) for i in range(len(asked) - n + 1)]
    return len(found), sum(ngram in known for ngram in found)


@given(IDS, st.lists(IDS, max_size=3), st.integers(1, 9), st.data())
def test_copied_ngrams_are_those_inside_a_stretch(
    text: list[int], asked: list[list[int]], n: int, data: st.DataObject
) -> None:
    borders = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    stretches = list(zip(borders[::2], borders[1::2], strict=False))
    ids, table = np.array(text, dtype=np.uint16), np.array(stretches, dtype=np.int64).reshape(-1, 2)
    found = copied_from_training(asked, ids, table, n, Path("unused"), "")
    assert found == [plain_count(text, stretches, own, n) for own in asked]


def test_a_large_corpus_is_read_in_pieces_with_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.Generator(np.random.Philox(3))
    ids = draw.integers(0, 50, 20_000).astype(np.uint16)
    stretches = np.array([[0, 7_001], [7_011, 20_000]])
    asked = [ids[start : start + 40].tolist() for start in (0, 6_980, 7_005, 19_960)] + [
        draw.integers(0, 50, 40).tolist()
    ]
    expected = [plain_count(ids.tolist(), [(0, 7_001), (7_011, 20_000)], own, 4) for own in asked]
    assert copied_from_training(asked, ids, stretches, 4, tmp_path, "a") == expected
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(ngrams, "QUICK_TOKENS", 1_000)
    monkeypatch.setattr(ngrams, "CHUNK_TOKENS", 333)
    for _ in range(2):
        assert copied_from_training(asked, ids, stretches, 4, tmp_path, "a") == expected
    (entry,) = (tmp_path / "ngrams").iterdir()
    assert sorted(path.name for path in entry.iterdir()) == ["facts.json", "found.bin"]
    assert sum(path.stat().st_size for path in entry.iterdir()) < 1_000


def test_other_texts_and_other_stretches_are_looked_for_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngrams, "QUICK_TOKENS", 10)
    ids = np.arange(100, dtype=np.uint16)
    for end, text, count in ((50, range(40, 60), 7), (60, range(40, 60), 17), (60, range(70), 57)):
        found = copied_from_training([list(text)], ids, np.array([[0, end]]), 4, tmp_path, "a")
        assert found == [(len(text) - 3, count)]
    assert len(list((tmp_path / "ngrams").iterdir())) == 3


def test_different_ngrams_have_different_hashes() -> None:
    pairs = np.array([(a, b) for a in range(300) for b in range(300)], dtype=np.uint32)
    hashes = ngram_hashes(pairs.ravel(), 2)[::2]
    assert np.unique(hashes).size == 300 * 300


def test_a_text_shorter_than_n_has_no_ngrams() -> None:
    ids = np.arange(7, dtype=np.uint16)
    assert copied_from_training([list(range(7))], ids, np.array([[0, 7]]), 8, Path("unused"), "") == [(0, 0)]
