"""Do rows of jsonl, csv and parquet arrive in order, and does a bad row say where it is?"""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from frostline.corpus import encodings
from frostline.corpus.files import inspect_file
from frostline.corpus.tables import read_rows
from frostline.errors import CorpusError
from tests.builders.corpora import open_small, some_ids, tokens_of
from tests.builders.tokenizers import WORDS, word_tokenizer, words

FORMATS = ("jsonl", "csv", "parquet")


def write_table(path: Path, rows: dict[str, list[str | None]]) -> Path:
    frame = pl.DataFrame(rows, schema=dict.fromkeys(rows, pl.String))
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    elif path.suffix == ".csv":
        frame.write_csv(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in frame.iter_rows(named=True)))
    return path


def values_of(path: Path, *columns: str) -> list[tuple[object, ...]]:
    return [row.values for row in read_rows(inspect_file(path, path.suffix[1:]), columns)]


@pytest.mark.parametrize("file_format", FORMATS)
def test_rows_come_in_order_with_awkward_text_intact(tmp_path: Path, file_format: str) -> None:
    texts = ['a "quoted", text', "two\nlines", "é€😀", "=1+1", *(f"row {number}" for number in range(1000))]
    path = write_table(tmp_path / f"table.{file_format}", {"id": ["7"] * len(texts), "text": list(texts)})
    assert values_of(path, "text") == [(text,) for text in texts]
    assert values_of(path, "text", "id")[:2] == [(texts[0], "7"), (texts[1], "7")]


@pytest.mark.parametrize("file_format", FORMATS)
def test_rows_are_documents_separated_by_the_end_of_text_token(tmp_path: Path, file_format: str) -> None:
    ids = some_ids(40)
    path = write_table(tmp_path / f"table.{file_format}", {"body": [words(ids[:20]), None, "", words(ids[20:])]})
    corpus = open_small(path, tmp_path / "cache", length=4, held_out=1, column="body")
    assert corpus.tokens == 41
    assert tokens_of(corpus) == [*ids[:20], WORDS + 3, *ids[20:]][:40]


def test_without_an_end_of_text_token_documents_follow_each_other(tmp_path: Path) -> None:
    path = write_table(tmp_path / "table.jsonl", {"text": [words([1] * 8), words([2] * 8)]})
    corpus = open_small(path, tmp_path / "cache", length=4, held_out=1, tokenizer=word_tokenizer(end=False))
    assert tokens_of(corpus) == [1] * 8 + [2] * 8


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_row_of_a_million_characters_is_read(tmp_path: Path, file_format: str) -> None:
    text = "w1 " * 333_334
    path = write_table(tmp_path / f"table.{file_format}", {"text": [text]})
    assert values_of(path, "text") == [(text,)]
    assert open_small(path, tmp_path / "cache").tokens == 333_334


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_missing_column_names_the_nearest_and_lists_the_others(tmp_path: Path, file_format: str) -> None:
    path = write_table(tmp_path / f"table.{file_format}", {"texts": ["a"], "id": ["1"]})
    with pytest.raises(CorpusError, match="has no column 'text'") as caught:
        open_small(path, tmp_path / "cache")
    assert caught.value.hint == (
        "Did you mean 'texts'? It has 'texts', 'id'. "
        "Say which is read: 'column: NAME', or 'prompt: NAME' and 'response: NAME'."
    )


def test_a_column_that_is_not_text_is_named_with_its_row(tmp_path: Path) -> None:
    pl.DataFrame({"text": [1, 2], "body": ["a", "b"]}).write_parquet(tmp_path / "table.parquet")
    with pytest.raises(CorpusError, match=r"table\.parquet, row 1: column 'text' holds a number, not text"):
        open_small(tmp_path / "table.parquet", tmp_path / "cache")


def test_tabs_separate_the_columns_of_a_tsv_file(tmp_path: Path) -> None:
    (tmp_path / "table.tsv").write_text("id\ttext\n1\tone, two\n")
    rows = read_rows(inspect_file(tmp_path / "table.tsv", "csv"), ["text"])
    assert [row.values for row in rows] == [("one, two",)]


def test_the_format_can_be_named_where_the_ending_misleads(tmp_path: Path) -> None:
    path = write_table(tmp_path / "table.jsonl", {"text": [words([1] * 40)]})
    moved = path.rename(tmp_path / "table.txt")
    assert open_small(moved, tmp_path / "cache", format="jsonl").tokens == 40


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "a"', r"table\.jsonl:2: not valid JSON: Expecting ',' delimiter"),
        (b'["a"]', r"table\.jsonl:2: a list, not an object"),
        (b"17", r"table\.jsonl:2: a number, not an object"),
        (b'{"text": 17}', r"table\.jsonl:2: column 'text' holds a number, not text"),
        (b'{"text": ["a"]}', r"table\.jsonl:2: column 'text' holds a list, not text"),
        (b'{"text": "a", "b": 1, "text": "c"}', r"table\.jsonl:2: the key 'text' stands twice"),
        (b'{"text": "a\xff"}', r"table\.jsonl:2: not UTF-8: byte 28 \(0xff\)"),
        (b'{"text": "\\ud800"}', r"table\.jsonl:2: column 'text' holds half a surrogate pair at character 0"),
        (b'{"a":' * 100_000, r"table\.jsonl:2: nested too deep to be a row"),
        (b'{"text": ' + b"1" * 5000 + b"}", r"table\.jsonl:2: a number has more digits"),
        (b"\0\0\0", r"table\.jsonl:2: not text: a NUL character"),
    ],
)
def test_a_bad_line_of_jsonl_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "table.jsonl"
    path.write_bytes(b'{"text": "good"}\n' + line + b"\n")
    with pytest.raises(CorpusError, match=message):
        open_small(path, tmp_path / "cache")
    assert not list((tmp_path / "cache" / "corpora").glob("*"))


def test_a_line_too_long_for_a_row_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encodings, "LARGEST_ROW_BYTES", 100)
    path = tmp_path / "table.jsonl"
    path.write_text('{"text": "' + "x" * 200 + '"}\n')
    with pytest.raises(CorpusError, match=r"table\.jsonl:1: the row is longer than"):
        values_of(path, "text")


def test_blank_lines_and_a_byte_order_mark_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n  \n{"text": "b"}')
    assert values_of(path, "text") == [("a",), ("b",)]


def test_a_table_without_text_is_an_error(tmp_path: Path) -> None:
    path = write_table(tmp_path / "table.csv", {"text": [None, None]})
    with pytest.raises(CorpusError, match=r"table\.csv holds no text"):
        open_small(path, tmp_path / "cache")


def test_truncated_parquet_is_one_sentence(tmp_path: Path) -> None:
    path = write_table(tmp_path / "table.parquet", {"text": ["a b c"] * 1000})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorpusError, match=r"table\.parquet' cannot be read as parquet: .*PAR1"):
        open_small(path, tmp_path / "cache")
    assert not list((tmp_path / "cache" / "corpora").glob("*"))


def test_parquet_with_damaged_pages_is_one_sentence(tmp_path: Path) -> None:
    path = write_table(tmp_path / "table.parquet", {"text": [f"text {number}" for number in range(5000)]})
    data = bytearray(path.read_bytes())
    data[200:1200] = b"\x77" * 1000
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=r"table\.parquet' cannot be read as parquet"):
        values_of(path, "text")


def test_text_under_the_name_of_parquet_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("just text, and enough of it")
    with pytest.raises(CorpusError, match="cannot be read as parquet") as caught:
        open_small(tmp_path / "text.parquet", tmp_path / "cache")
    assert "does 'format' say what it is?" in caught.value.hint


def test_a_star_in_a_file_name_is_just_a_star(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", {"text": ["wrong"]})
    path = write_table(tmp_path / "a*.csv", {"text": ["right"]})
    assert values_of(path, "text") == [("right",)]


def test_bytes_read_grow_to_the_size_of_the_file(tmp_path: Path) -> None:
    for file_format in FORMATS:
        path = write_table(tmp_path / f"table.{file_format}", {"text": [f"row {number}" for number in range(500)]})
        read = [row.bytes_read for row in read_rows(inspect_file(path, file_format), ["text"])]
        assert read == sorted(read)
        assert 0 < read[-1] <= path.stat().st_size


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("rows.txt", b'\n{"text": "a"}\n', "begins as JSON"),
        ("rows", b'[\n  {"text": "a"}]', "begins as JSON"),
        ("page.html", b"<!DOCTYPE html><html></html>", "HTML or XML"),
        ("feed.xml", b"\xef\xbb\xbf<?xml version='1.0'?><a/>", "HTML or XML"),
        ("picture.txt", b"\x89PNG\r\n\x1a\n\0", "is a picture"),
        ("array.npy", b"\x93NUMPY\x01\0v\0", "is an array of numpy"),
        ("letter.rtf", b"{\\rtf1\\ansi dear}", "rich text"),
        ("columns.json", b'{"id": [1, 2], "text": ["a", "b"]}', "whole columns"),
        ("indexed.json", b'{"id": {"0": 1}, "text": {"0": "a"}}', "whole columns"),
        ("pretty.jsonl", b'{\n "text": "a"\n}\n', "several lines.*'format: json'"),
        ("joined.jsonl", b'{"text": "a"}{"text": "b"}\n', "several on one.*'format: json'"),
        ("digits.jsonl", b'{"text": "a", "id": ' + b"9" * 5000 + b"}\n", "digits.jsonl:1: a number has more digits"),
    ],
)
def test_what_only_looks_like_text_or_rows_is_refused(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=sentence):
        open_small(tmp_path / name, tmp_path / "cache")


def test_a_text_that_begins_with_a_brace_is_text_where_the_recipe_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text('{"text": 1}\n' + words(some_ids(60)), encoding="utf-8")
    assert open_small(tmp_path / "a.txt", tmp_path / "cache", format="text").tokens >= 60
