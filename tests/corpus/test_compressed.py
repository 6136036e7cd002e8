"""Is what is packed read as what it holds, and is what is cut, damaged or something else one sentence?"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from frostline.corpus import encodings
from frostline.corpus.encodings import decoded_chunks
from frostline.corpus.files import format_of, inspect_file
from frostline.corpus.tables import read_rows
from frostline.errors import CorpusError
from tests.builders.corpora import open_small, some_ids, tokens_of
from tests.builders.tokenizers import words

PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
TEXTS = ["a", 'é, "b"', "c\nd"]
TABLES = {
    ".jsonl": "".join(json.dumps({"text": text}) + "\n" for text in TEXTS),
    ".json": json.dumps([{"text": text} for text in TEXTS]),
    ".csv": 'text\na\n"é, ""b"""\n"c\nd"\n',
}


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("kind", TABLES)
def test_packed_tables_are_read_by_the_ending_before(tmp_path: Path, packed: str, kind: str) -> None:
    path = tmp_path / f"t{kind}{packed}"
    path.write_bytes(PACK[packed](TABLES[kind].encode()))
    assert format_of(path) == kind[1:]
    rows = list(read_rows(inspect_file(path, kind[1:]), ["text"]))
    assert [row.values[0] for row in rows] == TEXTS
    assert 0 < rows[-1].bytes_read <= path.stat().st_size


@pytest.mark.parametrize("packed", PACK)
def test_packed_text_in_several_parts_is_one_text(tmp_path: Path, packed: str) -> None:
    ids = some_ids(64)
    text = words(ids).encode()
    path = tmp_path / f"t.txt{packed}"
    path.write_bytes(PACK[packed](text[:50]) + PACK[packed](text[50:]))
    assert tokens_of(open_small(path, tmp_path / "cache", length=4, held_out=1)) == ids


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.999])
def test_what_is_cut_is_one_sentence(tmp_path: Path, packed: str, kept: float) -> None:
    path = tmp_path / f"t.txt{packed}"
    whole = PACK[packed](words(some_ids(20_000)).encode())
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(CorpusError, match=r"ends in the middle of its compressed data|cannot be unpacked"):
        open_small(path, tmp_path / "cache")


@pytest.mark.parametrize("packed", PACK)
def test_what_is_damaged_is_one_sentence(tmp_path: Path, packed: str) -> None:
    path = tmp_path / f"t.txt{packed}"
    data = bytearray(PACK[packed](words(some_ids(20_000)).encode()))
    data[len(data) // 2 : len(data) // 2 + 40] = b"\x5a" * 40
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=r"cannot be unpacked|ends in the middle"):
        open_small(path, tmp_path / "cache")


def test_a_name_that_promises_what_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.txt.gz").write_text("plain text")
    with pytest.raises(CorpusError, match=r"t\.txt\.gz' is not gzip as its name says, but something else"):
        open_small(tmp_path / "t.txt.gz", tmp_path / "cache")


def test_packed_bytes_under_a_plain_name_are_unpacked(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(gzip.compress(b"plain text"))
    assert "".join(decoded_chunks(tmp_path / "t.txt")) == "plain text"


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_a_line_that_unpacks_to_too_much_is_refused_before_it_fills_the_memory(
    tmp_path: Path, packed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encodings, "LARGEST_ROW_BYTES", 1 << 20)
    for kind in ("jsonl", "csv", "json"):
        path = tmp_path / f"t.{kind}{packed}"
        path.write_bytes(PACK[packed](b"{" + b" " * (5 << 20)))
        with pytest.raises(CorpusError, match=rf"t\.{kind}.*:1: (the row is longer than|not valid JSON)"):
            list(read_rows(inspect_file(path, kind), ["text"]))


def archive_of(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as made:
            made.writestr("a.txt", "text")
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            tar.addfile(tarfile.TarInfo("a.txt"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("t.csv", archive_of("zip"), "a zip archive"),
        ("t.txt", b"%PDF-1.7\n", "a PDF document"),
        ("t.tar.gz", archive_of("tar"), "a tar archive"),
        ("t.jsonl", b"PAR1", "a parquet file"),
        ("t.jsonl", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    ],
    ids=["zip", "pdf", "tar", "parquet", "pointer"],  # by name: gzip writes the time of day into its content
)
def test_documents_and_archives_are_no_text(tmp_path: Path, name: str, content: bytes, found: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=f"is {found}.*, not text or a table"):
        open_small(tmp_path / name, tmp_path / "cache")
