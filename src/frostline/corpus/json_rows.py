"""What are the rows of JSON? One object a line (jsonl), or what a `.json` file holds: an array, lines, a list inside.

Both are read in a stream. Every object is a row; whatever is not an object is an error with its line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from frostline.corpus import encodings
from frostline.corpus.compressed import ByteStream, opened
from frostline.corpus.encodings import decoded, decoder_of, not_text, text_lines, too_long, undecodable
from frostline.corpus.files import SourceFile
from frostline.corpus.places import shown
from frostline.corpus.rows import Row, kind_of, missing_column
from frostline.corpus.tally import Tally
from frostline.errors import CorpusError

_SPACE = " \t\r\n"
_FIRST_PIECE = 1 << 16
_NEAR_THE_END = 16
"""A syntax error within so many characters of what was read may be gone with the next piece."""
_TURNS = ("messages", "conversations")
"""Lists of objects with these names are conversations, which are rows themselves, not lists of rows."""


def read_jsonl(file: SourceFile, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a file with one object a line. Raises `CorpusError` with file and line."""
    with opened(file.path) as stream:
        codec = decoder_of(file.path, file.encoding, stream.head)
        if codec == "utf-8-sig":
            yield from _rows(_byte_lines(file, stream), file, columns, stream)
            return
    with text_lines(file.path, file.encoding, "\n") as text:
        yield from _rows(text.lines, file, columns, text.stream)


def read_json(file: SourceFile, columns: Sequence[str], tally: Tally) -> Iterator[Row]:
    """The rows of a `.json` file: an array of objects, objects one after another, or one object with a list of them."""
    name = shown(file.path)[1:-1]
    with opened(file.path) as stream:
        objects = _objects(file, decoded(file.path, file.encoding, stream))
        first = next(objects, None)
        if first is None:
            return
        second = next(objects, None)
        if second is None and first.alone:
            inside = _list_inside(first.value, name, columns)
            if inside is not None:
                tally.remark(f"rows are the list '{inside}'", name, rows=0)
                for number, value in enumerate(_as_rows(first.value[inside]), 1):
                    place = f"{name}, '{inside}' {number:,}"
                    yield _row(value, columns, place, stream, is_first=number == 1)
                return
        if second is None and first.alone:
            _require_rows(first.value, name, columns)
        for number, found in enumerate(_chain(first, second, objects)):
            place = f"{name}:{found.line}"
            _check_doubled(found.source, columns, place)
            yield _row(found.value, columns, place, stream, is_first=number == 0)


def json_names(file: SourceFile) -> tuple[str, ...]:
    """The keys of the first row of a jsonl or json file."""
    if file.format == "jsonl":
        with text_lines(file.path, file.encoding, "\n") as text:
            for number, line in enumerate(text.lines, 1):
                if line.strip():
                    return tuple(_parsed(line, f"{shown(file.path)[1:-1]}:{number}"))
        return ()
    with opened(file.path) as stream:
        objects = _objects(file, decoded(file.path, file.encoding, stream))
        first = next(objects, None)
        if first is None:
            return ()
        alone = first.alone and next(objects, None) is None
        inside = _list_inside(first.value, shown(file.path)[1:-1], _TURNS) if alone else None
        return tuple(first.value if inside is None else _as_rows(first.value[inside])[0])


def _byte_lines(file: SourceFile, stream: ByteStream) -> Iterator[bytes]:
    number = 0
    while line := stream.file.readline(encodings.LARGEST_ROW_BYTES):
        number += 1
        if len(line) >= encodings.LARGEST_ROW_BYTES:
            raise too_long(file.path, number)
        yield line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _rows(lines: Iterator[bytes | str], file: SourceFile, columns: Sequence[str], stream: ByteStream) -> Iterator[Row]:
    name = shown(file.path)[1:-1]
    keys = [json.dumps(column, ensure_ascii=False) for column in columns]
    is_first = True
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode() if isinstance(line, bytes) else line
        except UnicodeDecodeError as error:
            raise undecodable(file.path, "utf-8-sig") from error
        if not text.strip():
            continue
        place = f"{name}:{number}"
        if "\0" in text:
            raise not_text(file.path, decoder_of(file.path, file.encoding, stream.head))
        row = _parsed(text, place)
        for key in keys:
            if text.count(key) > 1:
                _check_doubled(text, columns, place)
        yield _row(row, columns, place, stream, is_first=is_first)
        is_first = False


def _row(row: dict[str, object], columns: Sequence[str], place: str, stream: ByteStream, *, is_first: bool) -> Row:
    """A column that the first row has not is an error; a later row without it just has nothing there."""
    if is_first:
        for column in columns:
            if column not in row:
                raise missing_column(place, column, list(row))
    return Row(tuple([row.get(column) for column in columns]), place, stream.position())


def _parsed(line: str, place: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except RecursionError as error:
        raise CorpusError(f"{place}: nested too deep to be a row.") from error
    except ValueError as error:
        if "digits" in str(error):
            raise CorpusError(f"{place}: a number has more digits than are read.", "Write it as a text.") from error
        rest = line[error.pos :].lstrip() if isinstance(error, json.JSONDecodeError) else ""
        if line.lstrip()[:1] == "[":
            hint = "A file that begins with '[' is one array: say 'format: json'."
        elif line.strip() == "{" or rest.startswith("{"):
            hint = "Objects over several lines, or several on one, are read with 'format: json'."
        else:
            hint = "Each line is one JSON object; plain text wants 'format: text', one array 'format: json'."
        raise CorpusError(f"{place}: not valid JSON: {str(error).splitlines()[0]}.", hint) from error
    if not isinstance(row, dict):
        hint = "One array of objects wants 'format: json'." if isinstance(row, list) else _LINE_HINT
        raise CorpusError(f"{place}: {kind_of(row)}, not an object.", hint)
    return row


_LINE_HINT = 'Each row is an object such as {"text": "..."}.'


def _check_doubled(source: str, columns: Sequence[str], place: str) -> None:
    """Raise `CorpusError` if a row has a wanted key twice: of two values, neither is the right one."""
    if all(source.count(json.dumps(column, ensure_ascii=False)) < 2 for column in columns):
        return
    keys: list[str] = []

    def remember(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys[:] = [key for key, _ in pairs]  # the outermost object comes last
        return dict(pairs)

    json.loads(source, object_pairs_hook=remember)
    for column in columns:
        if keys.count(column) > 1:
            raise CorpusError(f"{place}: the key '{column}' stands twice in the row.", "Keep one of them.")


@dataclass(frozen=True)
class _Found:
    """An object in a `.json` file."""

    value: dict[str, object]
    source: str
    line: int
    alone: bool
    """Outside an array."""


@dataclass
class _Text:
    """The part of a file that is being parsed, which grows at its end and is dropped from its beginning."""

    pieces: Iterator[str]
    text: str = ""
    start: int = 0
    line: int = 1
    ended: bool = False
    decoder: json.JSONDecoder = field(default_factory=json.JSONDecoder)

    def grow(self) -> bool:
        """Read about as much again as there is; False at the end."""
        wanted = max(_FIRST_PIECE, len(self.text) - self.start)
        waiting, length = [self.text[self.start :]], 0
        while length < wanted and not self.ended:
            piece = next(self.pieces, None)
            if piece is None:
                self.ended = True
            else:
                waiting.append(piece)
                length += len(piece)
        self.text, self.start = "".join(waiting), 0
        return length > 0

    def advance(self, end: int) -> None:
        """Drop all before `end`."""
        self.line += self.text.count("\n", self.start, end)
        self.start = end

    def next_character(self) -> str:
        """The next one that is no white space; '' at the end."""
        while True:
            end = self.start
            while end < len(self.text) and self.text[end] in _SPACE:
                end += 1
            self.advance(end)
            if end < len(self.text):
                return self.text[end]
            if not self.grow():
                return ""


def _objects(file: SourceFile, pieces: Iterator[str]) -> Iterator[_Found]:
    """All objects: elements of the one array, or values one after another."""
    text = _Text(pieces)
    name = shown(file.path)[1:-1]
    in_array = text.next_character() == "["
    if in_array:
        text.advance(text.start + 1)
        if text.next_character() == "]":
            text.advance(text.start + 1)
            _expect_end(text, name)
            return
    while in_array or text.next_character():
        text.next_character()
        line = text.line
        value, source = _value(text, file, name)
        if not isinstance(value, dict):
            raise CorpusError(f"{name}:{line}: {kind_of(value)}, not an object.", _LINE_HINT)
        yield _Found(value, source, line, not in_array)
        if in_array:
            mark = text.next_character()
            if mark not in (",", "]"):
                found = f"'{mark}'" if mark else "the end of the file"
                raise CorpusError(
                    f"{name}:{text.line}: not valid JSON: {found} where ',' or ']' is wanted.", "Is it complete?"
                )
            text.advance(text.start + 1)
            if mark == "]":
                _expect_end(text, name)
                return


def _expect_end(text: _Text, name: str) -> None:
    if text.next_character():
        raise CorpusError(f"{name}:{text.line}: something follows the end of the array.", "Give one array, or lines.")


def _value(text: _Text, file: SourceFile, name: str) -> tuple[object, str]:
    while True:
        try:
            value, end = text.decoder.raw_decode(text.text, text.start)
        except RecursionError as error:
            raise CorpusError(f"{name}:{text.line}: nested too deep to be a row.") from error
        except json.JSONDecodeError as error:
            size = len(text.text) - text.start
            may_go_on = error.pos > len(text.text) - _NEAR_THE_END or error.msg.startswith("Unterminated string")
            if size > encodings.LARGEST_ROW_BYTES:
                raise too_long(file.path, text.line) from error
            line = text.line + text.text.count("\n", text.start, error.pos)
            if may_go_on and text.grow():
                continue
            raise CorpusError(
                f"{name}:{line}: not valid JSON: {error.msg.removesuffix(' at')}.",
                "Is it complete? Plain text wants 'format: text'.",
            ) from error
        except ValueError as error:
            raise CorpusError(f"{name}:{text.line}: not valid JSON: {str(error).splitlines()[0]}.") from error
        source = text.text[text.start : end]
        text.advance(end)
        return value, source


def _list_inside(value: dict[str, object], name: str, columns: Sequence[str]) -> str | None:
    """The key of the one list of objects in an object that is no row itself; None if it is a row."""
    if any(column in value for column in columns):
        return None
    lists = [key for key, inside in value.items() if _as_rows(inside)]
    if len(lists) > 1:
        listed = " and ".join(f"'{key}'" for key in lists)
        raise CorpusError(
            f"{name}: the one object in it has several lists of objects: {listed}.", "Write the wanted list alone."
        )
    return lists[0] if lists else None


def _require_rows(value: dict[str, object], name: str, columns: Sequence[str]) -> None:
    """Raise `CorpusError` where the one object of a file holds columns, each with the values of all rows."""
    lists = [
        inside
        for inside in value.values()
        if isinstance(inside, list) or (isinstance(inside, dict) and all(key.isdigit() for key in inside))
    ]
    if lists and len(lists) == len(value) and len({len(inside) for inside in lists}) == 1:
        kept = [value[column] for column in columns if column in value]
        if any(not _as_rows(inside) for inside in kept):
            raise CorpusError(
                f"{name}: the one object in it holds whole columns, not a row.",
                "Write rows: of pandas, to_json(path, orient='records', lines=True).",
            )


def _as_rows(value: object) -> list[dict[str, object]]:
    """`value` if it is a list of objects, else an empty one."""
    if isinstance(value, list) and all(isinstance(row, dict) for row in value):
        return value
    return []


def _chain(first: _Found, second: _Found | None, rest: Iterator[_Found]) -> Iterator[_Found]:
    yield first
    if second is not None:
        yield second
    yield from rest
