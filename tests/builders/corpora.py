"""Which corpora do the tests read? Small ones, written to a folder of the test, opened with a tiny tokenizer."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from frostline.corpus import Corpus, open_corpus
from frostline.recipe import WindowSettings
from frostline.recipe.sources import CorpusSettings
from tests.builders.tokenizers import WORDS, word_tokenizer, words


def some_ids(count: int, seed: int = 1) -> list[int]:
    """`count` token ids that look random but follow from `seed`."""
    ids, state = [], seed
    for _ in range(count):
        state = (state * 1103515245 + 12345) % (1 << 31)
        ids.append((state >> 8) % WORDS)
    return ids


def write_words(path: Path, ids: list[int]) -> Path:
    """A text file whose tokens are `ids`."""
    path.write_text(words(ids), encoding="utf-8")
    return path


def open_small(
    source: str | Path,
    cache: Path,
    *,
    length: int = 8,
    held_out: int = 2,
    order: str = "epochs",
    tokenizer: PreTrainedTokenizerBase | None = None,
    **settings: object,
) -> Corpus:
    """The corpus at `source`; further settings are those of `corpus:` in a recipe."""
    return open_corpus(
        CorpusSettings.model_validate({"source": str(source), **settings}),
        WindowSettings.model_validate({"length": length, "held_out": held_out, "order": order}),
        tokenizer if tokenizer is not None else word_tokenizer(),
        cache=cache,
    )


def tokens_of(corpus: Corpus) -> list[int]:
    """Every token of a corpus of running text that lies in a window, in the order of the text."""
    rows: dict[int, list[int]] = {}
    for batch in (corpus.batch(0, 0, corpus.windows), *corpus.held_out_batches(4)):
        rows |= dict(zip(batch.window_ids, batch.input_ids.tolist(), strict=True))
    return [token for start in sorted(rows) for token in rows[start]]
