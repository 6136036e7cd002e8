"""Are the rows of csv and tsv those of Python's csv module, and is everything that it would guess an error?"""

from __future__ import annotations

import csv
import io
import os
import random
import re
from pathlib import Path

import pytest

from frostline.corpus.files import inspect_file
from frostline.corpus.tables import column_names, read_rows
from frostline.corpus.tally import Tally, told
from frostline.errors import CorpusError
from tests.builders.corpora import open_small
from tests.builders.tokenizers import words

TABLES = int(os.environ.get("FROSTLINE_TABLES", "300"))
"""How many tables are generated for each property."""
DELIMITERS = {",": ".csv", ";": ".csv", "|": ".csv", "\t": ".tsv"}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32")


def texts_of(path: Path, content: str | bytes, column: str = "text", tally: Tally | None = None) -> list[object]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [row.values[0] for row in read_rows(inspect_file(path, "csv"), [column], tally)]


def test_quotes_delimiters_and_line_ends_inside_quotes_are_text(tmp_path: Path) -> None:
    found = texts_of(tmp_path / "t.csv", 'id,text\r\n1,"a ""b"", c\r\nd"\r\n\r\n2,5" pipe\n3,e')
    assert found == ['a "b", c\r\nd', '5" pipe', "e"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_all_line_ends_end_a_row(tmp_path: Path, end: str) -> None:
    assert texts_of(tmp_path / "t.csv", end.join(["id,text", "1,a", "", "2,b"])) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,text\n1,a\n2,b, c\n", r"t\.csv:3: 3 fields where the header has 2\. Is a comma part of the text\?"),
        ('id,text\n1,"a\nb"\n2,b, c\n', r"t\.csv:4: 3 fields"),
        ('id,text\n1,a\n2,"b\n3,c\n4,d\n', r"t\.csv:3: a quote in the row that begins here is never closed"),
        ('id,text\n1,"Yes" he said\n', r"t\.csv:2: text follows a closing quote"),
        ('id,text\n1,"so\n2,b\n3,"c" d\n', r"t\.csv:4: text follows a closing quote \(the row begins on line 2\)"),
        ("id, text\n1, a\n", r"t\.csv:1: the header has ' text', with spaces, not 'text'"),
        ("one river\nstone\n", r"t\.csv:1 has no column 'text': the first line, which is the header, is 'one river'"),
        ("id,texts\n1,a\n", r"t\.csv:1 has no column 'text'\. Did you mean 'texts'"),
        ("text,text\n1,a\n", r"t\.csv:1: the header has 2 columns 'text'"),
        ("id,text\n1,a\0\n", r"t\.csv:2: not text: a NUL character"),
        (b"name,text\nRen\xe9e,a\n", r"t\.csv:2: not UTF-8: byte 13 \(0xe9\) cannot be decoded"),
    ],
)
def test_what_is_not_csv_is_named_with_its_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(CorpusError) as caught:
        texts_of(tmp_path / "t.csv", content)
    sentence = f"{caught.value.message} {caught.value.hint}"
    assert re.search(message, sentence), sentence
    assert len(sentence.replace(str(tmp_path), "")) < 300


def test_rows_without_the_text_column_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,text,label\n" + "".join(f"{i}\n" if i % 5 == 0 else f"{i},{words([i])},x\n" for i in range(60)))
    corpus = open_small(path, tmp_path / "cache", length=4, held_out=1)
    assert (corpus.rows, corpus.left_out) == (60, {"without text": 12})
    assert told(corpus.tally) == "60 rows, 12 left out (12 without text, t.csv:2 first)"


def test_a_row_with_fewer_fields_is_read_and_remarked_on(tmp_path: Path) -> None:
    tally = Tally()
    assert texts_of(tmp_path / "t.csv", "id,text,label\n1,a,x\n2,b\n3,c\n", tally=tally) == ["a", "b", "c"]
    assert tally.remarks == {"with fewer fields than the header": 2}
    assert tally.first == {"with fewer fields than the header": "t.csv:3"}


@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_the_header_tells_the_delimiter(tmp_path: Path, delimiter: str) -> None:
    content = f"id{delimiter}text\n1{delimiter}a b\n"
    assert texts_of(tmp_path / "t.csv", content) == ["a b"]
    assert column_names(inspect_file(tmp_path / "t.csv", "csv")) == ("id", "text")


def test_a_first_line_of_excel_states_the_delimiter(tmp_path: Path) -> None:
    assert texts_of(tmp_path / "t.csv", "sep=;\r\nid;text\r\n1;a, b\r\n") == ["a, b"]
    with pytest.raises(CorpusError, match=r"t\.csv:3: 3 fields"):
        texts_of(tmp_path / "t.csv", "sep=;\r\nid;text\r\n1;a;b\r\n")


def test_a_table_of_excel_is_read_in_its_encoding(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("id;text\r\n1;Œuvre – “café”\r\n".encode("cp1252"))
    rows = list(read_rows(inspect_file(path, "csv", "cp1252"), ["text"]))
    assert [row.values for row in rows] == [("Œuvre – “café”",)]
    path.write_bytes("id\ttext\r\n1\tŒuvre\r\n".encode("utf-16"))
    assert [row.values for row in read_rows(inspect_file(path, "csv"), ["text"])] == [("Œuvre",)]


def test_a_field_longer_than_pythons_own_limit_is_read(tmp_path: Path) -> None:
    assert texts_of(tmp_path / "t.csv", "text\n" + "x" * 200_000) == ["x" * 200_000]


SPEECH = 'id\ttext\n1\ta\n2\t"so\n3\tb\n4\tc"\n5\td\n'


def test_a_speech_over_rows_of_a_tsv_is_text(tmp_path: Path) -> None:
    tally = Tally()
    assert texts_of(tmp_path / "t.tsv", SPEECH, tally=tally) == ["a", '"so', "b", 'c"', "d"]
    assert tally.remarks == {"quotes are text": 0}


def test_a_lone_quote_in_a_tsv_is_text(tmp_path: Path) -> None:
    assert texts_of(tmp_path / "t.tsv", 'note\ttext\n"so\ta\nx\tb\nsaid"\tc\n') == ["a", "b", "c"]
    assert texts_of(tmp_path / "t.tsv", 'id\ttext\n1\t"a" b\n') == ['"a" b']


def test_quotes_that_a_spreadsheet_wrote_into_a_tsv_are_quotes(tmp_path: Path) -> None:
    content = 'id\ttext\n1\t"a\tb"\n2\t"one\n\ntwo ""x"""\n3\tc\n'
    assert texts_of(tmp_path / "t.tsv", content) == ["a\tb", 'one\n\ntwo "x"', "c"]


def test_a_tsv_that_may_be_read_in_two_ways_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"t\.tsv:2: this may be one text in quotes or 2 rows"):
        texts_of(tmp_path / "t.tsv", 'text\n"one\ntwo"\n')
    with pytest.raises(CorpusError, match=r"t\.tsv:4: 1 of 2 fields, in a file whose quotes do not match"):
        texts_of(tmp_path / "t.tsv", 'id\ttext\n1\t"a" b\n2\t"one\ntwo"\n')


def random_text(draw: random.Random, letters: str) -> str:
    return "".join(draw.choice(letters) for _ in range(draw.randint(0, 6)))


def rows_or_sentence(path: Path, tally: Tally) -> list[tuple[object, ...]] | str:
    try:
        return [row.values for row in read_rows(inspect_file(path, "csv"), ["text"], tally)]
    except CorpusError as error:
        return f"{error.message} {error.hint}"


@pytest.mark.parametrize("written", ["by the csv module", "by hand"])
def test_rows_are_those_of_the_csv_module(tmp_path: Path, written: str) -> None:
    """Generated tables: whatever is read is read as by csv, row by row, and what is not read is one short sentence."""
    draw = random.Random(f"tables {written}")
    read = refused = 0
    for number in range(TABLES):
        delimiter = draw.choice(list(DELIMITERS))
        encoding, end = draw.choice(ENCODINGS), draw.choice(["\n", "\r\n", "\r"])
        letters = 'aé" \n\r' + delimiter if written == "by the csv module" else 'aaaé "'
        # A header of one column shows no delimiter: then it is what the file's name says.
        width = draw.randint(1 if delimiter in ",\t" else 2, 4)
        header = [f"c{column}" for column in range(width - 1)] + ["text"]
        rows = [[random_text(draw, letters) for _ in range(width)] for _ in range(draw.randint(1, 8))]
        for row in rows:
            if draw.random() < 0.1:
                row[:] = row[:-1] if draw.random() < 0.5 else [*row, "more"]
        if written == "by hand":
            content = end.join(delimiter.join(row) for row in [header, *rows])
        else:
            buffer = io.StringIO()
            csv.writer(buffer, delimiter=delimiter, lineterminator=end).writerows([header, *rows])
            content = buffer.getvalue()
        path = tmp_path / f"{number % 50}{DELIMITERS[delimiter]}"
        path.write_bytes(content.encode(encoding))
        lines = io.StringIO(content, newline="")
        expected = [row for row in csv.reader(lines, delimiter=delimiter) if row][1:]
        unquoted = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, quoting=csv.QUOTE_NONE)
        as_text = [row for row in unquoted if row][1:]
        tally = Tally()
        found = rows_or_sentence(path, tally)
        if isinstance(found, str):
            refused += 1
            assert len(found.replace(str(path), "t.csv")) < 300
            assert '"' in content or any(len(row) > width for row in expected), content
            continue
        read += 1
        wanted = as_text if "quotes are text" in tally.remarks else expected
        assert found == [(row[width - 1] if len(row) >= width else None,) for row in wanted], content
    assert read > TABLES // 10
    assert refused > 0
