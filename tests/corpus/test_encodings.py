"""Does text arrive as it was written in any encoding, and is what cannot be decoded named with its place?"""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from frostline.corpus import encodings
from frostline.corpus.encodings import decoded_chunks
from frostline.errors import CorpusError
from frostline.recipe import CorpusSettings
from tests.builders.corpora import open_small

LETTERS = "aé€😀\r\n ßж中\u2028"
MARKED = {"utf-8-sig": b"", "utf-16": b"", "utf-32": b"", "utf-16-be": codecs.BOM_UTF16_BE}


def text_of(path: Path, encoding: str = "auto") -> str:
    return "".join(decoded_chunks(path, encoding))


@given(text=st.text(alphabet=LETTERS, max_size=60), size=st.integers(1, 7), encoding=st.sampled_from(sorted(MARKED)))
def test_text_arrives_whole_whatever_its_encoding_and_the_size_of_a_read(
    tmp_path_factory: pytest.TempPathFactory, text: str, size: int, encoding: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(MARKED[encoding] + text.encode(encoding))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encodings, "CHUNK_BYTES", size)
        assert text_of(path) == text.replace("\r\n", "\n")


def test_a_named_encoding_is_used_strictly(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("a café – “so”".encode("cp1252"))
    assert text_of(path, "cp1252") == "a café – “so”"
    path.write_bytes(b"a\n\x81")
    with pytest.raises(CorpusError, match=r"text\.txt:2: not cp1252: byte 2 \(0x81\) cannot be decoded"):
        text_of(path, "cp1252")


def test_a_wrong_encoding_names_the_place_and_what_it_looks_like(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("one line\na caf\u00e9 in Paris, and a gar\u00e7on".encode("cp1252"))
    with pytest.raises(CorpusError, match=r"latin\.txt:2: not UTF-8: byte 14 \(0xe9\) cannot be decoded") as caught:
        open_small(path, tmp_path / "cache")
    assert "It looks like cp1252 ('" in (caught.value.hint or "")
    assert "café in" in (caught.value.hint or "")
    assert list(tmp_path.glob("cache/corpora/*")) == []


def test_a_wrong_byte_far_into_a_file_is_counted_from_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encodings, "CHUNK_BYTES", 10)
    path = tmp_path / "text.txt"
    path.write_bytes("é\n".encode() * 50 + b"a\xff")
    with pytest.raises(CorpusError, match=r"text\.txt:51: not UTF-8: byte 151 "):
        text_of(path)


def test_a_text_that_ends_inside_a_character_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"abc\xe2\x82")
    with pytest.raises(CorpusError, match=r"byte 3 \(0xe2\) cannot be decoded"):
        text_of(path)


def test_an_encoding_that_the_mark_contradicts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(codecs.BOM_UTF8 + b"text")
    assert text_of(path, "utf8") == "text"
    with pytest.raises(CorpusError, match="begins with the mark of UTF-8, but the recipe says 'encoding: cp1252'"):
        text_of(path, "cp1252")


def test_utf16_without_a_mark_is_not_text_until_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("one\ntwo".encode("utf-16-le"))
    with pytest.raises(CorpusError, match=r"text\.txt:1: not text: a NUL") as caught:
        text_of(path)
    assert "encoding: utf-16-le" in (caught.value.hint or "")
    assert text_of(path, "utf-16-le") == "one\ntwo"


def test_a_recipe_names_only_encodings_of_text() -> None:
    assert CorpusSettings(encoding="CP1252").encoding == "CP1252"
    for name in ("rot13", "base64", "klingon", "", "utf-8\0"):
        with pytest.raises(ValidationError, match="no encoding of text that Python knows"):
            CorpusSettings(encoding=name)
