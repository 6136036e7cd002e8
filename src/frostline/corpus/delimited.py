"""What are the rows of a csv or tsv file? Those of Python's csv module, and an error wherever that would guess.

The delimiter is what the header is written with: a comma, else a semicolon, tab or bar; a first line `sep=;` decides.

Tab-separated text mostly has no quotes: a `"` is a letter of a speech there. But spreadsheets quote what holds line
ends. So quotes are quotes in a tab-separated file if all of them are well-formed and none of them swallows lines that
are rows of their own; else they are text, which is remarked on.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from frostline.corpus.encodings import LARGEST_ROW_BYTES, text_lines
from frostline.corpus.files import SourceFile, is_tab_separated
from frostline.corpus.places import shown
from frostline.corpus.rows import Row, missing_column
from frostline.corpus.tally import Tally
from frostline.errors import CorpusError

_DELIMITERS = (",", ";", "\t", "|")
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_SHOWN_CHARACTERS = 40
FEWER_FIELDS = "with fewer fields than the header"


class MalformedError(CorpusError):
    """Quotes that the csv module cannot make sense of."""


@dataclass(frozen=True)
class _Layout:
    """How a file is written."""

    delimiter: str
    quoted: bool
    """Quotes are quotes; else they are text."""
    lines_before: int
    """1 where a line `sep=;` stands before the header."""
    header: tuple[str, ...]


def read_delimited(file: SourceFile, columns: Sequence[str], tally: Tally) -> Iterator[Row]:
    """The rows of a csv or tsv file. Raises `CorpusError` with file and line of what is not as it should be."""
    layout = _layout(file, columns)
    name = shown(file.path)[1:-1]
    positions = [_position(layout, column, f"{name}:{layout.lines_before + 1}") for column in columns]
    width = len(layout.header)
    if not layout.quoted:
        tally.remark("quotes are text", name, rows=0)
    with text_lines(file.path, file.encoding, "") as text:
        records = _records(name, text.lines, layout.delimiter, layout.lines_before, quoted=layout.quoted)
        next(records, None)
        for line, fields in records:
            count, place = len(fields), f"{name}:{line}"
            if count > width:
                raise _too_many(place, count, width, layout.delimiter)
            values = tuple(fields[position] if position < count else None for position in positions)
            if count < width and not layout.quoted:
                raise CorpusError(
                    f"{place}: {count} of {width} fields, in a file whose quotes do not match.",
                    "Is it the rest of a text with a line end? Put that in quotes, or write jsonl.",
                )
            if count < width and None not in values:
                tally.remark(FEWER_FIELDS, place)
            yield Row(values, place, text.stream.position())


def delimited_names(file: SourceFile) -> tuple[str, ...]:
    """The columns of the header."""
    return _layout(file, ()).header


def _records(
    name: str, lines: Iterator[str], delimiter: str, lines_before: int, *, quoted: bool
) -> Iterator[tuple[int, list[str]]]:
    """Each record, the header among them, and the line on which it begins; blank lines are none."""
    csv.field_size_limit(max(csv.field_size_limit(), LARGEST_ROW_BYTES))
    for _ in range(lines_before):
        next(lines, None)
    if quoted:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
    else:
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    line = 1 + lines_before
    try:
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + lines_before + 1
    except csv.Error as error:
        raise _malformed(name, str(error), line, reader.line_num + lines_before) from error


def _malformed(name: str, reason: str, began: int, line: int) -> MalformedError:
    """What the csv module found wrong in the record that `began` on a line, at a later `line` or the same."""
    if "unexpected end of data" in reason:
        return MalformedError(
            f"{name}:{began}: a quote in the row that begins here is never closed.",
            'Close it, or write a quote that is text twice: "a 5"" pipe".',
        )
    if "expected after" in reason:
        row = f" (the row begins on line {began:,})" if began != line else ""
        return MalformedError(
            f"{name}:{line}: text follows a closing quote{row}.",
            'Write a quote that is text twice and put the whole field in quotes: """Yes"" he said".',
        )
    if "field larger" in reason:
        return MalformedError(
            f"{name}:{began}: a field is longer than {LARGEST_ROW_BYTES >> 20} MiB.", "Split the row."
        )
    return MalformedError(f"{name}:{line}: not a row of csv: {reason}.")


def _layout(file: SourceFile, columns: Sequence[str]) -> _Layout:
    """How `file` is written; the delimiter is the first one that makes a header with all `columns`."""
    with text_lines(file.path, file.encoding, "") as text:
        stated = _SEPARATOR_LINE.fullmatch(next(text.lines, ""))
    candidates: Sequence[str] = _DELIMITERS
    if stated is not None:
        candidates = (stated[1],)
    elif is_tab_separated(file.path):
        candidates = ("\t", *(other for other in _DELIMITERS if other != "\t"))
    before = int(stated is not None)
    headers = {delimiter: _header(file, delimiter, before) for delimiter in candidates}
    fitting = [delimiter for delimiter, header in headers.items() if columns and set(columns) <= set(header)]
    delimiter = fitting[0] if fitting else max(headers, key=lambda candidate: len(headers[candidate]))
    if delimiter != "\t":
        return _Layout(delimiter, True, before, headers[delimiter])
    quoted = _quotes_are_quotes(file, before, len(headers["\t"]))
    return _Layout("\t", quoted, before, headers["\t"] if quoted else _header(file, "\t", before, quoted=False))


def _header(file: SourceFile, delimiter: str, lines_before: int, *, quoted: bool = True) -> tuple[str, ...]:
    """The header under a delimiter; without quotes where its quotes do not match, which reading then tells."""
    name = shown(file.path)[1:-1]
    with text_lines(file.path, file.encoding, "") as text, suppress(MalformedError):
        records = _records(name, text.lines, delimiter, lines_before, quoted=quoted)
        return tuple(next(records, (0, []))[1])
    return _header(file, delimiter, lines_before, quoted=False)


def _quotes_are_quotes(file: SourceFile, lines_before: int, width: int) -> bool:
    """Whether the quotes of a tab-separated file enclose fields; else they are text. Raises if nothing tells."""
    name = shown(file.path)[1:-1]
    swallowed: list[str] = []

    def noted(lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            swallowed.append(line)
            yield line

    with text_lines(file.path, file.encoding, "") as text, suppress(MalformedError):
        for line, _ in _records(name, noted(text.lines), "\t", lines_before, quoted=True):
            lines = [line for line in swallowed if line.strip("\r\n")]
            if len(lines) > 1 and line > 1 + lines_before and all(one.count("\t") + 1 == width for one in lines):
                if width > 1:
                    return False
                raise CorpusError(
                    f"{name}:{line}: this may be one text in quotes or {len(lines)} rows with quotes in their text.",
                    "Write it as csv or as jsonl.",
                )
            swallowed.clear()
        return True
    return False


def _position(layout: _Layout, column: str, place: str) -> int:
    found = [number for number, name in enumerate(layout.header) if name == column]
    if len(found) == 1:
        return found[0]
    if found:
        raise CorpusError(f"{place}: the header has {len(found)} columns '{column}'.", "Give each its own name.")
    spaced = [name for name in layout.header if name.strip() == column]
    if len(spaced) == 1:
        raise CorpusError(
            f"{place}: the header has '{spaced[0]}', with spaces, not '{column}'.",
            f"Take out the spaces beside each {_named(layout.delimiter)}, or name it with them.",
        )
    if len(layout.header) == 1:
        first = layout.header[0]
        start = first[:_SHOWN_CHARACTERS] + ("..." if len(first) > _SHOWN_CHARACTERS else "")
        raise CorpusError(
            f"{place} has no column '{column}': the first line, which is the header, is '{start}'.",
            f"If that is text already, write a first line '{column}' above it; if it is a name, say 'column: NAME'.",
        )
    raise missing_column(place, column, layout.header)


def _named(delimiter: str) -> str:
    return {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}.get(delimiter, f"'{delimiter}'")


def _too_many(place: str, count: int, width: int, delimiter: str) -> CorpusError:
    way_out = "Write it as jsonl." if delimiter == "\t" else "Put the text in quotes."
    return CorpusError(
        f"{place}: {count} fields where the header has {width}.",
        f"Is a {_named(delimiter)} part of the text? {way_out}",
    )
