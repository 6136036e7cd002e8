"""Which tokens are common in the training text, and which file is a held-out window from?"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from frostline.corpus import FREQUENCY_CLASSES, Corpus
from frostline.corpus.frequency import frequency_classes
from tests.builders.corpora import open_small, some_ids, write_words
from tests.builders.tokenizers import words
from tests.corpus.test_conversations import write_pairs


def held_out_rows(corpus: Corpus) -> list[list[int]]:
    return [row for batch in corpus.held_out_batches(3) for row in batch.input_ids.tolist()]


def test_classes_are_ranks_of_the_count_and_the_smaller_id_comes_first_among_equals() -> None:
    counts = np.zeros(1_200, dtype=np.int64)
    counts[:1_150] = 7
    counts[1_140] = 9  # rank 1, so that token 9 has rank 11
    classes = frequency_classes(counts)
    assert [FREQUENCY_CLASSES[classes[token]] for token in (1_140, 0, 8, 9, 98, 99, 998, 999, 1_149, 1_150)] == [
        *["10 most frequent tokens"] * 3,
        *["rank 11 to 100"] * 2,
        *["rank 101 to 1,000"] * 2,
        *["rarer"] * 2,
        "not in the training text",
    ]


@pytest.mark.parametrize("conversations", [False, True])
def test_what_is_held_out_is_not_counted(conversations: bool, tmp_path: Path) -> None:
    if conversations:
        pairs = [(some_ids(5, seed), some_ids(7, seed + 100)) for seed in range(30)]
        source = write_pairs(tmp_path / "pairs.jsonl", pairs)
        corpus = open_small(source, tmp_path / "cache", length=40, held_out=9, prompt="question", response="answer")
    else:
        corpus = open_small(write_words(tmp_path / "text.txt", some_ids(320)), tmp_path / "cache", held_out=15)
    batch = corpus.batch(0, 0, corpus.windows)
    mask = np.ones_like(batch.input_ids) if batch.attention_mask is None else batch.attention_mask
    counts = Counter(batch.input_ids[mask == 1].tolist())
    ranked = sorted(counts, key=lambda token: (-counts[token], token))
    assert any(token not in counts for row in held_out_rows(corpus) for token in row)
    for token, found in enumerate(corpus.frequency_classes.tolist()):
        expected = int(np.searchsorted([10, 100], ranked.index(token) + 1)) if token in counts else 4
        assert found == expected


def test_a_held_out_window_is_from_the_file_in_its_middle(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    (folder / "later").mkdir(parents=True)
    lengths = {"a.txt": 30, "b.txt": 3, "later/c.txt": 60}
    for place, (name, length) in enumerate(lengths.items()):
        write_words(folder / name, [60 * place + token % 60 for token in some_ids(length)])
    corpus = open_small(folder, tmp_path / "cache", length=5, held_out=8)
    expected = [list(lengths)[row[2] // 60] for row in held_out_rows(corpus) if row[2] < 180]
    found = [name for name, row in zip(corpus.held_out_files, held_out_rows(corpus), strict=True) if row[2] < 180]
    assert found == expected
    assert {"a.txt", "later/c.txt"} <= set(found)
    again = open_small(folder, tmp_path / "cache", length=5, held_out=8)
    assert again.held_out_files == corpus.held_out_files


def test_a_conversation_is_from_the_file_of_its_row(tmp_path: Path) -> None:
    folder = tmp_path / "chats"
    folder.mkdir()
    for place, name in enumerate(("a.jsonl", "b.jsonl")):
        rows = [{"question": words([place, token]), "answer": words([token, place])} for token in range(10, 22)]
        # A row that is left out counts, too: rows are numbered as they are met.
        rows.insert(3, {"question": words([place]), "answer": ""})
        (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    corpus = open_small(folder, tmp_path / "cache", length=40, held_out=7, prompt="question", response="answer")
    expected = ["a.jsonl" if 0 in row else "b.jsonl" for row in held_out_rows(corpus)]
    assert list(corpus.held_out_files) == expected
    assert len(set(expected)) == 2


def test_a_single_file_has_no_split(tmp_path: Path) -> None:
    assert open_small(write_words(tmp_path / "text.txt", some_ids(100)), tmp_path / "cache").held_out_files == ()
