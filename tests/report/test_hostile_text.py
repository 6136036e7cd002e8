"""Text from models, corpora and recipes is shown and does nothing: no element, no attribute, no control character."""

from __future__ import annotations

import re
from collections import Counter
from io import StringIO
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from frostline.report import write_report
from frostline.report.inline import inline_svg
from frostline.terminal.run import show_run
from frostline.text import one_line, visible
from tests.report.conftest import HOSTILE
from tests.report.markup import Markup
from tests.report.sample_run import Shape, write_run

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f]")


def test_hostile_text_adds_no_element_and_no_attribute(hostile_page: str, tmp_path: Path) -> None:
    harmless = Shape(text="harmless", seeds=(0, 1), layers=2, steps=8)
    expected = Markup(write_report(write_run(tmp_path / "run", harmless)).read_text(encoding="utf-8"))
    found = Markup(hostile_page)
    # Long samples are folded, so only the number of <details> may differ.
    differing = {"details", "summary"}
    assert Counter(tag for tag in found.elements if tag not in differing) == Counter(
        tag for tag in expected.elements if tag not in differing
    )
    assert {(tag, name) for tag, name, _ in found.attributes} == {(tag, name) for tag, name, _ in expected.attributes}
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]


def test_hostile_text_is_shown_as_it_was_written(hostile_page: str) -> None:
    assert one_line(HOSTILE) in " ".join(Markup(hostile_page).text.split())
    assert "{{ 7*7 }}" in Markup(hostile_page).text


def test_control_and_direction_characters_are_made_visible(hostile_page: str) -> None:
    assert not CONTROLS.search(hostile_page)
    assert "⟨U+202E⟩" in hostile_page
    assert "⟨U+001B⟩" in hostile_page


def test_hostile_names_of_variants_are_escaped_in_figures(tmp_path: Path) -> None:
    labels = ("model.source=<script>a</script>\x1b", "model.source=b\u202e&\"'")
    shape = Shape(variants=labels, seeds=(0,), steps=4, layers=2, watch=False, prompts=0)
    page = write_report(write_run(tmp_path / "run", shape)).read_text(encoding="utf-8")
    assert "script" not in Markup(page).elements
    assert not CONTROLS.search(page)
    assert page.count("&lt;script&gt;a&lt;/script&gt;") > 2


def test_the_terminal_gets_no_control_characters_from_a_run(hostile_folder: Path) -> None:
    written = StringIO()
    Console(width=160, color_system=None, file=written).print(show_run(hostile_folder))
    printed = written.getvalue()
    assert not CONTROLS.search(printed)
    assert "supported" in printed
    assert "refuted" in printed


def test_a_drawing_keeps_only_elements_and_attributes_that_draw() -> None:
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9" onload="a()"><script>a()</script>'
        '<image href="http://x"/><foreignObject><b/></foreignObject><g onclick="a()" style="background:url(http://x)">'
        '<path d="M0,0h1" fill="#0072b2" stroke="url(http://x)" clip-path="url(#c)"/>'
        '<clipPath id="c"><rect/></clipPath><text>a&lt;b&gt;</text></g></svg>'
    )
    found = inline_svg(drawing, "p-", '"><script>', css_class="wide")
    assert Markup(found).elements == ["svg", "path", "clippath", "rect", "text"]
    assert "http" not in found
    assert "onclick" not in found
    assert 'clip-path="url(#p-0)"' in found
    assert "fill:var(--arm-0)" in found
    assert "a&lt;b&gt;" in found
    assert [value for _, name, value in Markup(found).attributes if name == "aria-label"] == ['"><script>']


@given(st.text())
def test_visible_text_can_be_stored_and_has_no_acting_character(text: str) -> None:
    shown = visible(text)
    assert not CONTROLS.search(shown)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert visible(shown) == shown


@given(st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"])))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text
