"""Is a hub data set read row by row, and does everything that can be wrong with one end in a sentence?

The package `datasets` is stood in for, so that no test needs a network.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from huggingface_hub import HfApi

from frostline.errors import CorpusError, MissingExtraError
from tests.builders.corpora import open_small, some_ids, tokens_of
from tests.builders.tokenizers import WORDS, words


class Hub:
    """Stands for `datasets.load_dataset`: gives rows, counts how many were asked for, or raises.

    And for the hub's answer to what a branch stands for.
    """

    def __init__(self, rows: list[dict[str, object]]) -> None:
        self.rows = rows
        self.commit = "c" * 40
        self.error: Exception | None = None
        self.unreachable: Exception | None = None
        self.resolved: list[tuple[str, str | None]] = []
        self.calls: list[tuple[str, object]] = []
        self.read = 0

    def load_dataset(self, path: str, **settings: object) -> Iterator[dict[str, object]]:
        self.calls.append((path, settings))
        if self.error is not None:
            raise self.error
        return self._stream()

    def dataset_info(self, repo_id: str, *, revision: str | None, timeout: float) -> SimpleNamespace:
        self.resolved.append((repo_id, revision))
        if self.unreachable is not None:
            raise self.unreachable
        return SimpleNamespace(sha=self.commit)

    def _stream(self) -> Iterator[dict[str, object]]:
        for row in self.rows:
            self.read += 1
            yield row


def install(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> Hub:
    module = ModuleType("datasets")
    monkeypatch.setattr(module, "load_dataset", hub.load_dataset, raising=False)
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setattr(HfApi, "dataset_info", lambda _, *args, **settings: hub.dataset_info(*args, **settings))
    return hub


def test_rows_are_streamed_as_documents_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = some_ids(40)
    hub = install(monkeypatch, Hub([{"text": words(ids[:20])}, {"text": None}, {"text": words(ids[20:])}]))
    for _ in range(2):
        corpus = open_small("hub:owner/name", tmp_path, length=4, held_out=1, subset="small", split="test")
        assert tokens_of(corpus) == [*ids[:20], WORDS + 3, *ids[20:]][:40]
        assert corpus.description == "hub:owner/name, small (test)"
        assert len(corpus.sha256) == 64
        assert corpus.revision == hub.commit
    assert hub.calls == [("owner/name", {"name": "small", "split": "test", "revision": hub.commit, "streaming": True})]


def test_reading_stops_when_there_are_enough_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = install(monkeypatch, Hub([{"text": words([1] * 999)}] * 20_000))
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
    assert list((tmp_path / "corpora").iterdir()) == []


def test_a_connection_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Breaking(Hub):
        def _stream(self) -> Iterator[dict[str, object]]:
            yield {"text": "w1 w2"}
            raise ConnectionError("reset by peer")

    install(monkeypatch, Breaking([]))
    with pytest.raises(CorpusError, match="reset by peer"):
        open_small("hub:owner/name", tmp_path)
    assert list((tmp_path / "corpora").iterdir()) == []


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
