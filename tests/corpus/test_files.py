"""Does everything that can be wrong with a file end in one sentence, and does text arrive as it was written?"""

from __future__ import annotations

import gzip
import json
import os
import socket
from pathlib import Path

import pytest

from frostline.corpus.files import check_unchanged, find_files, inspect_file, status_of
from frostline.errors import CorpusError
from tests.builders.corpora import open_small, some_ids, tokens_of, write_words
from tests.builders.tokenizers import END, WORDS, word_tokenizer, words


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.dat"
    path.write_bytes(b"PNG\0\0\1")
    with pytest.raises(CorpusError, match=r"picture\.dat:1: not text: a NUL character"):
        open_small(path, tmp_path / "cache")


def test_a_missing_file_names_a_similar_one(tmp_path: Path) -> None:
    (tmp_path / "moby-dick.txt").write_text("whale")
    with pytest.raises(CorpusError, match="there is no file or folder") as caught:
        open_small(tmp_path / "mobydick.txt", tmp_path / "cache")
    assert caught.value.hint == "Did you mean 'moby-dick.txt'?"
    assert not (tmp_path / "cache").exists()


def test_a_path_through_a_file_is_missing_too(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("text")
    with pytest.raises(CorpusError, match="there is no file or folder"):
        status_of(tmp_path / "file.txt" / "more.txt")


def test_an_impossible_path_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is not a path"):
        open_small("no\0path", tmp_path)
    with pytest.raises(CorpusError, match="cannot be read: file name too long"):
        open_small("x" * 5000, tmp_path)


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    with pytest.raises(CorpusError, match=r"empty\.txt' is empty\."):
        open_small(tmp_path / "empty.txt", tmp_path / "cache")


def test_a_file_of_white_space_holds_no_text(tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text(" \n\n ")
    with pytest.raises(CorpusError, match=r"blank\.txt holds no text\."):
        open_small(tmp_path / "blank.txt", tmp_path / "cache")


def test_a_named_pipe_a_socket_and_a_device_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.txt")
        for path, kind in (("pipe.txt", "a named pipe"), ("socket.txt", "a socket"), ("/dev/null", "a device")):
            with pytest.raises(CorpusError, match=f"is {kind}, not a regular file"):
                open_small(path, tmp_path / "cache")


def test_a_circle_of_links_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to(tmp_path / "b.txt")
    (tmp_path / "b.txt").symlink_to(tmp_path / "a.txt")
    with pytest.raises(CorpusError, match="is a symbolic link that leads back to itself"):
        open_small(tmp_path / "a.txt", tmp_path / "cache")


def test_a_link_to_nothing_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to(tmp_path / "gone.txt")
    with pytest.raises(CorpusError, match="is a symbolic link to nothing"):
        open_small(tmp_path / "a.txt", tmp_path / "cache")


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path = write_words(tmp_path / "text.txt", [1, 2, 3])
    file = inspect_file(path, "text")
    check_unchanged(file)
    path.write_text("longer than it was before")
    with pytest.raises(CorpusError, match="changed while it was being read"):
        check_unchanged(file)


def test_an_unknown_ending_is_read_as_text(tmp_path: Path) -> None:
    ids = some_ids(64)
    assert tokens_of(open_small(write_words(tmp_path / "notes.xyz", ids), tmp_path / "cache")) == ids


def test_a_folder_is_read_in_the_order_of_its_paths_with_separators(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    (folder / "b" / "deep").mkdir(parents=True)
    write_words(folder / "c.txt", [5] * 7)
    write_words(folder / "a.MD", [1] * 7)
    write_words(folder / "b" / "z.rst", [4] * 7)
    write_words(folder / "b" / "deep" / "x.txt", [3] * 7)
    (folder / "b" / "empty.txt").touch()
    write_words(folder / "picture.png", [9] * 7)
    (folder / ".hidden.txt").write_bytes(b"\0")
    end = WORDS + 3
    corpus = open_small(folder, tmp_path / "cache", length=3, held_out=1)
    expected = [*[1] * 7, end, *[3] * 7, end, *[4] * 7, end, *[5] * 7]
    assert corpus.tokens == len(expected)
    assert tokens_of(corpus) == expected[: len(expected) // 3 * 3]
    assert corpus.description == "texts (5 files; 1 file of other formats not read)"


def test_links_inside_a_folder_are_not_followed(tmp_path: Path) -> None:
    outside = write_words(tmp_path / "outside.txt", [9])
    folder = tmp_path / "texts"
    folder.mkdir()
    inside = write_words(folder / "inside.txt", [1])
    (folder / "linked.txt").symlink_to(outside)
    (folder / "circle").symlink_to(folder)
    found = find_files(folder, "text")
    assert (found.paths, found.links) == ([inside], 2)


def test_a_folder_without_text_says_what_it_has(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "data.parquet").write_bytes(b"PAR1")
    (folder / "link.txt").symlink_to(tmp_path)
    with pytest.raises(CorpusError, match=r"has no text files .*; 1 symbolic link is not followed") as caught:
        open_small(folder, tmp_path / "cache", format="text")
    assert caught.value.hint == "It has parquet files: say 'format: parquet'."


def test_a_folder_of_empty_files_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").touch()
    with pytest.raises(CorpusError, match=r"every file of texts \(1 file\) is empty"):
        open_small(folder, tmp_path / "cache")


def test_a_pipe_inside_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    os.mkfifo(folder / "pipe.txt")
    with pytest.raises(CorpusError, match=r"pipe\.txt' is a named pipe"):
        open_small(folder, tmp_path / "cache")


def test_a_file_name_that_is_not_unicode_can_be_read_and_shown(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    name = os.fsencode(folder) + b"/caf\xe9.txt"
    with open(name, "wb") as file:  # noqa: PTH123  # a path of bytes
        file.write(b"\xff")
    with pytest.raises(CorpusError) as caught:
        open_small(folder, tmp_path / "cache")
    assert r"caf\xe9.txt:1: not UTF-8" in caught.value.message
    caught.value.message.encode()


def test_another_checksum_than_the_recipes_is_an_error(tmp_path: Path) -> None:
    path = write_words(tmp_path / "text.txt", some_ids(64))
    true_sum = inspect_file(path, "text").sha256
    assert open_small(path, tmp_path / "cache", sha256=true_sum.upper()).sha256 == true_sum
    with pytest.raises(CorpusError, match=f"has the SHA-256 {true_sum}, not {'0' * 64}"):
        open_small(path, tmp_path / "other", sha256="0" * 64)
    assert not (tmp_path / "other").exists()


def test_the_end_of_text_token_may_stand_in_a_text_by_name(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(words([1, 2]) + f" {END} " + words([3] * 30))
    plain = word_tokenizer(chat_template=None)
    corpus = open_small(path, tmp_path / "cache", length=3, held_out=1, tokenizer=plain)
    assert tokens_of(corpus)[:4] == [1, 2, WORDS + 3, 3]


def test_a_token_that_ends_turns_is_text_in_a_text(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(words([1, 2]) + f" {END} " + words([3] * 30))
    corpus = open_small(path, tmp_path / "cache", length=3, held_out=1)
    assert WORDS + 3 not in tokens_of(corpus)


def test_a_folder_of_one_known_format_is_read_as_that(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "a.jsonl").write_text(json.dumps({"text": words(some_ids(20))}))
    (folder / "b.ndjson.gz").write_bytes(gzip.compress(b'{"text": "w1"}\n{"text": null}\n'))
    (folder / "b.link.jsonl").symlink_to(folder / "a.jsonl")
    corpus = open_small(folder, tmp_path / "cache", length=4, held_out=1)
    assert (corpus.rows, corpus.left_out) == (3, {"without text": 1})
    assert corpus.description == "rows (2 files; 1 symbolic link not followed)"


def test_a_folder_of_several_formats_asks_which(tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    write_words(folder / "a.txt", some_ids(20))
    (folder / "b.jsonl").write_text('{"text": "w1"}\n')
    with pytest.raises(CorpusError, match=r"files of several formats: 1 jsonl and 1 text") as caught:
        open_small(folder, tmp_path / "cache")
    assert caught.value.hint == "Say 'format: jsonl' or 'format: text'."
    corpus = open_small(folder, tmp_path / "cache", length=4, held_out=1, format="text")
    assert corpus.description == "mixed (1 file; 1 file of other formats not read)"
