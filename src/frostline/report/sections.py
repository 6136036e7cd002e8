"""How does a page of headings, sentences, figures and tables become one self-contained file? Without a script in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from markupsafe import Markup

from frostline.report.cards import Fact
from frostline.report.figures.parts import AnyChart
from frostline.report.inline import inline_svg, svg_of
from frostline.report.table import Table


@dataclass(frozen=True)
class PlainFigure:
    """A figure with its words. `name` is unique on its page."""

    name: str
    title: str
    caption: str
    alternative: str
    """What it shows, for who cannot see it."""
    chart: AnyChart

    @property
    def drawn(self) -> Markup:
        """The figure as SVG: written by `inline_svg` from its allow-list, all text escaped."""
        return Markup(inline_svg(svg_of(self.chart), f"{self.name}-", self.alternative, css_class="only"))


@dataclass(frozen=True)
class Passage:
    """Text of which some is set off."""

    heading: str
    note: str
    pieces: tuple[tuple[str, str], ...]
    """Class of the style sheet, and text."""


@dataclass(frozen=True)
class PlainSection:
    heading: str
    sentences: tuple[str, ...] = ()
    figures: tuple[PlainFigure, ...] = ()
    tables: tuple[Table, ...] = ()
    passages: tuple[Passage, ...] = ()


@dataclass(frozen=True)
class PlainPage:
    kicker: str
    title: str
    question: str
    facts: list[Fact]
    sections: list[PlainSection]
    commands: list[str] = field(default_factory=list)
    """What to do with it, at the end."""
