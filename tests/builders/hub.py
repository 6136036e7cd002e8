"""A hub without a network: data sets handed out by a stand-in, models in a real cache of the hub's own layout."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from huggingface_hub import HfApi, constants

from frostline.hub import _answers


class Hub:
    """Stands for `datasets.load_dataset`: gives rows, counts how many were asked for, or raises.

    And for the hub's answer to what a branch stands for.
    """

    def __init__(self, rows: list[dict[str, object]]) -> None:
        self.rows = rows
        self.commit = "c" * 40
        self.earlier: dict[object, list[dict[str, object]]] = {}
        """Rows by commit, of commits before the present one."""
        self.error: Exception | None = None
        self.unreachable: Exception | None = None
        self.resolved: list[tuple[str, str | None]] = []
        self.calls: list[tuple[str, object]] = []
        self.read_at: list[object] = []
        self.read = 0

    def load_dataset(self, path: str, **settings: object) -> Iterator[dict[str, object]]:
        self.calls.append((path, settings))
        self.read_at.append(settings["revision"])
        if self.error is not None:
            raise self.error
        return self._stream(self.earlier.get(settings["revision"], self.rows))

    def dataset_info(self, repo_id: str, *, revision: str | None, timeout: float) -> SimpleNamespace:
        self.resolved.append((repo_id, revision))
        if self.unreachable is not None:
            raise self.unreachable
        return SimpleNamespace(sha=self.commit)

    def _stream(self, rows: list[dict[str, object]]) -> Iterator[dict[str, object]]:
        for row in rows:
            self.read += 1
            yield row


def install(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> Hub:
    module = ModuleType("datasets")
    monkeypatch.setattr(module, "load_dataset", hub.load_dataset, raising=False)
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setitem(_answers, constants.ENDPOINT, (math.inf, ""))  # it can be reached
    monkeypatch.setattr(HfApi, "dataset_info", lambda _, *args, **settings: hub.dataset_info(*args, **settings))
    return hub


def use_hub_cache(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Let `folder` be the hub's cache from here on, and the hub unreachable."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


def publish(cache: Path, name: str, files: Path, commit: str, branch: str = "main") -> None:
    """Put a copy of `files` into the hub's cache as `commit` of the model `name`, and let `branch` stand for it."""
    repository = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(files, repository / "snapshots" / commit)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / branch).write_text(commit)
