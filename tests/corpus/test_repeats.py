"""What stands twice is told, left out where asked for, and never on both sides of the held-out border."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.corpus.corpus import Corpus
from frostline.corpus.read import Block
from frostline.corpus.repeats import Documents, Paragraphs, Seen, count_paragraphs, without_repeated_paragraphs
from frostline.corpus.windows import choose_held_out
from frostline.errors import CorpusError
from tests.builders.corpora import open_small, some_ids, tokens_of, write_words
from tests.builders.tokenizers import words


def write_rows(path: Path, rows: Iterable[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def texts(count: int) -> list[dict[str, str]]:
    return [{"text": words(some_ids(7, seed))} for seed in range(1, count + 1)]


def held_out_text(corpus: Corpus) -> list[list[int]]:
    return [row for batch in corpus.held_out_batches(8) for row in batch.input_ids.tolist()]


def test_rows_that_repeat_are_counted_and_kept(tmp_path: Path) -> None:
    rows = texts(30)
    corpus = open_small(write_rows(tmp_path / "a.jsonl", [*rows, *rows[:4], rows[0]]), tmp_path / "cache")
    assert (corpus.rows, corpus.duplicates, corpus.tokens) == (35, 5, 35 * 8 - 1)


def test_rows_that_repeat_are_dropped_and_told_where_asked_for(tmp_path: Path) -> None:
    rows = texts(30)
    once = open_small(write_rows(tmp_path / "a.jsonl", rows), tmp_path / "cache")
    twice = write_rows(tmp_path / "b.jsonl", [*rows[:9], *rows[:4], *rows[9:], rows[0]])
    dropped = open_small(twice, tmp_path / "cache", duplicates="drop")
    assert tokens_of(dropped) == tokens_of(once)
    assert (dropped.rows, dropped.duplicates, dropped.left_out) == (35, 5, {"that repeat an earlier one": 5})
    assert dropped.tally.first == {"that repeat an earlier one": "row 10"}


def test_documents_of_a_folder_that_repeat_are_dropped(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, seed in (("a", 1), ("b", 2), ("c", 1)):
        write_words(folder / f"{name}.txt", some_ids(60, seed))
    kept = open_small(folder, tmp_path / "cache")
    dropped = open_small(folder, tmp_path / "cache", duplicates="drop")
    assert (kept.duplicates, kept.tokens) == (1, 182)
    assert (dropped.duplicates, dropped.tokens) == (1, 121)


def test_paragraphs_that_repeat_are_counted_and_dropped(tmp_path: Path) -> None:
    parts = [words(some_ids(20, seed)) for seed in (1, 2, 1, 3, 2)]
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(parts), encoding="utf-8")
    kept = open_small(path, tmp_path / "cache")
    dropped = open_small(path, tmp_path / "cache", duplicates="drop")
    assert (kept.duplicates, kept.tokens) == (2, 100)
    assert (dropped.duplicates, dropped.tokens) == (2, 60)


def test_no_held_out_window_holds_a_row_that_training_has_too(tmp_path: Path) -> None:
    rows = texts(60)
    for number, repeated in enumerate((rows[10:40], rows[:50], rows[55:])):
        path = write_rows(tmp_path / f"{number}.jsonl", [*rows, *repeated])
        corpus = open_small(path, tmp_path / "cache", held_out=4)
        copies = {tuple(map(int, row["text"].replace("w", "").split())) for row in repeated}
        for window in held_out_text(corpus):
            assert not copies & {tuple(window[place : place + 7]) for place in range(2)}
            # Not a part of one either: every run of three tokens stands in rows that stand once.
            runs = {row[place : place + 3] for row in copies for place in range(5)}
            assert not runs & {tuple(window[place : place + 3]) for place in range(6)}


@pytest.mark.parametrize("order", ["epochs", "random"])
def test_where_all_rows_repeat_training_does_without_the_copies_of_held_out_ones(tmp_path: Path, order: str) -> None:
    rows = texts(20)
    path = write_rows(tmp_path / "a.jsonl", rows * 2)
    corpus = open_small(path, tmp_path / "cache", order=order)
    trained = [row for step in range(40) for row in corpus.batch(0, step, 4).input_ids.tolist()]
    runs = {tuple(row[place : place + 4]) for row in trained for place in range(5)}
    for window in held_out_text(corpus):
        assert not runs & {tuple(window[place : place + 4]) for place in range(5)}
    assert corpus.held_out_windows == 2
    assert 39 - 2 - corpus.windows == int(str(corpus.remarks[0]).split()[0])
    assert open_small(path, tmp_path / "cache", duplicates="drop").duplicates == 20


def test_copies_of_one_row_alone_are_refused_with_the_way_out(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", texts(1) * 40)
    with pytest.raises(CorpusError, match=r"nothing is left to train on") as refused:
        open_small(path, tmp_path / "cache")
    assert "duplicates" in str(refused.value.hint)


@pytest.mark.parametrize("duplicates", ["keep", "drop"])
def test_no_held_out_pair_equals_one_that_is_trained_on(tmp_path: Path, duplicates: str) -> None:
    rows = [{"q": words(some_ids(3, seed)), "a": words(some_ids(3, 90 + seed))} for seed in range(1, 25)]
    path = write_rows(tmp_path / "a.jsonl", [*rows, *rows[5:24]])
    corpus = open_small(
        path, tmp_path / "cache", length=32, held_out=4, prompt="q", response="a", duplicates=duplicates
    )
    held_out = {tuple(row) for row in held_out_text(corpus)}
    trained = {tuple(row) for row in corpus.batch(0, 0, corpus.windows).input_ids.tolist()}
    assert len(held_out) == 4
    assert not held_out & trained
    assert corpus.duplicates == 19
    assert corpus.windows == (20 if duplicates == "drop" else 39)


def test_the_overlap_is_the_share_of_held_out_runs_that_stand_in_training(tmp_path: Path) -> None:
    ids = some_ids(640)
    once = open_small(write_words(tmp_path / "a.txt", ids), tmp_path / "cache", length=32, held_out=2)
    assert once.held_out_overlap == 0
    copied = [start for batch in once.held_out_batches(1) for start in batch.window_ids][:1]
    # The text goes on with the first 24 tokens of the first held-out window: nine of the seventeen runs of each window.
    path = write_words(tmp_path / "b.txt", [*ids, *ids[copied[0] : copied[0] + 24], *some_ids(7, 9)])
    twice = open_small(path, tmp_path / "cache", length=32, held_out=2)
    assert [start for batch in twice.held_out_batches(1) for start in batch.window_ids][:1] == copied
    assert twice.held_out_overlap == pytest.approx(9 / 34)


@given(
    st.lists(st.sampled_from(["a b", "c", "d\ne", "  f", ""]), max_size=12), st.lists(st.integers(0, 40), max_size=6)
)
@settings(max_examples=200, deadline=None)
def test_paragraphs_are_the_same_however_the_text_comes_in_blocks(parts: list[str], cuts: list[int]) -> None:
    text = "\n\n".join(parts)
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[a:b] for a, b in pairwise(places)]
    blocks = [Block(piece, number == 0, 0) for number, piece in enumerate(pieces)]
    counted, dropped = Paragraphs(), Paragraphs()
    assert [block.text for block in count_paragraphs(iter(blocks), counted)] == pieces
    left = "".join(block.text for block in without_repeated_paragraphs(iter(blocks), dropped))
    stripped = [part.strip() for part in text.split("\n\n") if part.strip()]
    assert counted.repeats == dropped.repeats == len(stripped) - len(set(stripped))
    assert [part.strip() for part in left.split("\n\n") if part.strip()] == list(dict.fromkeys(stripped))


@given(st.integers(1, 12), st.data())
@settings(max_examples=200, deadline=None)
def test_windows_that_do_not_fit_are_never_held_out(held_out: int, data: st.DataObject) -> None:
    fit = np.array(data.draw(st.lists(st.booleans(), min_size=held_out + 1, max_size=60)))
    usual = choose_held_out(fit.size, held_out)
    if fit.sum() < held_out:
        return
    chosen = choose_held_out(fit.size, held_out, fit)
    assert np.unique(chosen).size == held_out
    assert fit[chosen].all()
    if fit[usual].all():
        assert (chosen == usual).all()


@given(st.lists(st.integers(0, (1 << 64) - 1) | st.integers(0, 40), max_size=60), st.integers(0, 3000))
@settings(max_examples=40, deadline=None)
def test_hashes_are_seen_as_a_set_sees_them(numbers: list[int], several: int) -> None:
    seen = Seen()
    reference: set[int] = set()
    for number in (*(number << 52 for number in range(several)), *numbers, *numbers):
        as_one = max(number, 1)  # 0 and 1 are one hash there
        assert seen.add(number) == (as_one in reference)
        reference.add(as_one)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_documents_that_stand_more_than_once_are_spans_with_the_number_of_their_copies(contents: list[int]) -> None:
    documents = Documents()
    for place, content in enumerate(contents):
        documents.take(Block(f"text {content}", True, 0), 10 * place)
    repeats, spans = documents.repeated(10 * len(contents))
    copied = [place for place, content in enumerate(contents) if contents.count(content) > 1]
    assert repeats == len(contents) - len(set(contents))
    assert spans[:, :2].tolist() == [[10 * place, 10 * place + 10] for place in copied]
    number = dict(zip(copied, spans[:, 2].tolist(), strict=True))
    for one in copied:
        for other in copied:
            assert (number[one] == number[other]) == (contents[one] == contents[other])


@pytest.mark.parametrize("duplicates", ["keep", "drop"])
def test_a_corpus_that_is_all_duplicates_is_refused_in_a_sentence(tmp_path: Path, duplicates: str) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{"text": words(some_ids(15))}] * 60)
    with pytest.raises(CorpusError) as caught:
        open_small(path, tmp_path / "cache", length=16, held_out=4, duplicates=duplicates)
    told = str(caught.value)
    assert "held-out" in told
    assert len(told) < 300
    pairs = write_rows(tmp_path / "b.jsonl", [{"q": words(some_ids(3)), "a": words(some_ids(4, 2))}] * 60)
    with pytest.raises(CorpusError, match=r"nothing is left to train on|different conversations"):
        open_small(pairs, tmp_path / "cache", length=32, held_out=4, prompt="q", response="a", duplicates=duplicates)
