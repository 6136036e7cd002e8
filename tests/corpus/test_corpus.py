"""Is what the corpus hands out a pure function of content, recipe and arguments?"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.corpus import Batch, Corpus
from frostline.corpus.embedded import embedded_text
from frostline.errors import CorpusError
from tests.builders.corpora import open_small, some_ids, tokens_of, write_words
from tests.builders.processes import Processes
from tests.builders.tokenizers import byte_pair_tokenizer

IDS = some_ids(400)


@pytest.fixture(scope="module", params=["epochs", "random"])
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    return open_small(write_words(folder / "text.txt", IDS), folder / "cache", held_out=5, order=request.param)


def assert_equal(first: Batch, second: Batch) -> None:
    assert first.input_ids.tobytes() == second.input_ids.tobytes()
    assert first.labels.tobytes() == second.labels.tobytes()
    assert (first.window_ids, first.windows_sha256) == (second.window_ids, second.windows_sha256)


@settings(max_examples=30)
@given(st.integers(0, 9), st.lists(st.integers(0, 60), min_size=1, max_size=10))
def test_a_step_gives_identical_batches_to_all_who_ask_in_any_order(
    corpus: Corpus, seed: int, steps: list[int]
) -> None:
    first = {step: corpus.batch(seed, step, 4) for step in steps}
    for step in sorted(steps):
        assert_equal(first[step], corpus.batch(seed, step, 4))


def test_another_process_gives_the_same_batches(tmp_path: Path, processes: Processes) -> None:
    path = write_words(tmp_path / "text.txt", IDS)
    script = (
        "import sys; from tests.builders.corpora import open_small\n"
        "print(open_small(sys.argv[1], __import__('pathlib').Path(sys.argv[2])).batch(3, 17, 4).windows_sha256)"
    )
    finished = processes.python("-c", script, str(path), str(tmp_path / "other"))
    assert finished.stdout.strip() == open_small(path, tmp_path / "cache").batch(3, 17, 4).windows_sha256


def test_changing_a_batch_changes_no_later_one(corpus: Corpus) -> None:
    batch = corpus.batch(0, 0, 4)
    before = batch.input_ids.copy()
    batch.input_ids[:] = 0
    batch.labels[:] = 0
    assert (corpus.batch(0, 0, 4).input_ids == before).all()


def test_a_batch_holds_the_text_at_its_window_ids(corpus: Corpus) -> None:
    for step in range(20):
        batch = corpus.batch(1, step, 3)
        assert batch.input_ids.dtype == np.int64
        assert batch.input_ids.tolist() == [IDS[start : start + 8] for start in batch.window_ids]
        assert batch.labels.tolist() == batch.input_ids.tolist()
        assert batch.attention_mask is None


def test_hashes_of_windows_differ_where_windows_or_texts_do(corpus: Corpus, tmp_path: Path) -> None:
    assert corpus.batch(0, 0, 4).windows_sha256 != corpus.batch(0, 1, 4).windows_sha256
    assert corpus.batch(0, 0, 4).windows_sha256 != corpus.batch(1, 0, 4).windows_sha256
    other = open_small(write_words(tmp_path / "text.txt", some_ids(400, 2)), tmp_path / "cache", held_out=5)
    same = open_small(write_words(tmp_path / "text.txt", IDS), tmp_path / "cache", held_out=5)
    assert same.batch(0, 0, 4).window_ids == other.batch(0, 0, 4).window_ids
    assert same.batch(0, 0, 4).windows_sha256 != other.batch(0, 0, 4).windows_sha256


def test_held_out_batches_hold_every_held_out_window_once(corpus: Corpus) -> None:
    batches = list(corpus.held_out_batches(2))
    assert [batch.input_ids.shape for batch in batches] == [(2, 8), (2, 8), (1, 8)]
    starts = [start for batch in batches for start in batch.window_ids]
    assert starts == sorted(set(starts))
    assert len(starts) == corpus.held_out_windows == 5
    assert corpus.windows == 45


def test_copied_ngrams_of_training_text_are_found_and_held_out_ones_are_not(tmp_path: Path) -> None:
    ids = list(range(200))
    corpus = open_small(write_words(tmp_path / "text.txt", ids), tmp_path / "cache", held_out=4)
    kept = [batch.window_ids[0] for batch in corpus.held_out_batches(1)]
    for start in range(200 - 4 + 1):
        inside = all(start + 4 <= first or start >= first + 8 for first in kept)
        assert corpus.copied_ngrams([ids[start : start + 4]], n=4) == [(1, int(inside))]
    assert corpus.copied_ngrams([[5, 4, 3], []], n=8) == [(0, 0), (0, 0)]
    assert corpus.copied_ngrams([], n=8) == []


def test_prompts_are_the_same_for_every_caller(corpus: Corpus) -> None:
    assert corpus.prompts(4, 3, 6).tolist() == corpus.prompts(4, 3, 6).tolist()
    assert corpus.prompts(4, 3, 6).dtype == np.int64


def test_only_the_first_tokens_are_read_where_the_recipe_says_so(tmp_path: Path) -> None:
    path = write_words(tmp_path / "text.txt", IDS)
    corpus = open_small(path, tmp_path / "cache", tokens=104)
    assert corpus.tokens == 104
    assert tokens_of(corpus) == IDS[:104]
    counts = np.bincount(IDS[:104])
    assert corpus.distinct_tokens == np.count_nonzero(counts)
    assert corpus.common_tokens(3).tolist() == sorted(range(counts.size), key=lambda i: (-counts[i], i))[:3]


def test_more_tokens_than_there_are_is_an_error(tmp_path: Path) -> None:
    path = write_words(tmp_path / "text.txt", IDS)
    with pytest.raises(CorpusError, match=r"tokens: 1,000 are asked for, but text\.txt has 400"):
        open_small(path, tmp_path / "cache", tokens=1000)


def test_a_text_shorter_than_a_window_is_one_sentence(tmp_path: Path) -> None:
    path = write_words(tmp_path / "text.txt", [1, 2, 3])
    message = r"text\.txt has 3 tokens, but 2 held-out windows and one to train on, of 8 tokens each, need 24"
    with pytest.raises(CorpusError, match=message):
        open_small(path, tmp_path / "cache")


def test_common_tokens_are_at_most_the_distinct_ones(corpus: Corpus) -> None:
    assert corpus.common_tokens(10_000).size == corpus.distinct_tokens
    assert corpus.share_of(corpus.common_tokens(10_000)) == pytest.approx(1.0)
    assert corpus.share_of([]) == 0.0
    assert corpus.share_of([-1, 10**9]) == 0.0


def test_the_embedded_corpus_is_the_python_language_reference(tmp_path: Path) -> None:
    tokenizer = byte_pair_tokenizer("def while for in return class\n" * 50, vocabulary=300)
    corpus = open_small("embedded", tmp_path, length=128, held_out=8, tokenizer=tokenizer)
    again = open_small("embedded", tmp_path / "other", length=128, held_out=8, tokenizer=tokenizer)
    assert corpus.description.startswith("Python language reference (CPython 3.")
    assert corpus.sha256 == again.sha256
    assert_equal(corpus.batch(0, 0, 4), again.batch(0, 0, 4))
    text = str(tokenizer.decode(tokens_of(corpus)))
    assert text.startswith('The "assert" statement')


def test_the_recipe_side_of_the_corpus_needs_no_torch() -> None:
    script = "import sys, frostline.corpus; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(("length", "held_out"), [(256, 16), (128, 16), (128, 8)])
def test_held_out_text_of_the_embedded_corpus_stands_nowhere_else(tmp_path: Path, length: int, held_out: int) -> None:
    tokenizer = byte_pair_tokenizer(embedded_text(), 4000)
    corpus = open_small("embedded", tmp_path, length=length, held_out=held_out, tokenizer=tokenizer)
    assert corpus.held_out_overlap <= 0.02


def test_windows_without_a_beginning_keep_the_hash_that_they_always_had(tmp_path: Path) -> None:
    corpus = open_small(write_words(tmp_path / "text.txt", some_ids(200)), tmp_path / "cache")
    batch = corpus.batch(0, 0, 4)
    named = f"frostline windows:{corpus.tokens_sha256}:8:".encode() + np.array(batch.window_ids, "<i8").tobytes()
    assert batch.windows_sha256 == hashlib.sha256(named).hexdigest()


def test_each_held_out_window_is_told_its_share_of_runs_that_stand_in_the_training_text(tmp_path: Path) -> None:
    fresh = some_ids(40 * 32)
    corpus = open_small(write_words(tmp_path / "a.txt", fresh), tmp_path / "cache", length=32, held_out=4)
    assert corpus.held_out_window_overlap == (0.0,) * 4
    starts = [start for batch in corpus.held_out_batches(4) for start in batch.window_ids]
    # Half of the last held-out window is said again at the end of the text.
    told = fresh + fresh[starts[3] : starts[3] + 24] + some_ids(8, seed=5)
    copied = open_small(write_words(tmp_path / "b.txt", told), tmp_path / "cache", length=32, held_out=4)
    rows = [row for batch in copied.held_out_batches(4) for row in batch.input_ids.tolist()]
    trained = {tuple(row[at : at + 16]) for row in training_rows(copied) for at in range(len(row) - 15)}
    expected = [np.mean([tuple(row[at : at + 16]) in trained for at in range(17)]) for row in rows]
    assert copied.held_out_window_overlap == pytest.approx(expected)
    assert copied.held_out_overlap == pytest.approx(np.mean(expected))


def training_rows(corpus: Corpus) -> list[list[int]]:
    """Training text as rows; with windows end to end a run across two of them is a run of the text, too."""
    text = tokens_of(corpus)
    held_out = {start for batch in corpus.held_out_batches(4) for start in batch.window_ids}
    length = corpus.window_length
    rows: list[list[int]] = [[]]
    for start in range(0, len(text), length):
        if start in held_out:
            rows.append([])
        else:
            rows[-1] += text[start : start + length]
    return rows


def test_the_sample_of_training_windows_is_one_whatever_the_size_of_a_batch(tmp_path: Path) -> None:
    corpus = open_small(write_words(tmp_path / "a.txt", some_ids(30 * 8)), tmp_path / "cache", held_out=4)
    sample = [window for batch in corpus.trained_sample(4, 3) for window in batch.window_ids]
    again = [window for batch in corpus.trained_sample(4, 1) for window in batch.window_ids]
    trained = set(corpus.batch(5, 0, corpus.windows).window_ids)
    assert sample == again == sorted(set(sample))
    assert len(sample) == 4
    assert set(sample) <= trained
    assert {window for batch in corpus.trained_sample(99, 8) for window in batch.window_ids} == trained
