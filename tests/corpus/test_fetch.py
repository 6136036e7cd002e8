"""Is a fetched corpus exactly the one that the recipe names, and is nothing left of a fetch that failed?"""

from __future__ import annotations

import errno
import hashlib
import http.client
import io
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from types import TracebackType

import pytest

from frostline.corpus import fetch as fetch_module
from frostline.corpus.fetch import fetch, shown_address
from frostline.errors import CacheError, CorpusError
from tests.builders.corpora import open_small, some_ids, tokens_of
from tests.builders.tokenizers import words

ADDRESS = "https://example.org/books/whale.txt"
TEXT = words(some_ids(64)).encode()
SHA256 = hashlib.sha256(TEXT).hexdigest()


class Answer:
    """What a server sends back: `body`, said to be `length` bytes long; it breaks off after `breaks_after` reads."""

    def __init__(self, body: bytes, length: int | None = None, breaks_after: int | None = None) -> None:
        self._body = io.BytesIO(body)
        self._reads_left = breaks_after
        self.headers = {} if length is None else {"Content-Length": str(length)}

    def read(self, size: int) -> bytes:
        if self._reads_left is not None:
            if self._reads_left == 0:
                raise http.client.IncompleteRead(b"", 10)
            self._reads_left -= 1
        return self._body.read(size)

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._body.close()


class Server:
    """Stands for the network: counts requests and gives one answer, or raises."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[str] = []
        self.answer: Answer | Exception = Answer(TEXT, len(TEXT))
        monkeypatch.setattr(fetch_module, "_open", self._open)

    def _open(self, address: str) -> Answer:
        self.requests.append(address)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


def assert_nothing_kept(cache: Path) -> None:
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_a_corpus_is_fetched_once_and_then_found_in_the_cache(tmp_path: Path, server: Server) -> None:
    progress: list[tuple[int, int]] = []
    path = fetch(ADDRESS, SHA256, tmp_path, lambda done, total: progress.append((done, total)))
    assert path.read_bytes() == TEXT
    assert path.name == f"{SHA256}.txt"
    assert progress[-1] == (len(TEXT), len(TEXT))
    assert fetch(ADDRESS, SHA256, tmp_path) == path
    assert server.requests == [ADDRESS]
    assert [other.name for other in path.parent.iterdir()] == [path.name]


def test_a_damaged_download_is_fetched_again(tmp_path: Path, server: Server) -> None:
    path = fetch(ADDRESS, SHA256, tmp_path)
    path.write_bytes(b"damaged")
    server.answer = Answer(TEXT)
    assert fetch(ADDRESS, SHA256, tmp_path).read_bytes() == TEXT
    assert len(server.requests) == 2


def test_an_address_is_a_source_of_a_corpus(tmp_path: Path, server: Server) -> None:
    corpus = open_small(ADDRESS + "?edition=2", tmp_path, sha256=SHA256)
    assert tokens_of(corpus) == some_ids(64)
    assert corpus.description == ADDRESS
    assert corpus.sha256 == SHA256


def test_another_content_is_refused_and_not_kept(tmp_path: Path, server: Server) -> None:
    server.answer = Answer(b"something else")
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(CorpusError, match=f"has the SHA-256 {found}, not {SHA256}"):
        fetch(ADDRESS, SHA256, tmp_path)
    assert_nothing_kept(tmp_path)


@pytest.mark.parametrize("length", [None, 100])
def test_a_download_larger_than_the_limit_stops(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, length: int | None
) -> None:
    monkeypatch.setattr(fetch_module, "LARGEST_DOWNLOAD_BYTES", 50)
    server.answer = Answer(b"x" * 100, length)
    with pytest.raises(CorpusError, match="is larger than"):
        fetch(ADDRESS, SHA256, tmp_path)
    assert_nothing_kept(tmp_path)


@pytest.mark.parametrize("answer", [Answer(TEXT[:10], len(TEXT)), Answer(TEXT, breaks_after=1)])
def test_a_download_that_breaks_off_is_not_kept(tmp_path: Path, server: Server, answer: Answer) -> None:
    server.answer = answer
    with pytest.raises(CorpusError, match=r"broke off after 10 of|could not be fetched: IncompleteRead"):
        fetch(ADDRESS, SHA256, tmp_path)
    assert_nothing_kept(tmp_path)


def test_a_server_that_refuses_is_quoted(tmp_path: Path, server: Server) -> None:
    server.answer = urllib.error.HTTPError(ADDRESS, 404, "Not Found", Message(), None)
    with pytest.raises(CorpusError, match="could not be fetched: the server answers 404 Not Found"):
        fetch(ADDRESS, SHA256, tmp_path)
    server.answer.close()
    assert_nothing_kept(tmp_path)


def test_without_a_network_one_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(CorpusError, match=r"https://127\.0\.0\.1:1/a\.txt could not be fetched: ") as caught:
        fetch("https://127.0.0.1:1/a.txt", SHA256, tmp_path)
    assert "needs the network once" in caught.value.hint
    assert_nothing_kept(tmp_path)


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/a.txt",
        "file:///etc/passwd",
        "ftp://example.org/a",
        "https:///a",
        "https://example.org:99999/a",
        "https://example.org/a b",
        "https://example.org/a\r\nHost: other",
    ],
)
def test_anything_but_https_is_refused(tmp_path: Path, server: Server, address: str) -> None:
    with pytest.raises(CorpusError, match="is not an https address"):
        fetch(address, SHA256, tmp_path)
    assert server.requests == []


def test_a_file_address_is_refused_as_a_source(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="'file:///etc/passwd' is not an https address"):
        open_small("file:///etc/passwd", tmp_path)


def test_a_redirect_away_from_https_is_refused() -> None:
    handler = fetch_module._HttpsOnly()
    request = urllib.request.Request(ADDRESS)
    with pytest.raises(CorpusError, match="is not an https address"):
        handler.redirect_request(request, io.BytesIO(), 302, "Found", Message(), "http://example.org/a.txt")
    followed = handler.redirect_request(request, io.BytesIO(), 302, "Found", Message(), "https://example.org/b.txt")
    assert followed is not None
    assert followed.full_url == "https://example.org/b.txt"


@pytest.mark.parametrize("sha256", ["", "abc", "g" * 64, "../" * 21 + "x"])
def test_a_checksum_that_is_none_is_refused(tmp_path: Path, server: Server, sha256: str) -> None:
    with pytest.raises(CorpusError, match="is not a SHA-256"):
        fetch(ADDRESS, sha256, tmp_path)
    assert server.requests == []


def test_no_space_for_a_download_says_how_much_is_needed(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: io.BufferedWriter, chunk: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch_module, "_write", full)
    with pytest.raises(CacheError, match=f"no space left in the cache folder .*: about {len(TEXT):,} bytes"):
        fetch(ADDRESS, SHA256, tmp_path)
    assert_nothing_kept(tmp_path)


def test_secrets_of_an_address_are_not_shown() -> None:
    assert (
        shown_address("https://user:password@example.org:8443/a.txt?key=secret#x") == "https://example.org:8443/a.txt"
    )
