"""Which code computed this? A hash of Frostline's own, so that what other code kept is computed again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import frostline

DECIDING_PARTS = (
    "arms", "corpus", "engine", "experiment", "loading", "measures", "plans", "recipe/plan.py",
    "recipe/roles.py", "recipe/selectors.py",
)  # fmt: skip
"""Rooms, and single modules of others, whose code decides the bits of an arm and of its records.

Terminal, page, advisor and forecast do not. Signals choose a plan, and settings have defaults: an arm depends on the
plan and the values that came of them.
"""


def code_sha256(parts: Iterable[str] = DECIDING_PARTS, root: Path | None = None) -> str:
    """SHA-256 of these rooms (with all folders below) and modules in `root`, by path and content; Frostline's if None.

    Equal within a version, but for development. Raises `FileNotFoundError` for a part without code, which would
    otherwise leave the hash without a word.
    """
    return _own_code(tuple(parts)) if root is None else _code_in(root, parts)


@cache  # what this process has loaded stays what it is
def _own_code(parts: tuple[str, ...]) -> str:
    return _code_in(Path(frostline.__file__).parent, parts)


def _code_in(root: Path, parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for part in parts for path in _modules(root / part)):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\n{len(content)}\n".encode() + content)
    return digest.hexdigest()


def _modules(part: Path) -> Iterator[Path]:
    found = [part] if part.is_file() else list(part.rglob("*.py"))
    if not found:
        raise FileNotFoundError(f"{part}: no code is there.")
    yield from found
