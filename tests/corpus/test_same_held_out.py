"""Variants that differ in the length of their text are judged by the same windows, which none of them trains on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from frostline.corpus import Corpus, open_corpus
from frostline.recipe import CorpusSettings, WindowSettings, parse_recipe, variants_of
from tests.builders.corpora import some_ids, write_words
from tests.builders.tokenizers import word_tokenizer, words

VARIED = (200, 400, 1200)


def variants(
    source: Path, cache: Path, *, length: int = 16, tokens: tuple[int, ...] = VARIED, **settings: object
) -> list[Corpus]:
    corpus = CorpusSettings.model_validate({"source": str(source), **settings})
    recipe = parse_recipe(f"arms: {{full: {{train: all}}}}\nvary: {{corpus.tokens: {list(tokens)}}}\n")
    recipe = recipe.model_copy(update={"corpus": corpus})
    windows = WindowSettings(length=length, held_out=4)
    return [
        open_corpus(variant.recipe.corpus, windows, word_tokenizer(), cache=cache) for variant in variants_of(recipe)
    ]


def held_out(corpus: Corpus) -> list[list[int]]:
    return [row for batch in corpus.held_out_batches(4) for row in batch.input_ids.tolist()]


def trained(corpus: Corpus) -> list[list[int]]:
    rows: list[list[int]] = corpus.batch(0, 0, corpus.windows).input_ids.tolist()
    return rows


@pytest.mark.parametrize("repeated", [0, 3])
def test_running_text(tmp_path: Path, repeated: int) -> None:
    ids = some_ids(1200)
    for copy in range(repeated):  # parts of the shortest text stand again far behind it
        ids[600 + 100 * copy : 664 + 100 * copy] = ids[64 * copy : 64 * (copy + 1)]
    short, middle, long = variants(write_words(tmp_path / "text.txt", ids), tmp_path / "cache")
    assert held_out(short) == held_out(middle) == held_out(long)
    assert short.windows < middle.windows < long.windows
    assert [batch.window_ids for batch in short.held_out_batches(4)] == [b.window_ids for b in long.held_out_batches(4)]


def test_rows_of_which_later_ones_repeat_earlier_ones(tmp_path: Path) -> None:
    rows = [words(some_ids(15, seed)) for seed in range(1, 60)]
    told = [*rows[:12], *rows[:12], *rows[12:]]  # all of the shortest text stands again in the longer ones
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in told), encoding="utf-8")
    short, middle, long = variants(path, tmp_path / "cache", tokens=(192, 500, 900))
    assert held_out(short) == held_out(middle) == held_out(long)
    for corpus in (short, middle, long):
        kept = {tuple(row) for row in held_out(corpus)}
        assert not kept & {tuple(row) for row in trained(corpus)}
        assert corpus.held_out_overlap == 0


def test_conversations(tmp_path: Path) -> None:
    rows = [{"q": words(some_ids(3, seed)), "a": words(some_ids(3, seed + 90))} for seed in range(1, 80)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows[:9], *rows[:9], *rows[9:]]), encoding="utf-8")
    whole = variants(path, tmp_path / "cache", length=32, tokens=(100, 101), prompt="q", response="a")[0].tokens
    row_tokens = max(1, whole // 8)
    found = variants(
        path, tmp_path / "cache", length=32, tokens=(9 * row_tokens, 30 * row_tokens, 60 * row_tokens),
        prompt="q", response="a",
    )  # fmt: skip
    ends = [[[token for token in row if token] for row in held_out(corpus)] for corpus in found]
    assert ends[0] == ends[1] == ends[2]
    for corpus in found:
        assert not {tuple(row) for row in held_out(corpus)} & {tuple(row) for row in trained(corpus)}


def test_a_corpus_that_is_not_varied_holds_out_windows_of_all_of_it(tmp_path: Path) -> None:
    source = write_words(tmp_path / "text.txt", some_ids(1200))
    alone = open_corpus(
        CorpusSettings(source=str(source)), WindowSettings(length=16, held_out=4), word_tokenizer(), cache=tmp_path
    )
    starts = [start for batch in alone.held_out_batches(4) for start in batch.window_ids]
    assert max(starts) > 900
