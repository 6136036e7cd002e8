"""The live page has the report's colours; FROSTLINE_SNAPSHOTS=write takes them over."""

from __future__ import annotations

import os
from pathlib import Path

from frostline.report.write import page_style

FILE = Path(__file__).parents[2] / "src/frostline/live_page/static/colours.css"


def test_the_colours_are_those_of_the_report() -> None:
    variables = "\n".join(str(page_style()).splitlines()[:3]) + "\n"
    assert variables.startswith(":root{color-scheme:light dark;")
    if os.environ.get("FROSTLINE_SNAPSHOTS") == "write":
        FILE.write_text(variables, encoding="utf-8")
    assert FILE.read_text(encoding="utf-8") == variables
