"""Where does Frostline keep what can be made again? In one cache folder, moved by the variable FROSTLINE_CACHE.

Not every process has a home: HOME may be unset, the user may have an id and no name, the disk may be read-only. What
cannot be made or written is told in a sentence; where the cache folder is named, the libraries keep theirs below it.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frostline.errors import CacheError
from frostline.text import is_utf8

VARIABLE = "FROSTLINE_CACHE"
_WAY_OUT = f"Name a folder that can be written, by the variable {VARIABLE}."
_HUB_VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME")
_COMPILER_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def cache_folder() -> Path:
    """The cache folder, created if missing: FROSTLINE_CACHE, else `frostline` in the user's cache folder.

    Raises `CacheError` where there is none, or it cannot be made or written.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        folder = _without_tilde(chosen)
    else:
        base = os.environ.get("XDG_CACHE_HOME")
        folder = (Path(base) if base else _without_tilde("~/.cache")) / "frostline"
    return usable_cache(folder)


def usable_cache(folder: Path) -> Path:
    """`folder`, created if missing. Raises `CacheError` where it cannot be made or written."""
    if not is_utf8(folder):
        raise CacheError(f"the name of the cache folder '{folder}' is not UTF-8.", _WAY_OUT)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise _unusable(folder, "made", error) from error
    try:
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise _unusable(folder, "written", error) from error


def settle_temporary_files(folder: Path | None = None) -> None:
    """Let temporary files be made in `folder`, the cache folder if None, where the system has no place for them.

    To be called before torch is imported, which asks for that place. Raises `CacheError` where there is no cache.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = os.environ["TMPDIR"] = str((folder or cache_folder()).absolute())


def settle_other_caches(folder: Path | None = None) -> None:
    """Let libraries that would want a home or a user's name keep their files below `folder`; nothing is made yet.

    Without `folder` below FROSTLINE_CACHE, where that is set. Variables that are set stay as they are, and so does a
    folder of theirs that is there. To be called before these libraries are imported, which read them once.
    """
    if folder is None:
        chosen = os.path.expanduser(os.environ.get(VARIABLE, ""))  # noqa: PTH111 - it leaves alone what it cannot
        if not chosen:
            return
        folder = Path(chosen)
    if not any(os.environ.get(name) for name in _HUB_VARIABLES) and not _can_be_made("~/.cache/huggingface"):
        os.environ["HF_HOME"] = str(folder.absolute() / "huggingface")
    if not os.environ.get(_COMPILER_VARIABLE) and not _has_name():
        os.environ[_COMPILER_VARIABLE] = str(folder.absolute() / "inductor")


@contextmanager
def naming_some_home() -> Iterator[None]:
    """In the block, a library that asks for the home folder of a process that has none is given one."""
    try:
        Path.home()
    except RuntimeError:
        before = os.environ.get("HOME")
        os.environ["HOME"] = tempfile.gettempdir()
        try:
            yield
        finally:
            if before is None:
                del os.environ["HOME"]
            else:
                os.environ["HOME"] = before
    else:
        yield


def _without_tilde(written: str) -> Path:
    try:
        return Path(written).expanduser()
    except RuntimeError as error:
        raise CacheError(f"there is no home folder in which '{written}' could be.", _WAY_OUT) from error


def _unusable(folder: Path, verb: str, error: OSError | ValueError) -> CacheError:
    reason = (getattr(error, "strerror", None) or str(error)).lower()
    return CacheError(f"the cache folder '{folder}' cannot be {verb}: {reason}.", _WAY_OUT)


def _can_be_made(written: str) -> bool:
    """Whether there is such a folder, or it could be made in the one above it."""
    try:
        folder = Path(written).expanduser()
    except RuntimeError:
        return False
    above = next(place for place in (folder, *folder.parents) if place.exists())
    return above == folder or (above.is_dir() and os.access(above, os.W_OK | os.X_OK))


def _has_name() -> bool:
    """Whether the user has a name: libraries make one part of a path."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # KeyError before Python 3.13
        return False
    return True
