"""Which text is always there? The Python language reference, as CPython's own help system carries it.

Technical documentation of a real domain, on every machine, without a network. Each CPython version has its own text;
the content hash tells them apart.

The help system has sections that are parts of other sections. A corpus that says the same twice would have its
held-out text in what is trained on: a paragraph is left out where earlier ones have said most of it.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Iterator

from frostline.errors import CorpusError

RUN_WORDS = 6
"""A run of so many words that stood before was said before."""
LARGEST_SAID = 0.1
"""A paragraph is kept where at most this share of its runs was said before."""
_RULE = re.compile(r"^[ |+=-]*[+|=-]{3}[ |+=-]*\n", re.MULTILINE)
"""A line of a table that only rules it."""


def embedded_text() -> str:
    """All topics, sorted by name, an empty line between paragraphs, without what is said twice.

    Raises `CorpusError` if CPython came without them.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise CorpusError(
            "this Python comes without 'pydoc_data', which holds the embedded corpus.",
            "Use a complete Python, or a text of your own.",
        ) from error
    return "\n\n".join(said_once(str(topics[name]) for name in sorted(topics)))


def said_once(texts: Iterable[str]) -> Iterator[str]:
    """The paragraphs of `texts` in order, those left out of which earlier ones have said most, and tables' rules."""
    said: set[str] = set()
    for text in texts:
        for paragraph in re.split(r"\n\s*\n", _RULE.sub("", text).strip("\n")):
            words = paragraph.split()
            runs = {" ".join(words[start : start + RUN_WORDS]) for start in range(max(1, len(words) - RUN_WORDS + 1))}
            if words and len(runs & said) <= LARGEST_SAID * len(runs):
                said |= runs
                yield paragraph.rstrip()


def embedded_description() -> str:
    """The corpus in a few words, with the CPython version that it comes from."""
    return f"Python language reference (CPython {platform.python_version()})"
