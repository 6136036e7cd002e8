"""How is text from models, corpora and recipes made harmless to show? Nothing in it may act on page or terminal.

Escaping of markup is the template's business; here are the characters that act without markup: controls (a terminal
obeys them) and marks of writing direction (they make text read in another order than it is stored).
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path

_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, apart from tab and line feed
    "\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # direction, invisible
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff\U000e0000-\U000e007f]"  # half characters, non-characters, tags
)

_LONG = re.compile(r"[^\s'\",]{81,}")
_BEGINNING, _END = 25, 40
"""Letters that are kept of a long path: where it begins, and what it is, with a line number after it."""


def visible(text: str) -> str:
    """`text` with every acting character replaced by a visible sign, such as `⟨U+202E⟩`."""
    return _ACTING.sub(lambda found: f"⟨U+{ord(found.group()):04X}⟩", text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """`visible` text on one line."""
    return " ".join(visible(text).split())


def without_home(text: str) -> str:
    """`text` with the user's home folder as `~` and the present folder as `.`: it is kept, and may be passed on."""
    present = None
    with contextlib.suppress(OSError):
        present = Path.cwd()
    for folder, sign in ((present, "."), (home_folder(), "~"), (home_folder(resolved=False), "~")):
        if folder is not None and len(folder.parts) > 1:
            text = re.sub(re.escape(os.fspath(folder)) + r"(?![\w.-])", sign, text)
    return text


def home_folder(*, resolved: bool = True) -> Path | None:
    """The user's home folder; None where there is none, or all folders are in it."""
    try:
        home = Path.home()
        home = home.resolve() if resolved else home
    except (RuntimeError, OSError):
        return None
    return home if len(home.parts) > 1 else None


def with_short_paths(text: str) -> str:
    """`text` in which of every run of more than 80 letters, such as a path, the middle is left out."""
    return _LONG.sub(lambda found: f"{found.group()[:_BEGINNING]}...{found.group()[-_END:]}", text)


def is_utf8(path: Path) -> bool:
    """Whether the bytes of `path` are UTF-8, as libraries that are not written in Python want them."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def utf8_way_out() -> str:
    """What to do about a path that is not."""
    if sys.getfilesystemencoding().lower().replace("-", "") != "utf8":
        return "Set PYTHONUTF8=1: this Python takes names of files for ASCII."
    return "Rename it."
