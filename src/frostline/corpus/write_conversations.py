"""How do conversations become tokens on disk? Each as the ids of its whole text, with the stretches that are learnt.

A token is learnt if it holds any letter of what is learnt: one that begins before the border, such as an answer's first
word with the blank before it, counts as the answer's. A marker that only reaches into it, with a blank that it
swallows, does not.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Encoding

from frostline.corpus.beginning import beginning_of
from frostline.corpus.conversations import Conversations
from frostline.corpus.learnt import Learn, Learnt, answers_learnt, learn_from
from frostline.corpus.rows import Row
from frostline.corpus.special import Markers
from frostline.corpus.templates import ChatTemplate, find_template
from frostline.corpus.turns import ChatColumns, conversation_of
from frostline.errors import CorpusError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BATCH_CHARACTERS = 1 << 20
_BATCH_TEXTS = 1024
WITHOUT_LEARNT = "with only answers of weight 0"


@dataclass(frozen=True)
class ChatReader:
    """How the conversations of a source are read: everything that decides their tokens."""

    tokenizer: PreTrainedTokenizerBase
    columns: ChatColumns
    learn: Learn
    template: str | None
    """What the recipe says under `template`."""
    today: datetime.date

    @cached_property
    def without_tools(self) -> ChatTemplate:
        """The template of conversations without tools."""
        return find_template(self.tokenizer, self.template, self.today)

    @cached_property
    def with_tools(self) -> ChatTemplate:
        """The template of conversations with tools."""
        return find_template(self.tokenizer, self.template, self.today, tools=True)

    @cached_property
    def markers(self) -> Markers:
        """The tokenizer's markers, those of its template included."""
        return Markers(self.tokenizer, self.without_tools.source)

    @property
    def date(self) -> datetime.date | None:
        """Today, where a template asks for it."""
        return self.without_tools.date or (self.with_tools.date if "tools" in self.columns.optional else None)

    @property
    def identity(self) -> dict[str, object]:
        """What the cache goes by, besides tokenizer and source."""
        return {
            "columns": [self.columns.kind, *self.columns.names, *self.columns.optional],
            "learn": self.learn,
            "templates": [self.without_tools.source, self.with_tools.source],
            "date": None if self.date is None else self.date.isoformat(),
        }


@dataclass
class ConversationWriter:
    """Takes rows, hands on ids, and keeps where what is learnt stands."""

    reader: ChatReader
    append: Callable[[Sequence[int], int], None]
    """Called with the ids of each conversation, and the bytes of the source that were read."""
    leave_out: Callable[[str, str], None]
    """Called with reason and place of each row that is left out."""
    tokens: int = 0
    answers: int = 0
    without_end: int = 0
    """Answers after which no marker is learnt."""
    unrolled: int = 0
    """Rows that became a conversation for each of their answers."""
    _waiting: list[tuple[Learnt, int, int]] = field(default_factory=list)
    _characters: int = 0
    _table: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    _spans: list[tuple[int, int]] = field(default_factory=list)
    _cuts: list[int] = field(default_factory=list)
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def take(self, rows: Iterator[Row], limit: int | None, tell: Callable[[int], None]) -> None:
        """Read all `rows`, or until there are `limit` tokens; `tell(bytes_read)` is called now and then."""
        bytes_read = 0
        for number, row in enumerate(rows):
            bytes_read = row.bytes_read
            conversation = conversation_of(row, self.reader.columns)
            if isinstance(conversation, str):
                self.leave_out(conversation, row.place)
                continue
            if self.reader.learn != "all" and not answers_learnt(conversation, self.reader.learn):
                self.leave_out(WITHOUT_LEARNT, row.place)
                continue
            self._digest.update(json.dumps(row.values, default=str).encode())
            template = self.reader.without_tools if conversation.tools is None else self.reader.with_tools
            found = learn_from(template, self.reader.markers, conversation, self.reader.learn)
            self.unrolled += len(found) > 1
            self._waiting += [(learnt, number, bytes_read) for learnt in found]
            self._characters += sum(len(learnt.text) for learnt in found)
            if self._characters >= _BATCH_CHARACTERS or len(self._waiting) >= _BATCH_TEXTS:
                self._write()
                tell(bytes_read)
                if limit is not None and self.tokens >= limit:
                    return
        self._write()
        tell(bytes_read)

    @property
    def conversations(self) -> Conversations:
        """Everything that was taken."""
        return Conversations.of(
            np.array(self._table, dtype=np.int64).reshape(-1, 5),
            np.array(self._spans, dtype=np.int64).reshape(-1, 2),
            np.array(self._cuts, dtype=np.int64),
        )

    @property
    def sha256(self) -> str:
        """Of the rows that were read."""
        return self._digest.hexdigest()

    @cached_property
    def _opening(self) -> list[int]:
        return list(beginning_of(self.reader.tokenizer))

    @cached_property
    def _marker_ids(self) -> frozenset[int]:
        end = self.reader.tokenizer.eos_token_id
        return frozenset((*self.reader.markers.ids.values(), *((end,) if isinstance(end, int) else ())))

    def _write(self) -> None:
        markers = self.reader.markers
        plain = [learnt.text for learnt, _, _ in self._waiting if not learnt.hides]
        encoded = iter(markers.backend.encode_batch(plain, add_special_tokens=False))
        for learnt, row, bytes_read in self._waiting:
            self._keep(learnt, markers.encode(learnt.text) if learnt.hides else next(encoded), row, bytes_read)
        self._waiting.clear()
        self._characters = 0

    def _keep(self, learnt: Learnt, encoding: Encoding, row: int, bytes_read: int) -> None:
        ids: list[int] = encoding.ids
        offsets: list[tuple[int, int]] = encoding.offsets
        opening = self._opening if ids[: len(self._opening)] != self._opening else []
        shift = len(opening)
        spans = []
        for (begin, end), said_until in zip(learnt.spans, learnt.ends, strict=True):
            first, last = _tokens_of(offsets, begin, end)
            while first < last and offsets[first][0] < begin and ids[first] in self._marker_ids:
                first += 1
            if first < last:
                spans.append((first + shift, last + shift))
                closing, _ = _tokens_of(offsets, said_until, end)
                self.answers += 1
                self.without_end += not self._marker_ids.intersection(ids[max(closing, first) : last])
        if not spans:
            raise CorpusError(f"{learnt.place}: no token of the conversation holds a letter of an answer.")
        cuts = [bisect_left(offsets, place, key=_begin) + shift for place in learnt.cuts]
        head = bisect_right(offsets, learnt.head, key=_end) + shift if learnt.head else 0
        self._table.append((self.tokens, row, head, len(spans), len(cuts)))
        self._spans += spans
        self._cuts += cuts
        self.append([*opening, *ids], bytes_read)
        self.tokens += len(ids) + shift


def _tokens_of(offsets: list[tuple[int, int]], begin: int, end: int) -> tuple[int, int]:
    """First and end of the tokens that hold a letter between `begin` and `end`."""
    return bisect_right(offsets, begin, key=_end), bisect_left(offsets, end, key=_begin)


def _begin(offset: tuple[int, int]) -> int:
    return offset[0]


def _end(offset: tuple[int, int]) -> int:
    return offset[1]
