"""What recording and comparing share: names of runs, the file that a recording keeps, and reading it."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from pathlib import Path

RECORDED_FILE = "recorded.json"
Status = dict[str, list[int]]


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_json(path: Path) -> object:
    value: object = json.loads(path.read_text(encoding="utf-8"))
    return value


def mapping(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value


def wanted(name: str, only: list[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in only)
