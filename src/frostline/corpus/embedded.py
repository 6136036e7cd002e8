"""Which text is always there? The Python language reference, as CPython's own help system carries it.

Technical documentation of a real domain, on every machine, without a network. Each CPython version has its own text;
the content hash tells them apart.
"""

from __future__ import annotations

import platform

from frostline.errors import CorpusError


def embedded_text() -> str:
    """All topics, sorted by name, an empty line between them. Raises `CorpusError` if CPython came without them."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise CorpusError(
            "this Python comes without 'pydoc_data', which holds the embedded corpus.",
            "Use a complete Python, or a text of your own.",
        ) from error
    return "\n\n".join(str(topics[name]) for name in sorted(topics))


def embedded_description() -> str:
    """The corpus in a few words, with the CPython version that it comes from."""
    return f"Python language reference (CPython {platform.python_version()})"
