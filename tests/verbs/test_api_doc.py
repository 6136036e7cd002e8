"""The page about Python is that of the code, and leaves no public name without its words."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import frostline
from frostline.verbs.api_doc import api_page


def test_the_page_is_up_to_date() -> None:
    assert (Path(__file__).parents[2] / "docs/api.md").read_text(encoding="utf-8") == api_page()


@pytest.mark.parametrize("name", [name for name in frostline.__all__ if name != "__version__"])
def test_every_public_name_says_what_it_is(name: str) -> None:
    assert inspect.getdoc(getattr(frostline, name))
    assert f"\n## {name}\n" in api_page()
