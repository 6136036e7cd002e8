"""The corpus as training sees it: batches by (seed, step), held-out batches, prompts, and what is common or copied.

Everything that a `Corpus` hands out is a pure function of its content, the recipe and the arguments: it keeps no
position, so it does not matter who asks, how often or in which order.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frostline.corpus.apart import keep_apart
from frostline.corpus.batch import Batch
from frostline.corpus.beginning import beginning_of
from frostline.corpus.conversations import ConversationWindows, TooLongError, lay_out_conversations
from frostline.corpus.frequency import frequency_classes, training_counts
from frostline.corpus.ngrams import copied_from_training, found_in_training, ngram_hashes
from frostline.corpus.order import permutation
from frostline.corpus.read import open_source
from frostline.corpus.repeats import REPEATED
from frostline.corpus.said import describe, left_out, place_of, remarks_of
from frostline.corpus.tally import told as told_rows
from frostline.corpus.tokenise import TokenFile, tokenise
from frostline.corpus.windows import (
    NOT_COUNTED,
    Rows,
    TextWindows,
    lay_out_windows,
)
from frostline.errors import CorpusError
from frostline.readable import percent
from frostline.recipe import CorpusSettings, WindowSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_COUNT_CHUNK = 1 << 22
_HELD_OUT_ROWS = 64
TRAINED_SAMPLE_KEY = 0
"""The sample of training windows on which the loss is measured is the same in every replicate."""
OVERLAP_TOKENS = 16
"""A run of so many tokens that stands twice is a copy: natural text seldom repeats as many by itself."""


def open_corpus(
    corpus: CorpusSettings,
    windows: WindowSettings,
    tokenizer: PreTrainedTokenizerBase,
    *,
    cache: Path,
    progress: Callable[[int, int], None] | None = None,
    embeddings: int | None = None,
    race: int = 0,
) -> Corpus:
    """Read, tokenise (or find in the cache) and lay out a corpus, `race` windows of which are set apart for a race.

    `embeddings`: how many token ids the model has embeddings for; what fills rows up is one of them.
    `progress(bytes_done, bytes_total)` is called while reading. Raises `CorpusError` for whatever is wrong with the
    source and when the text is too short; `MissingExtraError` for a hub data set without the package `datasets`.
    """
    source = open_source(corpus, cache, progress)
    tokens = _first_tokens(tokenise(source, corpus, tokenizer, cache, progress), corpus, source.description)
    if tokens.conversations is None:
        beginning = beginning_of(tokenizer) if windows.beginning == "auto" else ()
        text = lay_out_windows(
            tokens.ids, windows, source.description, beginning, tokens.repeats, corpus.held_out_within, race
        )
        return Corpus(source.description, tokens, text, cache, source.revision)
    try:
        laid_out = lay_out_conversations(
            tokens.ids,
            tokens.conversations,
            windows,
            source.description,
            _padding_id(tokenizer, embeddings),
            corpus.too_long,
            len(beginning_of(tokenizer)) or _opens_with(tokenizer, tokens),
        )
    except TooLongError as error:
        raise error.placed(place_of(source, error.row)) from None
    drop = corpus.duplicates == "drop"
    laid_out, repeated = keep_apart(
        laid_out, source.description, windows, drop=drop, within=corpus.held_out_within, race=race
    )
    tokens = replace(tokens, duplicates=repeated)
    if repeated and drop:
        tokens.tally.left_out[REPEATED] = repeated
    return Corpus(describe(source.description, corpus, laid_out, tokens), tokens, laid_out, cache, source.revision)


class Corpus:
    """A tokenised corpus, mapped from disk, and its windows."""

    def __init__(
        self,
        description: str,
        tokens: TokenFile,
        windows: TextWindows | ConversationWindows,
        cache: Path,
        revision: str | None = None,
    ) -> None:
        self.description = description
        """The source in a few words."""
        self.revision = revision
        """Commit of a hub data set; None for what lies elsewhere."""
        self.padding_id = windows.padding_id if isinstance(windows, ConversationWindows) else None
        """The token that fills a row up behind its conversation; None for running text, where nothing is filled up."""
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
        self.race_windows = int(windows.race.size)
        """Windows set apart for a race of learning rates."""
        self.window_length = windows.width
        """Tokens of a window, or of the longest one; what stands before its text is counted."""
        self.beginning: tuple[int, ...] = () if isinstance(windows, ConversationWindows) else windows.beginning
        """Token ids before the text of every window of running text; conversations have what their template writes."""
        self.tally = tokens.tally
        """What was met while the rows were read."""
        self.rows = tokens.tally.rows
        """Rows met in the source; 0 for plain text."""
        self.left_out: dict[str, int] = left_out(tokens, windows)
        """Rows left out, by reason."""
        self.duplicates = tokens.duplicates
        """Rows, or paragraphs of a plain text, that repeat an earlier one exactly; left out where asked for."""
        self.cut = windows.cut if isinstance(windows, ConversationWindows) else 0
        """Conversations of which a part is left out, as they are longer than a window."""
        self.template_date = str(tokens.facts.get("template_date", "")) or None
        """The day that the chat template took for today; None where it does not ask."""
        self.layout = windows.layout if isinstance(windows, ConversationWindows) else ""
        """Which conversations are cut, and where, as a hash; '' where none are."""
        self.remarks = remarks_of(tokens, windows)
        """What should be known of its conversations before anything is trained, a sentence each."""
        self._tokens = tokens
        self._windows = windows
        self._cache = cache
        self._tells_padding = True

    def batch(self, seed: int, step: int, size: int) -> Batch:
        """The `size` windows that step `step` (counted from 0) of replicate `seed` trains on."""
        return self._batch(self._windows.ids_of_step(seed, step, size))

    def held_out_batches(self, size: int) -> Iterator[Batch]:
        """All held-out windows in the order of the text, `size` at a time; the last batch may be smaller."""
        for start in range(0, self.held_out_windows, size):
            yield self._batch(self._windows.held_out[start : start + size])

    def race_batches(self, size: int) -> Iterator[Batch]:
        """All windows on which learning rates are raced, as `held_out_batches` has its own."""
        for start in range(0, self.race_windows, size):
            yield self._batch(self._windows.race[start : start + size])

    def uneven_windows(self, count: int, longest: int) -> Batch | None:
        """`count` training windows of differing lengths up to `longest`, or the two shortest; None of running text."""
        if not isinstance(self._windows, ConversationWindows):
            return None
        training = self._windows.training
        lengths, firsts = np.unique(self._windows.lengths[training], return_index=True)
        last = max(1, int(np.searchsorted(lengths, longest, side="right")) - 1)
        places = np.unique(np.linspace(0, min(last, lengths.size - 1), count).astype(np.int64))
        return self._batch(training[firsts[places]])

    @property
    def shortest_and_longest(self) -> Batch | None:
        """The shortest and the longest training window; None where all have one length."""
        found = self.uneven_windows(2, self.window_length)
        return found if found is not None and len(found.input_ids) > 1 else None

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
        """[count, beginning + length] openings for generated text from held-out windows, drawn by seed.

        They are distinct while they last, and as in training, what the model expects before a text stands before
        them. Raises `CorpusError` if a held-out window holds less than `length` tokens of text.
        """
        return self._windows.prompts(seed, count, length)

    def true_continuations(self, seed: int, count: int, length: int, new_tokens: int) -> list[list[int]]:
        """How the held-out text goes on after each of the `prompts` of the same arguments: `new_tokens` token ids.

        Fewer, or none, where its window ends before; of a conversation, where its answer does.
        """
        return self._windows.true_continuations(seed, count, length, new_tokens)

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

    def copied_ngrams(self, texts: Sequence[Sequence[int]], n: int = 8) -> list[tuple[int, int]]:
        """(n-grams in it, those of them that stand verbatim in the training text) for each of `texts`, token ids.

        Training text is everything but the held-out windows; an n-gram that reaches into one does not count. All
        training text is read for it, once.
        """
        tokens, stretches = self._tokens, self._windows.training_stretches
        return copied_from_training(texts, tokens.ids, stretches, n, self._cache, tokens.sha256)

    def trained_sample(self, count: int, size: int) -> Iterator[Batch]:
        """`count` training windows (all if there are fewer), `size` at a time: the same for every arm and seed."""
        training = self._windows.training
        chosen = np.sort(permutation(TRAINED_SAMPLE_KEY, "trained sample", 0, training.size)[:count])
        for start in range(0, chosen.size, size):
            yield self._batch(training[chosen[start : start + size]])

    @cached_property
    def frequency_classes(self) -> NDArray[np.int64]:
        """[vocabulary] the place in `FREQUENCY_CLASSES` of each token, by its count in the training text."""
        tokens = self._tokens
        return frequency_classes(training_counts(tokens.ids, tokens.counts, self._windows.training_stretches))

    @property
    def held_out_files(self) -> tuple[str, ...]:
        """The file that each held-out window is from, in their order; none where the corpus is a single file.

        Of a window that several files share, it is the one in its middle.
        """
        files = self._tokens.files
        if len(files) < 2:
            return ()
        which = np.searchsorted([first for _, first in files], self._windows.held_out_places, side="right") - 1
        return tuple(files[number][0] for number in which.tolist())

    @property
    def held_out_overlap(self) -> float:
        """Share of the runs of `OVERLAP_TOKENS` tokens of held-out windows that stand in the training text, 0 to 1.

        Runs that the loss counts: what is only given, such as a system prompt, may well be the same everywhere. The
        first call reads the training text once.
        """
        found, runs = self._held_out_runs
        return float(found.sum() / runs.sum()) if runs.sum() else 0.0

    @property
    def held_out_window_overlap(self) -> tuple[float, ...]:
        """The same share for each held-out window, in their order; 0 for one that has no such run."""
        found, runs = self._held_out_runs
        shares: list[float] = (found / np.maximum(runs, 1)).tolist()
        return tuple(shares)

    @cached_property
    def _held_out_runs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """([windows] runs of each held-out window that stand in the training text, [windows] runs in all)."""
        n, runs = OVERLAP_TOKENS, [np.empty(0, dtype=np.uint64)]
        for start in range(0, self.held_out_windows, _HELD_OUT_ROWS):
            rows = self._windows.gather(self._windows.held_out[start : start + _HELD_OUT_ROWS])
            for ids, labels in zip(rows.input_ids, rows.labels, strict=True):
                hashes = ngram_hashes(ids, n)
                uncounted = np.concatenate(([0], np.cumsum(labels == NOT_COUNTED)))
                runs.append(hashes[uncounted[n:] == uncounted[:-n]] if hashes.size else hashes)
        wanted, which = np.unique(np.concatenate(runs), return_inverse=True)
        found = found_in_training(
            wanted, self._tokens.ids, self._windows.training_stretches, n, self._cache, self._tokens.sha256
        )
        counts = np.array([own.size for own in runs[1:]], dtype=np.int64)
        before = np.concatenate(([0], np.cumsum(found[which])))
        borders = np.concatenate(([0], np.cumsum(counts)))
        return np.diff(before[borders]), counts

    def without_mask(self) -> Corpus:
        """The same corpus for a model that needs not be told where padding is: see `arms/padding.py`."""
        other = copy.copy(self)
        other._tells_padding = False
        return other

    def _batch(self, window_ids: NDArray[np.int64]) -> Batch:
        rows = self._windows.gather(window_ids)
        begins = f"{','.join(map(str, self.beginning))}:" if self.beginning else ""
        named = f"frostline windows:{self._tokens.sha256}:{self.window_length}:{begins}{self.layout}".encode()
        return Batch(
            input_ids=rows.input_ids,
            labels=rows.labels,
            attention_mask=rows.attention_mask if self._tells_padding else None,
            window_ids=tuple(window_ids.tolist()),
            windows_sha256=hashlib.sha256(named + window_ids.astype("<i8").tobytes()).hexdigest(),
            lengths=rows.lengths,
            widths=rows.widths,
        )


def remarks_on(corpus: Corpus, tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """What a reader of a corpus should know of its windows, in sentences."""
    told = [rows] if (rows := told_rows(corpus.tally)) else []
    told += corpus.remarks
    if corpus.beginning:
        told.append(f"Every window begins with {tokenizer.decode(list(corpus.beginning))}")
    if corpus.duplicates:
        noun = ("row" if corpus.rows else "part") + ("" if corpus.duplicates == 1 else "s")
        verb = "repeats" if corpus.duplicates == 1 else "repeat"
        after = ", as they are after cutting" if corpus.cut else ""
        told.append(f"{corpus.duplicates:,} {noun} of the text {verb} an earlier one exactly{after}")
    told.append(f"{percent(corpus.held_out_overlap)} of held-out {OVERLAP_TOKENS}-grams stand in the training text")
    return tuple(told)


def _first_tokens(tokens: TokenFile, settings: CorpusSettings, source: str) -> TokenFile:
    """`tokens` up to the recipe's limit (whole conversations), counted anew. Raises `CorpusError` if it has fewer."""
    limit = settings.tokens
    if limit is None or limit == tokens.ids.size:
        return tokens
    if limit > tokens.ids.size:
        raise CorpusError(
            f"tokens: {limit:,} are asked for, but {source} has {tokens.ids.size:,}.",
            f"Use {tokens.ids.size} or fewer, or leave it out to read everything.",
        )
    end, conversations = limit, None
    if tokens.conversations is not None:
        starts = np.append(tokens.conversations.starts, tokens.ids.size)
        kept = int(np.searchsorted(starts, limit, side="right")) - 1
        end, conversations = int(starts[kept]), tokens.conversations.first(kept)
    ids = tokens.ids[:end]
    counts = np.zeros_like(tokens.counts)
    for start in range(0, end, _COUNT_CHUNK):
        counts += np.bincount(ids[start : start + _COUNT_CHUNK], minlength=counts.size)
    return replace(tokens, ids=ids, counts=counts, conversations=conversations)


def _padding_id(tokenizer: PreTrainedTokenizerBase, embeddings: int | None) -> int:
    """A token to fill rows up with, which the model can look up; what it is does not matter, as it is masked."""
    candidates = (tokenizer.pad_token_id, tokenizer.eos_token_id)
    return next((i for i in candidates if isinstance(i, int) and (embeddings is None or i < embeddings)), 0)


def _opens_with(tokenizer: PreTrainedTokenizerBase, tokens: TokenFile) -> int:
    """1 if conversations begin with the tokenizer's beginning-of-text token, which their template writes.

    A token that opens every turn is none, whatever the tokenizer calls it: of these each conversation has two or more.
    """
    first, conversations = tokenizer.bos_token_id, tokens.conversations
    if not tokens.ids.size or conversations is None or int(tokens.ids[0]) != first:
        return 0
    return int(tokens.counts[first] < 2 * conversations.count)
