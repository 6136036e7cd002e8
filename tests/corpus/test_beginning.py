"""What does a model expect before a text, and does every window have it?"""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from frostline.corpus import NOT_COUNTED, Corpus, beginning_of
from frostline.errors import CorpusError
from frostline.recipe import parse_recipe, recipe_hash
from tests.builders.corpora import open_small, some_ids, write_words
from tests.builders.tokenizers import END, USER, WORDS, word_tokenizer

BEGIN = WORDS + 1
"""The token that `beginning_tokenizer` puts before a text."""


def beginning_tokenizer(single: str = f"{USER} $A {END}") -> PreTrainedTokenizerFast:
    """Whole words; what stands around a text is `single`."""
    tokenizer = word_tokenizer()
    ids = [(token, tokenizer.convert_tokens_to_ids(token)) for token in (USER, END)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=ids)
    return tokenizer


def opened(folder: Path, count: int = 203, **settings: object) -> tuple[Corpus, list[int]]:
    """A corpus whose windows have a beginning, and the ids of its text."""
    ids = some_ids(count)
    path = write_words(folder / "text.txt", ids)
    options = {"length": 8, "held_out": 3, "tokenizer": beginning_tokenizer(), **settings}
    return open_small(path, folder / "cache", **options), ids  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("single", "expected"),
    [
        ("$A", ()),
        (f"{USER} $A", (BEGIN,)),
        (f"{USER} {USER} $A", (BEGIN, BEGIN)),
        (f"{USER} $A {END}", (BEGIN,)),
        (f"$A {END}", ()),
    ],
)
def test_what_the_tokenizer_puts_before_a_text_is_its_beginning(single: str, expected: tuple[int, ...]) -> None:
    assert beginning_of(beginning_tokenizer(single)) == expected


def test_a_tokenizer_that_names_a_beginning_and_adds_none_has_none() -> None:
    tokenizer = word_tokenizer()
    tokenizer.bos_token = USER
    assert beginning_of(tokenizer) == ()


@pytest.mark.parametrize("order", ["epochs", "random"])
def test_every_window_is_its_beginning_and_that_much_less_text(tmp_path: Path, order: str) -> None:
    corpus, ids = opened(tmp_path, order=order)
    for batch in (corpus.batch(0, 0, 5), corpus.batch(1, 3, 4), *corpus.held_out_batches(2)):
        assert batch.input_ids.shape[1] == batch.labels.shape[1] == 8
        for start, row, labels in zip(batch.window_ids, batch.input_ids.tolist(), batch.labels.tolist(), strict=True):
            assert row == [BEGIN, *ids[start : start + 7]]
            assert labels == [NOT_COUNTED, *ids[start : start + 7]]
    assert corpus.windows + corpus.held_out_windows == 203 // 7


@pytest.mark.parametrize("order", ["epochs", "random"])
def test_no_training_window_shares_text_with_a_held_out_one(tmp_path: Path, order: str) -> None:
    corpus, _ = opened(tmp_path, order=order)
    held_out = {
        start + place for batch in corpus.held_out_batches(4) for start in batch.window_ids for place in range(7)
    }
    read = {start + place for step in range(60) for start in corpus.batch(2, step, 4).window_ids for place in range(7)}
    assert not held_out & read
    assert len(read) > 100


def test_a_prompt_begins_as_a_text_and_goes_on_with_held_out_text(tmp_path: Path) -> None:
    corpus, ids = opened(tmp_path)
    starts = [start for batch in corpus.held_out_batches(4) for start in batch.window_ids]
    prompts = corpus.prompts(0, 3, 4)
    assert prompts.shape == (3, 5)
    assert sorted(prompts.tolist()) == sorted([BEGIN, *ids[start : start + 4]] for start in starts)
    with pytest.raises(CorpusError, match="do not fit"):
        corpus.prompts(0, 3, 8)


def test_the_beginning_is_no_token_of_the_corpus(tmp_path: Path) -> None:
    corpus, ids = opened(tmp_path)
    assert (corpus.tokens, corpus.beginning) == (203, (BEGIN,))
    assert BEGIN not in corpus.common_tokens(500)
    assert corpus.copied_ngrams([[BEGIN, *ids[:8]]], 9) == [(1, 0)]


def test_without_a_beginning_windows_are_those_of_old_by_name_and_content(tmp_path: Path) -> None:
    old, _ = opened(tmp_path, tokenizer=word_tokenizer())
    with_it, _ = opened(tmp_path)
    assert old.beginning == ()
    assert old.batch(0, 0, 4).input_ids.shape == (4, 8)
    assert old.batch(0, 0, 4).windows_sha256 != with_it.batch(0, 0, 4).windows_sha256


def test_a_window_without_room_for_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no room for text"):
        opened(tmp_path, length=2, tokenizer=beginning_tokenizer(f"{USER} {USER} $A"))


def test_a_recipe_that_says_nothing_of_the_beginning_keeps_its_hash() -> None:
    text = "arms: {full: {train: [all]}}\n"
    said = parse_recipe(text + "windows: {beginning: auto}\ncorpus: {duplicates: keep}\n")
    assert recipe_hash(said) == recipe_hash(parse_recipe(text))
    assert recipe_hash(parse_recipe(text + "windows: {beginning: none}\n")) != recipe_hash(said)
    assert recipe_hash(parse_recipe(text + "corpus: {duplicates: drop}\n")) != recipe_hash(said)
