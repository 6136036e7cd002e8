"""The page about summary.json is that of the code, and leaves no key without its meaning."""

from __future__ import annotations

from pathlib import Path

from frostline.stats.schema_doc import schema_page


def test_the_page_is_up_to_date() -> None:
    assert (Path(__file__).parents[2] / "docs/summary.md").read_text(encoding="utf-8") == schema_page()


def test_every_key_says_what_it_means() -> None:
    assert [line for line in schema_page().splitlines() if line.endswith("|  |")] == []
