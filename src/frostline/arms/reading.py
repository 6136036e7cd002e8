"""What would the arms of a recipe read? Its corpora, opened with the model's tokenizer; weights are not loaded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from frostline.arms.untouched import Reading, Say
from frostline.corpus import CorpusPreview, check_corpus, open_corpus, preview
from frostline.errors import at
from frostline.loading import load_tokenizer, model_title, needs_conversion
from frostline.recipe import CorpusSettings, Recipe, WindowSettings, variants_of


@dataclass(frozen=True)
class ReadCorpora:
    """What one variant of an experiment reads."""

    variant: str
    """Label of the variant; '' where nothing is varied."""
    model: str
    """The model whose tokenizer was used."""
    corpus: CorpusPreview
    """What the arms are trained on."""
    retention: CorpusPreview | None
    """What forgetting is measured on; None where the recipe names nothing."""


def read_corpora(
    recipe: Recipe, cache: Path, *, first: int, check: bool, say: Say, reading: Reading | None = None
) -> list[ReadCorpora]:
    """The corpora of every variant, with the `first` windows of each as text.

    `check` reads every row anew, without the cache. Raises `FrostlineError` with the place in the recipe.
    """
    found = []
    for variant in variants_of(recipe):
        wanted = variant.recipe
        with wanted.locating_errors():
            if needs_conversion(wanted.model, cache):
                say("Converting the embedded model to safetensors, once")
            tokenizer = load_tokenizer(wanted.model, cache)
            read = partial(_read, wanted.windows, tokenizer, cache, first, check, say, reading)
            corpus = read(wanted.race_windows, "corpus", wanted.corpus)
            named = wanted.retention_corpus
            retention = None if named is None else read(0, "retention", named)
            found.append(ReadCorpora(variant.label, model_title(wanted.model), corpus, retention))
    return found


def _read(
    windows: WindowSettings,
    tokenizer: PreTrainedTokenizerBase,
    cache: Path,
    first: int,
    check: bool,
    say: Say,
    reading: Reading | None,
    race: int,
    key: str,
    settings: CorpusSettings,
) -> CorpusPreview:
    with at(key):
        say(f"Reading {settings.source}")
        corpus = open_corpus(settings, windows, tokenizer, cache=cache, progress=reading, race=race)
        if check:
            say(f"Reading every row of {settings.source} again")
            check_corpus(corpus, settings, tokenizer, cache=cache, progress=reading)
        return preview(corpus, tokenizer, first, checked=check)
