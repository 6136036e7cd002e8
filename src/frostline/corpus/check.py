"""Is every row sound, now? The source is read anew, without the cache, and must become the tokens that are used."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from frostline.corpus.corpus import Corpus
from frostline.corpus.fetch import Progress
from frostline.corpus.read import open_source
from frostline.corpus.tokenise import tokenise
from frostline.errors import CorpusError
from frostline.recipe import CorpusSettings
from frostline.storage import cache_trouble

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def check_corpus(
    corpus: Corpus,
    settings: CorpusSettings,
    tokenizer: PreTrainedTokenizerBase,
    *,
    cache: Path,
    progress: Progress | None = None,
) -> None:
    """Read all of the source of `corpus` again; of a hub data set also what lies beyond `corpus.tokens`.

    Raises `CorpusError` at the first row that is not right, and where the tokens are others than those of `corpus`.
    """
    source = open_source(settings, cache, progress)
    whole = settings.model_copy(update={"tokens": None})
    try:
        folder = tempfile.TemporaryDirectory(prefix="check-", dir=cache)
    except OSError as error:  # a cache that was filled before and can only be read now
        raise cache_trouble(error, cache) from error
    with folder:
        found = tokenise(source, whole, tokenizer, Path(folder.name), progress)
    stopped_early = source.sha256 is None and settings.tokens is not None
    if found.sha256 != corpus.tokens_sha256 and not stopped_early:
        raise CorpusError(
            f"{source.description} gives other tokens than the cache has of it.",
            f"Remove {cache / 'corpora'}: it is made again.",
        )
