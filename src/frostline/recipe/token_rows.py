"""Which rows of a vocabulary does a selector name? `embed[added]`, `embed[TOKENS]`, read into a value and written back.

TOKENS are ids (`embed[5, 9]`), Python's ranges of ids (`embed[32000:]`, `embed[10:20]` without 20), tokens in double
quotes as JSON has them (`embed["<tool>", 5]`), and `added`: the tokens that the tokenizer was given beyond its own
vocabulary. What these are for a tokenizer and a model, `plans` finds. `head[...]` names rows of the output matrix.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from frostline.errors import PlanError
from frostline.recipe.roles import ROLES

ROW_ROLES = ("embed", "head")
"""Roles with one row for each token of the vocabulary."""
MAXIMUM_LENGTH = 4_000
"""Characters of a selector of rows at most: what names so many tokens is a range of ids."""
ADDED = "added"
_HINT = 'Example: embed[added], embed[32000:32010] or embed["<tool>", 5].'
_ROWS = re.compile(r"(?P<role>[a-z.]*)\s*\[(?P<rows>.*)", re.S)
_RANGE = re.compile(r"(?P<single>[0-9]{1,9})|(?P<start>[0-9]{1,9})?\s*:\s*(?P<stop>[0-9]{1,9})?", re.ASCII)
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class TokenRange:
    """Ids from `start` on, up to `stop` without it; None is the end of the vocabulary."""

    start: int
    stop: int | None

    @property
    def text(self) -> str:
        """As written in a selector."""
        if self.stop == self.start + 1:
            return str(self.start)
        return f"{self.start or ''}:{'' if self.stop is None else self.stop}"


@dataclass(frozen=True)
class TokenRows:
    """Rows of a vocabulary, whatever its model: in the order in which they were written."""

    items: tuple[TokenRange | str, ...]
    """Ranges of ids, and tokens."""
    added: bool = False
    """Whether the tokens are among them that the tokenizer was given beyond its own vocabulary."""

    @property
    def asks_tokenizer(self) -> bool:
        """Whether ids alone do not tell which rows are meant."""
        return self.added or any(isinstance(item, str) for item in self.items)

    @property
    def text(self) -> str:
        """As written between the brackets of a selector."""
        written = [_quoted(item) if isinstance(item, str) else item.text for item in self.items]
        return ", ".join([ADDED, *written] if self.added else written)


def _quoted(token: str) -> str:
    """As JSON; what is not to be seen in a line of text is escaped."""
    return json.dumps(token, ensure_ascii=not token.isprintable())


def speaks_of_rows(text: str) -> bool:
    """Whether the selector `text` is written with a bracket behind a role."""
    match = _ROWS.match(text)
    return match is not None and match["role"] in ROLES


def parse_rows(text: str) -> tuple[str, TokenRows]:
    """The role and the rows that the selector `text` names. Raises `PlanError` saying what is wrong with it."""
    match = _ROWS.match(text)
    assert match is not None
    role, shown = match["role"], text if len(text) <= 60 else f"{text[:57]}..."
    if role not in ROW_ROLES:
        raise PlanError(f"'{shown}': '{role}' has no rows of tokens.", f"{' and '.join(ROW_ROLES)} have. {_HINT}")
    if len(text) > MAXIMUM_LENGTH:
        raise PlanError(f"'{shown}' is longer than {MAXIMUM_LENGTH:,} characters.", "Write ranges of ids.")
    added, items = False, []
    for item in _items(match["rows"], shown):
        if item is None:
            added = True
        else:
            items.append(item)
    if not added and not items:
        raise PlanError(f"'{shown}' names no token.", _HINT)
    return role, TokenRows(tuple(dict.fromkeys(items)), added)


def _items(text: str, shown: str) -> Iterator[TokenRange | str | None]:
    """What stands between the brackets, of which the first is not part of `text`; None stands for `added`."""
    place = 0
    while True:
        place += len(text[place:]) - len(text[place:].lstrip())
        if text[place:].startswith('"'):
            try:
                token, place = _DECODER.raw_decode(text, place)
            except ValueError as error:
                raise PlanError(f"'{shown}': a token in quotes does not end.", _HINT) from error
            yield token
        elif not text[place:].startswith("]"):
            end = re.search(r"[],\"]|$", text[place:])
            assert end is not None
            word, place = text[place : place + end.start()].strip(), place + end.start()
            yield None if word == ADDED else _range(word, shown)
        rest = text[place:].lstrip()
        if rest.startswith("]"):
            break
        if not rest.startswith(","):
            found = f"'{rest[:20]}' stands behind a token" if rest else "the bracket is not closed"
            raise PlanError(f"'{shown}': {found}.", _HINT)
        place = len(text) - len(rest) + 1
    behind = rest[1:].strip()
    if behind:
        why = "the vocabulary has no layers" if behind.startswith("@") else f"'{behind[:20]}' stands behind its bracket"
        raise PlanError(f"'{shown}': {why}.", _HINT)


def _range(word: str, shown: str) -> TokenRange:
    match = _RANGE.fullmatch(word)
    if match is None or not word:
        raise PlanError(f"'{shown}': '{word[:40]}' is no token.", f"Ids count from 0, tokens stand in quotes. {_HINT}")
    if match["single"] is not None:
        return TokenRange(int(match["single"]), int(match["single"]) + 1)
    start = int(match["start"] or 0)
    stop = None if match["stop"] is None else int(match["stop"])
    if stop is not None and stop <= start:
        why = "is empty: its end is not part of it" if stop == start else "runs backwards"
        raise PlanError(f"'{shown}': the range '{word}' {why}.", f"Write '{min(start, stop)}:{max(start, stop) + 1}'.")
    return TokenRange(start, stop)
