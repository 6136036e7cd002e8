"""The documentation site: `make docs` builds it from these pages, which read as well on GitHub.

Two things are done to a page before Sphinx sees it: links that lead out of `docs/` become the names of files in the
repository, and the list of pages in `index.md` is what the site is ordered by.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "Frostline"
author = "The Frostline maintainers"
copyright = author
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "Frostline"
html_show_copyright = html_show_sphinx = False
myst_heading_anchors = 3
exclude_patterns = ["pictures"]

_HERE = Path(__file__).parent.resolve()
_OUTWARDS = re.compile(r"\[([^\]]+)\]\((\.\./[^)#\s]+)[^)]*\)")
_PAGE = re.compile(r"\]\(([\w/-]+)\.md\)")


def _read(_: Sphinx, page: str, source: list[str]) -> None:
    """Change the text of a page as it is read; Sphinx hands it over in a list of one."""
    folder = (_HERE / page).parent

    def outwards(found: re.Match[str]) -> str:
        target = (folder / found[2]).resolve()
        return found[0] if target.is_relative_to(_HERE) else f"{found[1]} (`{target.relative_to(_HERE.parent)}`)"

    source[0] = _OUTWARDS.sub(outwards, source[0])
    if page == "index":
        parts = re.split(r"^## (.+)$", source[0], flags=re.M)
        for heading, below in zip(parts[1::2], parts[2::2], strict=True):
            pages = "\n".join(_PAGE.findall(below))
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{pages}\n```\n"


def setup(app: Sphinx) -> None:
    """What Sphinx calls to begin."""
    app.connect("source-read", _read)
