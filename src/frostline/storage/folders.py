"""Where Frostline keeps what can be made again: one cache folder, moved by the variable FROSTLINE_CACHE."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The cache folder, created if missing: FROSTLINE_CACHE, else `frostline` in the user's cache folder."""
    chosen = os.environ.get("FROSTLINE_CACHE")
    if chosen:
        folder = Path(chosen).expanduser()
    else:
        base = os.environ.get("XDG_CACHE_HOME")
        folder = (Path(base) if base else Path.home() / ".cache") / "frostline"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
