"""The corpus as training sees it: batches by (seed, step), held-out batches, prompts, and what is common or copied.

Everything that a `Corpus` hands out is a pure function of its content, the recipe and the arguments: it keeps no
position, so it does not matter who asks, how often or in which order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frostline.corpus.ngrams import count_copied, training_hashes
from frostline.corpus.pairs import NOT_COUNTED, PairWindows, lay_out_pairs
from frostline.corpus.read import open_source
from frostline.corpus.tokenise import TokenFile, tokenise
from frostline.corpus.windows import Rows, TextWindows, lay_out_windows
from frostline.errors import CorpusError
from frostline.recipe import CorpusSettings, WindowSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_COUNT_CHUNK = 1 << 22


@dataclass(frozen=True)
class Batch:
    """Windows as the model reads them."""

    input_ids: NDArray[np.int64]
    """[batch, sequence]"""
    labels: NDArray[np.int64]
    """[batch, sequence]: the label of a position is its own token (the loss shifts), -100 where it does not count."""
    attention_mask: NDArray[np.int64] | None
    """[batch, sequence], 0 at padding; None where nothing is padded."""
    window_ids: tuple[int, ...]
    """First token of each window in the corpus; of prompt/response pairs, the number of the pair."""
    windows_sha256: str
    """SHA-256 of the corpus's tokens, the window length and the window ids: equal hashes, equal batches."""


def open_corpus(
    corpus: CorpusSettings,
    windows: WindowSettings,
    tokenizer: PreTrainedTokenizerBase,
    *,
    cache: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Corpus:
    """Read, tokenise (or find in the cache) and lay out a corpus.

    `progress(bytes_done, bytes_total)` is called while reading. Raises `CorpusError` for whatever is wrong with the
    source and when the text is too short; `MissingExtraError` for a hub data set without the package `datasets`.
    """
    source = open_source(corpus, cache, progress)
    tokens = _first_tokens(tokenise(source, corpus, tokenizer, cache, progress), corpus, source.description)
    if tokens.pairs is None:
        text = lay_out_windows(tokens.ids, windows, source.description)
        return Corpus(source.description, tokens, text, cache, source.revision)
    padding = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if isinstance(i, int)), 0)
    pairs = lay_out_pairs(tokens.ids, tokens.pairs, windows, source.description, padding)
    return Corpus(_describe_pairs(source.description, pairs, tokens), tokens, pairs, cache, source.revision)


class Corpus:
    """A tokenised corpus, mapped from disk, and its windows."""

    def __init__(
        self,
        description: str,
        tokens: TokenFile,
        windows: TextWindows | PairWindows,
        cache: Path,
        revision: str | None = None,
    ) -> None:
        self.description = description
        """The source in a few words."""
        self.revision = revision
        """Commit of a hub data set; None for what lies elsewhere."""
        self.padding_id = windows.padding_id if isinstance(windows, PairWindows) else None
        """The token that fills a row up behind its pair; None for running text, where nothing is filled up."""
        self.sha256 = tokens.source_sha256
        """SHA-256 of the source's content: of the file's bytes, where it is one file."""
        self.tokens_sha256 = tokens.sha256
        """SHA-256 of the source's tokens, before any limit on their number."""
        self.tokens = int(tokens.ids.size)
        """All tokens, those of held-out windows and of the remainder included."""
        self.distinct_tokens = int(np.count_nonzero(tokens.counts))
        self.largest_id = int(np.flatnonzero(tokens.counts)[-1]) if self.distinct_tokens else 0
        """The largest token id that stands anywhere in the corpus."""
        self.windows = int(windows.training.size)
        """Training windows, an epoch's worth."""
        self.held_out_windows = int(windows.held_out.size)
        self.window_length = windows.width if isinstance(windows, PairWindows) else windows.length
        """Tokens of a window, or of the longest one."""
        self.tally = tokens.tally
        """What was met while the rows were read."""
        self.rows = tokens.tally.rows
        """Rows met in the source; 0 for plain text."""
        self.left_out: dict[str, int] = _left_out(tokens, windows)
        """Rows left out, by reason."""
        self.cut = 0
        self._tokens = tokens
        self._windows = windows
        self._cache = cache
        self._training_hashes: dict[int, NDArray[np.uint64]] = {}

    def batch(self, seed: int, step: int, size: int) -> Batch:
        """The `size` windows that step `step` (counted from 0) of replicate `seed` trains on."""
        return self._batch(self._windows.ids_of_step(seed, step, size))

    def held_out_batches(self, size: int) -> Iterator[Batch]:
        """All held-out windows in the order of the text, `size` at a time; the last batch may be smaller."""
        for start in range(0, self.held_out_windows, size):
            yield self._batch(self._windows.held_out[start : start + size])

    def first_windows(self, count: int) -> tuple[Rows, NDArray[np.bool_]]:
        """The first `count` windows in the order of the source, or all if there are fewer; which are held out."""
        held_out = self._windows.held_out
        ids = np.sort(np.concatenate((self._windows.training[:count], held_out[:count])))[:count]
        return self._windows.gather(ids), np.isin(ids, held_out)

    def learnt_tokens(self) -> int:
        """How many tokens of all training windows the loss counts; looks through them all."""
        training, learnt = self._windows.training, 0
        size = max(1, _COUNT_CHUNK // self.window_length)
        for start in range(0, training.size, size):
            labels = self._windows.gather(training[start : start + size]).labels
            learnt += int(np.count_nonzero(labels[:, 1:] != NOT_COUNTED))  # the first of a window has none before it
        return learnt

    def prompts(self, seed: int, count: int, length: int) -> NDArray[np.int64]:
        """[count, length] beginnings for generated text from held-out windows, drawn by seed, distinct while they last.

        Raises `CorpusError` if a held-out window is shorter than `length`.
        """
        return self._windows.prompts(seed, count, length)

    def common_tokens(self, count: int) -> NDArray[np.int64]:
        """The most frequent token ids of the whole corpus, most frequent first, the smaller id first among equals.

        As in the original study, held-out windows are counted too. Fewer than `count` if fewer are distinct.
        """
        counts = self._tokens.counts
        order = np.argsort(-counts, kind="stable")[: min(count, self.distinct_tokens)]
        return order.astype(np.int64)

    def share_of(self, token_ids: ArrayLike) -> float:
        """Share of the corpus's tokens that are among `token_ids`, from 0 to 1."""
        wanted = np.unique(np.asarray(token_ids, dtype=np.int64))
        counts = self._tokens.counts
        return float(counts[wanted[(wanted >= 0) & (wanted < counts.size)]].sum() / self.tokens)

    def copied_ngrams(self, token_ids: Sequence[int], n: int = 8) -> tuple[int, int]:
        """(n-grams in `token_ids`, those of them that stand verbatim in the training text).

        Training text is everything but the held-out windows; an n-gram that reaches into one does not count. The
        first call for an `n` builds the index.
        """
        if n not in self._training_hashes:
            self._training_hashes[n] = training_hashes(
                self._tokens.ids, self._windows.training_stretches, n, self._cache, self._tokens.sha256
            )
        return count_copied(np.asarray(token_ids, dtype=np.int64), n, self._training_hashes[n])

    def _batch(self, window_ids: NDArray[np.int64]) -> Batch:
        rows = self._windows.gather(window_ids)
        width = rows.input_ids.shape[1]
        named = f"frostline windows:{self._tokens.sha256}:{width}:".encode() + window_ids.astype("<i8").tobytes()
        return Batch(
            input_ids=rows.input_ids,
            labels=rows.labels,
            attention_mask=rows.attention_mask,
            window_ids=tuple(window_ids.tolist()),
            windows_sha256=hashlib.sha256(named).hexdigest(),
        )


def _first_tokens(tokens: TokenFile, settings: CorpusSettings, source: str) -> TokenFile:
    """`tokens` up to the recipe's limit (whole pairs only), counted anew. Raises `CorpusError` if there are fewer."""
    limit = settings.tokens
    if limit is None or limit == tokens.ids.size:
        return tokens
    if limit > tokens.ids.size:
        raise CorpusError(
            f"tokens: {limit:,} are asked for, but {source} has {tokens.ids.size:,}.",
            f"Use {tokens.ids.size} or fewer, or leave it out to read everything.",
        )
    end, pairs = limit, None
    if tokens.pairs is not None:
        starts = np.append(tokens.pairs[:, 0], tokens.ids.size)
        kept = int(np.searchsorted(starts, limit, side="right")) - 1
        end, pairs = int(starts[kept]), tokens.pairs[:kept]
    ids = tokens.ids[:end]
    counts = np.zeros_like(tokens.counts)
    for start in range(0, end, _COUNT_CHUNK):
        counts += np.bincount(ids[start : start + _COUNT_CHUNK], minlength=counts.size)
    return replace(tokens, ids=ids, counts=counts, pairs=pairs)


def _left_out(tokens: TokenFile, windows: TextWindows | PairWindows) -> dict[str, int]:
    counts = dict(tokens.tally.left_out)
    if isinstance(windows, PairWindows):
        counts["whose prompt fills the window"] = windows.skipped
    return {reason: count for reason, count in counts.items() if count}


def _describe_pairs(source: str, pairs: PairWindows, tokens: TokenFile) -> str:
    left_out = [f"{count:,} {reason}" for reason, count in _left_out(tokens, pairs).items()]
    besides = f"; left out: {', '.join(left_out)}" if left_out else ""
    return f"{source}, {pairs.starts.size:,} prompt/response pairs{besides}"
