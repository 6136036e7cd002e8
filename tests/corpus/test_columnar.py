"""Do parquet, arrow and saved data sets hand out all their rows, with lists and structs as Python has them?"""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from frostline.corpus.files import format_of, inspect_file
from frostline.corpus.tables import column_names, read_rows
from frostline.errors import CorpusError
from tests.builders.corpora import open_small
from tests.builders.tokenizers import words

TURNS = [[{"role": "user", "content": "a"}, {"role": "assistant", "content": None}], None, []]
TEXTS = ["é😀", None, "c"]


def values_of(path: Path, *columns: str) -> list[tuple[object, ...]]:
    return [row.values for row in read_rows(inspect_file(path, format_of(path)), columns)]


def write(path: Path, table: pa.Table) -> None:
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=2)
    elif path.suffix == ".feather":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)


@pytest.mark.parametrize("name", ["t.parquet", "t.feather", "t.arrow"])
@pytest.mark.parametrize("kind", ["string", "large_string", "dictionary", "string_view"])
def test_every_kind_of_text_is_text_beside_lists_of_structs(tmp_path: Path, name: str, kind: str) -> None:
    types = {"string": pa.string(), "large_string": pa.large_string(), "string_view": pa.string_view()}
    text = pa.array(TEXTS).dictionary_encode() if kind == "dictionary" else pa.array(TEXTS, types[kind])
    write(tmp_path / name, pa.table({"text": text, "messages": TURNS, "id": [1, 2, 3]}))
    assert values_of(tmp_path / name, "text", "messages") == list(zip(TEXTS, TURNS, strict=True))
    assert column_names(inspect_file(tmp_path / name, format_of(tmp_path / name))) == ("text", "messages", "id")
    places = [row.place for row in read_rows(inspect_file(tmp_path / name, format_of(tmp_path / name)), [])]
    assert [Path(place).name for place in places] == [f"{name}, row {row}" for row in (1, 2, 3)]


def test_categories_that_polars_wrote_are_text(tmp_path: Path) -> None:
    for kind in (pl.Categorical(), pl.Enum(["a", "b"])):
        pl.DataFrame({"text": ["a", "b", None]}, schema={"text": kind}).write_parquet(tmp_path / "t.parquet")
        assert values_of(tmp_path / "t.parquet", "text") == [("a",), ("b",), (None,)]


@pytest.mark.parametrize("values", [[b"a"], [1.5], [["a"]], [{"a": "b"}]])
def test_what_is_not_text_is_named_with_its_row(tmp_path: Path, values: list[object]) -> None:
    pl.DataFrame({"text": values}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(CorpusError, match=r"t\.parquet, row 1: column 'text' holds (bytes|a number|a list|an object)"):
        open_small(tmp_path / "t.parquet", tmp_path / "cache")


@pytest.mark.parametrize("name", ["t.feather", "t.arrow"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.9])
def test_an_arrow_file_that_is_cut_is_one_sentence(tmp_path: Path, name: str, kept: float) -> None:
    path = tmp_path / name
    write(path, pa.table({"text": [words([1] * 20)] * 500}))
    whole = path.read_bytes()
    path.write_bytes(whole[: max(20, int(len(whole) * kept))])
    with pytest.raises(CorpusError, match="cannot be read as arrow"):
        values_of(path, "text")


def test_a_data_set_saved_to_disk_is_read_by_its_splits(tmp_path: Path) -> None:
    train = datasets.Dataset.from_dict({"text": [words([number] * 9) for number in range(20)]})
    train.save_to_disk(tmp_path / "one", num_shards=3)
    datasets.DatasetDict({"train": train, "test": train.select([3, 1])}).save_to_disk(tmp_path / "split")
    for folder in ("one", "split"):
        assert open_small(tmp_path / folder, tmp_path / "cache", length=4, held_out=1).rows == 20
    corpus = open_small(tmp_path / "split", tmp_path / "cache", length=4, held_out=1, split="test")
    assert (corpus.rows, corpus.description) == (2, "split (a saved data set)")
    with pytest.raises(CorpusError, match="has no split 'tests'") as caught:
        open_small(tmp_path / "split", tmp_path / "cache", split="tests")
    assert caught.value.hint == "Did you mean 'test'? It has 'train', 'test'."


@pytest.mark.parametrize("content", ["", "[]", '{"_data_files": 1}', '{"_data_files": [{"filename": "../x.arrow"}]}'])
def test_a_saved_data_set_with_a_damaged_list_of_files_is_one_sentence(tmp_path: Path, content: str) -> None:
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "one")
    (tmp_path / "one" / "state.json").write_text(content)
    with pytest.raises(CorpusError, match=r"is not what 'save_to_disk' writes|names a file outside the folder"):
        open_small(tmp_path / "one", tmp_path / "cache")


def test_a_saved_data_set_that_lacks_a_file_names_it(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "one")
    state = json.loads((tmp_path / "one" / "state.json").read_text())
    (tmp_path / "one" / state["_data_files"][0]["filename"]).unlink()
    with pytest.raises(CorpusError, match=r"there is no file or folder .*arrow'"):
        open_small(tmp_path / "one", tmp_path / "cache")
