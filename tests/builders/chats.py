"""How do the tests read conversations? Tokenizers with a template, and the tokens of what was joined by hand.

The joined form is the oracle: pieces of text of which some are markers and some are learnt. Tokens follow from it
without any template and without offsets: markers split a text, and a byte-level token has as many bytes as letters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from frostline.corpus import NOT_COUNTED, Corpus

Turns = list[dict[str, object]]
Row = TypeVar("Row")
WORDS = [
    "river",
    "stone",
    "lamp",
    "garden",
    "winter",
    "copper",
    "letter",
    "window",
    "morning",
    "bridge",
    "orchard",
    "candle",
    "harbour",
    "meadow",
]


@dataclass(frozen=True)
class Piece:
    """A stretch of a conversation, joined by hand."""

    text: str
    learnt: bool = False
    marker: bool = False


def given(text: str) -> Piece:
    """Text that is not learnt."""
    return Piece(text)


def marker(text: str) -> Piece:
    """A marker that is not learnt."""
    return Piece(text, marker=True)


def learnt(text: str) -> Piece:
    """Text that is learnt."""
    return Piece(text, learnt=True)


def stop(text: str) -> Piece:
    """A marker that is learnt."""
    return Piece(text, learnt=True, marker=True)


Joined = list[Piece]


@dataclass(frozen=True)
class Family:
    """A chat template and what it makes of a conversation, by hand."""

    name: str
    template: str
    markers: tuple[str, ...]
    end: str
    join: Callable[[Turns], list[Joined]]
    """The windows of a conversation: several, if each answer is read as the last one."""
    system: bool = True
    """Whether it takes a system prompt."""


def chat_tokenizer(family: Family) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with the markers of `family`."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=330 + len(family.markers),
        special_tokens=list(family.markers),
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(WORDS * 3) + " assistant user system"], trainer)
    opening = {"bos_token": family.markers[0]} if family.markers[0] in ("<s>", "<bos>", "<BOS_TOKEN>") else {}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=family.end,
        additional_special_tokens=[mark for mark in family.markers if mark != family.end],
        **opening,
    )
    fast.chat_template = family.template
    return fast


def tokens_by_hand(joined: Joined, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """(ids, labels) of a conversation that was joined by hand."""
    ids: list[int] = []
    labels: list[int] = []
    stretch: list[Piece] = []

    def close() -> None:
        whole = "".join(piece.text for piece in stretch)
        counted = [piece.learnt for piece in stretch for _ in piece.text.encode()]
        at = 0
        for token in tokenizer(whole, add_special_tokens=False, split_special_tokens=True)["input_ids"]:
            length = len(tokenizer.convert_ids_to_tokens(token))
            ids.append(token)
            labels.append(token if any(counted[at : at + length]) else NOT_COUNTED)
            at += length
        assert at == len(counted)
        stretch.clear()

    for piece in joined:
        if piece.marker:
            close()
            token = tokenizer.convert_tokens_to_ids(piece.text)
            assert isinstance(token, int)
            ids.append(token)
            labels.append(token if piece.learnt else NOT_COUNTED)
        else:
            stretch.append(piece)
    close()
    return ids, labels


def write_conversations(path: Path, rows: Sequence[object]) -> Path:
    """A jsonl file of `rows`; a list of turns becomes a row of `messages`."""
    objects = [row if isinstance(row, dict) else {"messages": row} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in objects), encoding="utf-8")
    return path


def twice(row: Row) -> list[Row]:
    """A row that speaks of a river, and one of a candle: rows that repeat are not held out."""
    return [row, json.loads(json.dumps(row).replace("river", "candle"))]


def windows_of(corpus: Corpus) -> list[tuple[list[int], list[int]]]:
    """(ids, labels) of every window in the order of the file, padding taken off."""
    rows = {}
    for batch in (corpus.batch(0, 0, corpus.windows), *corpus.held_out_batches(8)):
        mask = batch.attention_mask if batch.attention_mask is not None else np.ones_like(batch.input_ids)
        for row, window in enumerate(batch.window_ids):
            real = mask[row].astype(bool)
            rows[window] = batch.input_ids[row][real].tolist(), batch.labels[row][real].tolist()
            assert (batch.labels[row][~real] == NOT_COUNTED).all()
    return [rows[window] for window in sorted(rows)]


def applied(
    tokenizer: PreTrainedTokenizerBase, row: Sequence[Mapping[str, object]], *, masked: bool = False
) -> Mapping[str, list[int]]:
    """What transformers' own `apply_chat_template` makes of `row`; `masked`: with the mask of the template's marks."""
    turns = cast("list[dict[str, str]]", list(row))  # its type knows no other turns
    encoded = tokenizer.apply_chat_template(turns, return_assistant_tokens_mask=masked, return_dict=True)
    return cast("Mapping[str, list[int]]", encoded)
