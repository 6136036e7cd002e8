"""How is text from models, corpora and recipes made harmless to show? Nothing in it may act on page or terminal.

Escaping of markup is the template's business; here are the characters that act without markup: controls (a terminal
obeys them) and marks of writing direction (they make text read in another order than it is stored).
"""

from __future__ import annotations

import re

_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, apart from tab and line feed
    "\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # direction, invisible
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff\U000e0000-\U000e007f]"  # half characters, non-characters, tags
)


def visible(text: str) -> str:
    """`text` with every acting character replaced by a visible sign, such as `⟨U+202E⟩`."""
    return _ACTING.sub(lambda found: f"⟨U+{ord(found.group()):04X}⟩", text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """`visible` text on one line."""
    return " ".join(visible(text).split())
