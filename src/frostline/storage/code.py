"""Which code computed this? A hash of Frostline's own, so that what other code kept is computed again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import frostline


def code_sha256(packages: Iterable[str]) -> str:
    """SHA-256 of these packages of Frostline: equal within a version, but for development."""
    digest = hashlib.sha256()
    folder = Path(frostline.__file__).parent
    for path in sorted(path for name in packages for path in (folder / name).glob("*.py")):
        digest.update(f"{path.parent.name}/{path.name}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
