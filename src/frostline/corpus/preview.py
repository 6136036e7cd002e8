"""What is read, before anything learns from it? A corpus's counts, and its first windows as text that says what learns.

A window is shown as the model gets it: its very tokens are decoded, special ones included, padding left out. So what a
chat template, a limit or a cut has done to a row can be seen, not only what stands in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from frostline.corpus.corpus import Corpus
from frostline.corpus.tally import remarks_of
from frostline.corpus.windows import NOT_COUNTED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LINE_END = "↵"
"""Stands for a line end that could not be seen."""


@dataclass(frozen=True)
class Stretch:
    """Neighbouring tokens of one kind, as text."""

    text: str
    learns: bool
    """Whether the loss counts these tokens."""
    special: bool
    """Whether they are special tokens of the tokenizer, and not text that only looks like them."""

    @property
    def shown(self) -> str:
        """Its text, with a sign for line ends where a line end that learns could not be seen."""
        return self.text.replace("\n", f"{LINE_END}\n") if self.learns and self.text.isspace() else self.text


@dataclass(frozen=True)
class ShownWindow:
    """A window as text."""

    tokens: int
    """Without padding."""
    learnt_tokens: int
    """Tokens that the loss counts."""
    held_out: bool
    """Whether nothing trains on it."""
    stretches: tuple[Stretch, ...]
    only_look_special: tuple[str, ...]
    """Special tokens that stand in it as plain text, which the model does not read as such."""

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(stretch.text for stretch in self.stretches)


@dataclass(frozen=True)
class CorpusPreview:
    """What is read of one corpus."""

    source: str
    """The corpus in a few words."""
    rows: int
    """Rows that were met, those left out included; 0 for plain text, which has none."""
    left_out: Mapping[str, int]
    """Rows left out, by reason."""
    left_out_first: Mapping[str, str]
    """File and line (or row) of the first of them, by reason, where it is known."""
    remarks: tuple[str, ...]
    """What may surprise about rows that are read, and what of them is trained on."""
    cut: int
    """Rows of which only a part fits into a window."""
    tokens: int
    """All tokens, those of held-out windows and of the remainder included."""
    distinct_tokens: int
    """How many tokens of the vocabulary occur."""
    vocabulary: int
    """Tokens of the tokenizer."""
    learnt_tokens: int
    """Tokens of all training windows that the loss counts."""
    window_length: int
    """Tokens of a window, or of the longest one."""
    windows: int
    """Training windows, an epoch's worth."""
    held_out_windows: int
    beginning: str
    """What stands before the text of every window, such as `<bos>`; '' where nothing does."""
    template_date: str | None
    """The day that the chat template took for today; None where it does not ask."""
    duplicates: int
    """Rows, or paragraphs of a plain text, that repeat an earlier one exactly."""
    held_out_overlap: float
    """Share of held-out runs of 16 tokens that stand in the training text, 0 to 1."""
    sha256: str
    """SHA-256 of the source's content."""
    revision: str | None
    """Commit of a hub data set."""
    first: tuple[ShownWindow, ...]
    """The first windows in the order of the source, held-out ones among them."""
    checked: bool
    """Whether every row was read anew and gave the same tokens."""


def preview(corpus: Corpus, tokenizer: PreTrainedTokenizerBase, first: int, *, checked: bool = False) -> CorpusPreview:
    """The counts of `corpus` and its `first` windows as text."""
    rows, held_out = corpus.first_windows(first)
    masks = [None] * len(rows.input_ids) if rows.attention_mask is None else rows.attention_mask.tolist()
    shown = [
        _shown_window(tokenizer, *row)
        for row in zip(rows.input_ids.tolist(), rows.labels.tolist(), masks, held_out.tolist(), strict=True)
    ]
    return CorpusPreview(
        source=corpus.description,
        rows=corpus.rows,
        left_out=dict(corpus.left_out),
        left_out_first={reason: place for reason, place in corpus.tally.first.items() if reason in corpus.left_out},
        remarks=(*remarks_of(corpus.tally), *corpus.remarks),
        cut=corpus.cut,
        tokens=corpus.tokens,
        distinct_tokens=corpus.distinct_tokens,
        vocabulary=len(tokenizer),
        learnt_tokens=corpus.learnt_tokens(),
        window_length=corpus.window_length,
        windows=corpus.windows,
        held_out_windows=corpus.held_out_windows,
        beginning=str(tokenizer.decode(list(corpus.beginning))) if corpus.beginning else "",
        template_date=corpus.template_date,
        duplicates=corpus.duplicates,
        held_out_overlap=corpus.held_out_overlap,
        sha256=corpus.sha256,
        revision=corpus.revision,
        first=tuple(shown),
        checked=checked,
    )


def stretches_of(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], learns: Sequence[bool]) -> tuple[Stretch, ...]:
    """`ids` as text, cut where the kind of token changes.

    The pieces put together are the whole decoded at once: decoders write a token differently behind another one, so
    what each adds to all before it is taken. A character whose bytes two kinds share belongs to the later one.
    """
    special = _special_tokens(tokenizer)
    kinds = [(learnt, id in special) for id, learnt in zip(ids, learns, strict=True)]
    borders = [place for place in range(1, len(ids)) if kinds[place] != kinds[place - 1]]
    whole = _decoded(tokenizer, ids)
    stretches = []
    begin = 0
    for place in [*borders, len(ids)] if kinds else []:
        kind = kinds[place - 1]
        before = whole if place == len(ids) else _decoded(tokenizer, ids[:place])
        end = max(begin, _common_beginning(before, whole))
        if end > begin:
            stretches.append(Stretch(whole[begin:end], *kind))
        begin = end
    return tuple(stretches)


def _shown_window(
    tokenizer: PreTrainedTokenizerBase, ids: list[int], labels: list[int], mask: list[int] | None, held_out: bool
) -> ShownWindow:
    kept = [place for place in range(len(ids)) if mask is None or mask[place]]
    # A token is predicted from those before it, and the first has none, whatever its label.
    learns = [order > 0 and labels[place] != NOT_COUNTED for order, place in enumerate(kept)]
    stretches = stretches_of(tokenizer, [ids[place] for place in kept], learns)
    plain = "\n".join(stretch.text for stretch in stretches if not stretch.special)
    only_look_special = tuple(sorted(token for token in _special_tokens(tokenizer).values() if token in plain))
    return ShownWindow(len(kept), sum(learns), held_out, stretches, only_look_special)


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Special tokens by id."""
    named = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    return named | {id: str(token) for id, token in tokenizer.added_tokens_decoder.items() if token.special}


def _common_beginning(text: str, other: str) -> int:
    """Characters at the beginning of both."""
    if other.startswith(text):
        return len(text)
    return next((place for place, pair in enumerate(zip(text, other, strict=False)) if pair[0] != pair[1]), len(other))


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
