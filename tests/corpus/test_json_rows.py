"""Are the rows of jsonl and json those that the json module finds, and is everything else an error with its line?"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from frostline.corpus import encodings, json_rows
from frostline.corpus.files import inspect_file
from frostline.corpus.tables import column_names, read_rows
from frostline.corpus.tally import Tally
from frostline.errors import CorpusError
from tests.builders.corpora import open_small
from tests.builders.tokenizers import words

TABLES = int(os.environ.get("FROSTLINE_TABLES", "300"))
ROWS = [{"text": "a", "id": 1}, {"text": None, "id": 2}, {"id": 3}, {"text": ["b", {"c": 1.5}], "id": True}]
VALUES = [("a",), (None,), (None,), (["b", {"c": 1.5}],)]


def values_of(path: Path, content: str | bytes, column: str = "text", tally: Tally | None = None) -> list[object]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [row.values for row in read_rows(inspect_file(path, path.suffix[1:]), [column], tally)]


def rows_or_sentence(path: Path, content: bytes) -> list[object] | str:
    try:
        return values_of(path, content)
    except CorpusError as error:
        return f"{error.message} {error.hint}"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_are_rows_in_every_marked_encoding(tmp_path: Path, encoding: str, end: str) -> None:
    content = end.join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode(encoding)
    assert values_of(tmp_path / "t.jsonl", content) == VALUES
    assert values_of(tmp_path / "t.json", content) == VALUES
    assert column_names(inspect_file(tmp_path / "t.jsonl", "jsonl")) == ("text", "id")


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_is_its_objects(tmp_path: Path, indent: int | None) -> None:
    assert values_of(tmp_path / "t.json", json.dumps(ROWS, indent=indent)) == VALUES
    assert column_names(inspect_file(tmp_path / "t.json", "json")) == ("text", "id")


def test_one_object_with_one_list_of_objects_is_that_list_and_says_so(tmp_path: Path) -> None:
    tally = Tally()
    content = json.dumps({"version": 1, "tags": ["x"], "data": ROWS}, indent=1)
    assert values_of(tmp_path / "t.json", content, tally=tally) == VALUES
    assert tally.remarks == {"rows are the list 'data'": 0}
    assert column_names(inspect_file(tmp_path / "t.json", "json")) == ("text", "id")


def test_one_object_with_several_lists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="has several lists of objects: 'train' and 'test'"):
        values_of(tmp_path / "t.json", json.dumps({"train": ROWS, "test": ROWS}))


def test_one_object_with_the_column_is_a_row(tmp_path: Path) -> None:
    content = json.dumps({"messages": [{"role": "user", "content": "a"}]}, indent=1)
    assert values_of(tmp_path / "t.json", content, "messages") == [([{"role": "user", "content": "a"}],)]
    assert column_names(inspect_file(tmp_path / "t.json", "json")) == ("messages",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "a"},\n {"text": "b"}', r"t\.json:2: not valid JSON: the end of the file where ',' or '\]'"),
        ('[{"text": "a"},\n {"text": "b"', r"t\.json:2: not valid JSON"),
        ('[{"text": "a"}\n {"text": "b"}]', r"t\.json:2: not valid JSON: '\{' where ',' or '\]'"),
        ('[{"text": "a"}]\n[]', r"t\.json:2: something follows the end of the array"),
        ('[{"text": "a"},\n"b"]', r"t\.json:2: a string, not an object"),
        ('["a"]', r"t\.json:1: a string, not an object"),
        ("17", r"t\.json:1: a number, not an object"),
        ("a river\n", r"t\.json:1: not valid JSON: Expecting value"),
        ('{"text": "a"}\n{"text": "b}\n', r"t\.json:2: not valid JSON: Invalid control character"),
        ('[{"texts": "a"}]', r"t\.json:1 has no column 'text'"),
        ('[{"text": "a"},\n{"text": "b", "text": "c"}]', r"t\.json:2: the key 'text' stands twice"),
        ('[{"text": "a"},\n' + '{"a":' * 100_000, r"t\.json:2: nested too deep"),
        ("[]", r"t\.json holds no text"),
        ("[{}]", r"t\.json:1 has no column 'text'"),
    ],
)
def test_what_is_not_right_in_a_json_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(CorpusError, match=message):
        open_small(tmp_path / "t.json", tmp_path / "cache")


def test_an_array_under_the_name_of_jsonl_says_which_format_it_is(tmp_path: Path) -> None:
    for content in ('[{"text": "a"}]', '[\n{"text": "a"}]'):
        with pytest.raises(CorpusError) as caught:
            values_of(tmp_path / "t.jsonl", content)
        assert "'format: json'" in (caught.value.hint or "")


def test_keys_that_stand_twice_in_an_inner_object_are_not_the_rows(tmp_path: Path) -> None:
    content = '{"text": "the \\"text\\" of", "meta": {"text": 1, "text": 2}}'
    assert values_of(tmp_path / "t.jsonl", content) == [('the "text" of',)]


def test_rows_that_have_no_text_are_counted_with_their_first_place(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    rows: list[dict[str, object]] = [
        {"text": words([1] * 30)},
        {"text": " \n"},
        {"text": None},
        {"id": 1},
        {"text": ""},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = open_small(path, tmp_path / "cache", length=4, held_out=1)
    assert (corpus.rows, corpus.left_out) == (5, {"without text": 4})
    assert corpus.tally.first == {"without text": "t.jsonl:2"}


def test_an_array_larger_than_a_row_may_be_is_read_and_a_row_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encodings, "LARGEST_ROW_BYTES", 100)
    monkeypatch.setattr(encodings, "CHUNK_BYTES", 10)
    monkeypatch.setattr(json_rows, "_FIRST_PIECE", 20)
    assert len(values_of(tmp_path / "t.json", json.dumps([{"text": "x" * 20}] * 50))) == 50
    with pytest.raises(CorpusError, match=r"t\.json:1: the row is longer than"):
        values_of(tmp_path / "t.json", json.dumps([{"text": "x" * 500}]))


def test_rows_are_those_of_the_json_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Generated tables in all layouts, whole and cut: the rows of `json.loads`, or one sentence."""
    monkeypatch.setattr(json_rows, "_FIRST_PIECE", 16)
    draw = random.Random("json tables")
    read = refused = 0
    for number in range(TABLES):
        monkeypatch.setattr(encodings, "CHUNK_BYTES", draw.randint(1, 64))
        values: list[object] = ["a", 'q"uo\\te', "é😀\u2028\r\n", "", None, 1.5, -0.0, True, [1, ["b"]], {"text": "in"}]
        rows = [
            {key: draw.choice(values) for key in ("text", "id", "more")[: draw.randint(1, 3)]}
            for _ in range(draw.randint(1, 6))
        ]
        ascii_only = draw.random() < 0.5
        layout = draw.choice(["lines", "array", "pretty", "inside"])
        if layout == "lines":
            content = "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
        elif layout == "inside":
            content = json.dumps({"n": 1, "data": rows}, ensure_ascii=ascii_only, indent=draw.choice([None, 1]))
        else:
            content = json.dumps(rows, ensure_ascii=ascii_only, indent=2 if layout == "pretty" else None)
        cut = draw.random() < 0.3
        data = content.encode(draw.choice(["utf-8", "utf-16", "utf-8-sig"]))
        if cut:
            data = data[: draw.randrange(len(data))]
        path = tmp_path / f"{number % 50}.{'jsonl' if layout == 'lines' and draw.random() < 0.5 else 'json'}"
        found = rows_or_sentence(path, data)
        if isinstance(found, str):
            refused += 1
            assert len(found.replace(str(path), "t.json")) < 300
            assert cut, content
            continue
        read += 1
        expected = [(row.get("text"),) for row in rows]
        is_start = found == expected[: len(found)] and (layout == "lines" or not found)
        assert found == expected or (cut and is_start), content
    assert read > TABLES // 3
    assert refused > 0
