"""Is a hub data set read row by row, and does everything that can be wrong with one end in a sentence?

The package `datasets` is stood in for, so that no test needs a network.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

from frostline.errors import CorpusError, MissingExtraError
from tests.builders.corpora import open_small, some_ids, tokens_of
from tests.builders.hub import Hub, install
from tests.builders.tokenizers import WORDS, words


def test_rows_are_streamed_as_documents_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = some_ids(40)
    hub = install(monkeypatch, Hub([{"text": words(ids[:20])}, {"text": None}, {"text": words(ids[20:])}]))
    for _ in range(2):
        corpus = open_small("hub:owner/name", tmp_path, length=4, held_out=1, subset="small", split="test")
        assert tokens_of(corpus) == [*ids[:20], WORDS + 3, *ids[20:]][:40]
        assert corpus.description == "hub:owner/name, small (test)"
        assert len(corpus.sha256) == 64
        assert corpus.revision == hub.commit
    assert (
        hub.calls == [("owner/name", {"name": "small", "split": "test", "revision": hub.commit, "streaming": True})] * 2
    ), "columns, then rows"


def test_reading_stops_when_there_are_enough_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = install(monkeypatch, Hub([{"text": words([1] * 997 + [*divmod(row, 150)])} for row in range(20_000)]))
    corpus = open_small("hub:owner/name", tmp_path, tokens=500_000)
    assert corpus.tokens == 500_000
    assert hub.read < 10_000


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Hub([]))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r'pip install "frostline\[hub\]"'):
        open_small("hub:owner/name", tmp_path)


@pytest.mark.parametrize(
    "error",
    [ConnectionError("Couldn't reach the Hub"), ValueError("Unknown split 'tset'.\nShould be one of ['train']")],
)
def test_what_the_hub_says_becomes_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    hub = install(monkeypatch, Hub([]))
    hub.error = error
    with pytest.raises(CorpusError, match="the data set 'owner/name' could not be read from the hub") as caught:
        open_small("hub:owner/name", tmp_path)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "corpora").glob("*"))


def test_a_connection_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Breaking(Hub):
        def _stream(self, rows: list[dict[str, object]]) -> Iterator[dict[str, object]]:
            yield {"text": "w1 w2"}
            raise ConnectionError("reset by peer")

    install(monkeypatch, Breaking([]))
    with pytest.raises(CorpusError, match="reset by peer"):
        open_small("hub:owner/name", tmp_path)
    assert not list((tmp_path / "corpora").glob("*"))


def test_a_missing_or_unfit_column_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Hub([{"content": "a", "label": 1}]))
    with pytest.raises(CorpusError, match=r"split 'train', has no column 'contents'\. Did you mean 'content'"):
        open_small("hub:owner/name", tmp_path, column="contents")
    with pytest.raises(CorpusError, match="row 1: column 'label' holds a number, not text"):
        open_small("hub:owner/name", tmp_path, column="label")


def test_a_data_set_without_a_name_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Hub([]))
    with pytest.raises(CorpusError, match="'hub: ' names no data set"):
        open_small("hub: ", tmp_path)


def test_another_content_than_the_recipes_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Hub([{"text": words(some_ids(64))}]))
    with pytest.raises(CorpusError, match="'hub:owner/name' has the SHA-256"):
        open_small("hub:owner/name", tmp_path, sha256="0" * 64)


def hub_with(monkeypatch: pytest.MonkeyPatch, seed: int = 1) -> Hub:
    return install(monkeypatch, Hub([{"text": words(some_ids(64, seed))}]))


def test_a_branch_is_read_at_its_commit_and_anew_once_it_has_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = hub_with(monkeypatch)
    before = open_small("hub:owner/name", tmp_path, revision="dev")
    hub.commit, hub.rows = "d" * 40, [{"text": words(some_ids(64, 2))}]
    after = open_small("hub:owner/name", tmp_path, revision="dev")
    assert hub.resolved == [("owner/name", "dev")] * 2
    assert hub.read_at == ["c" * 40] * 2 + ["d" * 40] * 2, "columns, then rows"
    assert (before.revision, after.revision) == ("c" * 40, "d" * 40)
    assert tokens_of(before) != tokens_of(after)


def test_a_commit_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = hub_with(monkeypatch)
    first = open_small("hub:owner/name", tmp_path)
    named = open_small("hub:owner/name", tmp_path, revision="c" * 40)
    assert hub.resolved == [("owner/name", None)]
    assert len(hub.calls) == 2, "columns and rows, once: it is the same commit"
    assert tokens_of(named) == tokens_of(first)


def unreachable() -> list[Exception]:
    """What the hub's client raises without network, by whichever library it talks."""
    transport = HfHubHTTPError.__bases__[0]
    return [OfflineModeIsEnabled("offline mode is enabled"), ConnectionError("no route"), transport("no route")]


@pytest.mark.parametrize("error", unreachable())
def test_without_network_it_is_the_commit_of_the_last_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    hub = hub_with(monkeypatch)
    for commit in ("a" * 40, "b" * 40):
        hub.commit = commit
        online = open_small("hub:owner/name", tmp_path)
    hub.unreachable = error
    offline = open_small("hub:owner/name", tmp_path)
    assert (offline.revision, tokens_of(offline)) == ("b" * 40, tokens_of(online))
    for other in ("hub:owner/other", "hub:owner/name@dev"):
        source, _, revision = other.partition("@")
        with pytest.raises(CorpusError, match="could not be read from the hub"):
            open_small(source, tmp_path, revision=revision or None)


class GoneError(RepositoryNotFoundError):
    """Without the hub's answer."""

    def __init__(self) -> None:
        Exception.__init__(self, "it is gone")


def test_a_data_set_that_is_gone_is_not_read_from_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = hub_with(monkeypatch)
    open_small("hub:owner/name", tmp_path)
    hub.unreachable = GoneError()
    with pytest.raises(CorpusError, match="could not be read from the hub: it is gone"):
        open_small("hub:owner/name", tmp_path)


@pytest.mark.parametrize("content", [b"", b"main", b"\xff", b"a" * 39])
def test_a_damaged_memory_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    hub = hub_with(monkeypatch)
    open_small("hub:owner/name", tmp_path)
    (remembered,) = (tmp_path / "hub").iterdir()
    remembered.write_bytes(content)
    hub.unreachable = ConnectionError("no route")
    with pytest.raises(CorpusError, match="no route"):
        open_small("hub:owner/name", tmp_path)
