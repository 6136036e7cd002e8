"""How is a path named in an error, and why can it not be read? In one sentence, printable whatever its bytes are."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from frostline.errors import CorpusError
from frostline.recipe import similar_name


def shown(path: Path) -> str:
    """`path` in quotes for a message; a name that is not valid Unicode stays printable."""
    return f"'{plain_name(path)}'"


def plain_name(path: Path) -> str:
    """`path` as text; a name that is not valid Unicode stays printable."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def unreachable(path: Path, error: OSError | ValueError) -> CorpusError:
    """Why the file system does not let `path` be read, as one sentence."""
    if isinstance(error, ValueError):
        return CorpusError(f"{str(path)!r} is not a path.")
    if error.errno == errno.ELOOP:
        return CorpusError(f"{shown(path)} is a symbolic link that leads back to itself.")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if path.is_symlink():
            return CorpusError(f"{shown(path)} is a symbolic link to nothing.")
        return CorpusError(f"there is no file or folder {shown(path)}.", similar_name(path))
    return CorpusError(f"{shown(path)} cannot be read: {(error.strerror or str(error)).lower()}.")
