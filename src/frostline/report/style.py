"""What do Frostline's figures and pages look like? One palette, one set of type sizes, for light and dark.

Arms take their colour from their place in the recipe, the baseline a neutral one, and keep it in every figure. Hues are
those of Okabe and Ito, "Color Universal Design" (2008), which stay apart under the common forms of colour blindness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FONT = "-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"
"""Fonts that the reader's system has. Widths are close to one another, so that laid-out figure text fits."""

TEXT_SIZE = 12
SMALL_TEXT_SIZE = 11

WIDE = 752
"""Width in pixels of a figure beside running text on a desk."""
NARROW = 340
"""Width in pixels of a figure on a phone."""


@dataclass(frozen=True)
class Palette:
    """Colours as `#rrggbb`; within one palette all differ, so that a page can tell their parts apart."""

    paper: str
    surface: str
    ink: str
    muted: str
    line: str
    grid: str
    accent: str
    supported: str
    refuted: str
    undecided: str
    baseline: str
    arms: tuple[str, ...]

    def named(self) -> dict[str, str]:
        """Colour by name, as the page's CSS variables call them (`ink`, `arm-0`, ...)."""
        parts = (
            "paper", "surface", "ink", "muted", "line", "grid", "accent",
            "supported", "refuted", "undecided", "baseline",
        )  # fmt: skip
        named: dict[str, str] = {part: str(getattr(self, part)) for part in parts}
        return named | {f"arm-{index}": colour for index, colour in enumerate(self.arms)}


LIGHT = Palette(
    paper="#ffffff",
    surface="#f5f7f9",
    ink="#1c2733",
    muted="#5c6874",
    line="#d5dce2",
    grid="#e9edf0",
    accent="#12688a",
    supported="#0b7a4b",
    refuted="#b3371b",
    undecided="#6b7079",
    baseline="#46525f",
    arms=("#0072b2", "#d55e00", "#009e73", "#b8569a", "#3aa0dc", "#c98a00"),
)
DARK = Palette(
    paper="#12181f",
    surface="#1a222b",
    ink="#e4e9ee",
    muted="#9aa7b4",
    line="#33404c",
    grid="#242e38",
    accent="#6cc3e3",
    supported="#4fd09a",
    refuted="#ff8a66",
    undecided="#a8b1ba",
    baseline="#b9c4cf",
    arms=("#4aa8e8", "#f58a42", "#35c79b", "#e08fc6", "#8fd0f7", "#efbf4d"),
)
STEP_RAMP = ("#e9a93f", "#d9706b", "#8f62c4", "#3f6fd6")
"""Early to late steps; readable on both papers."""


@dataclass(frozen=True)
class Style:
    """How figures of one experiment are drawn."""

    arms: tuple[str, ...]
    """Arms in the recipe's order."""
    baseline: str
    palette: Palette = LIGHT

    def colour(self, arm: str) -> str:
        """The colour of `arm`: neutral for the baseline, else by its place among the others."""
        if arm == self.baseline:
            return self.palette.baseline
        others = [name for name in self.arms if name != self.baseline]
        if arm not in others:
            return self.palette.muted
        return self.palette.arms[others.index(arm) % len(self.palette.arms)]

    def colour_name(self, arm: str) -> str:
        """The CSS variable of the arm's colour, without its dashes."""
        return next(name for name, colour in self.palette.named().items() if colour == self.colour(arm))

    def scale(self, arms: Sequence[str]) -> tuple[list[str], list[str]]:
        """Domain and range of a colour scale over `arms`, in the recipe's order."""
        present = [arm for arm in self.arms if arm in arms]
        return present, [self.colour(arm) for arm in present]

    def config(self) -> Mapping[str, object]:
        """Vega-Lite configuration: quiet axes, no frame, the page's font."""
        palette = self.palette
        axis = {
            "labelColor": palette.muted,
            "titleColor": palette.muted,
            "labelFontSize": SMALL_TEXT_SIZE,
            "titleFontSize": SMALL_TEXT_SIZE,
            "titleFontWeight": "normal",
            "titlePadding": 7,
            "labelPadding": 5,
            "ticks": False,
            "domainColor": palette.line,
            "gridColor": palette.grid,
            "labelLimit": 150,
        }
        legend = {
            "labelColor": palette.ink,
            "titleColor": palette.muted,
            "labelFontSize": TEXT_SIZE,
            "titleFontSize": SMALL_TEXT_SIZE,
            "titleFontWeight": "normal",
            "orient": "top",
            "direction": "horizontal",
            "symbolOpacity": 1,
            "offset": 10,
            "columnPadding": 18,
            "labelLimit": 260,
        }
        return {
            "background": palette.paper,
            "font": FONT,
            "padding": 4,
            "axis": axis,
            "legend": legend,
            "title": {
                "color": palette.ink,
                "fontSize": TEXT_SIZE,
                "fontWeight": 600,
                "anchor": "start",
                "offset": 8,
                "subtitleColor": palette.muted,
            },
            "view": {"stroke": None},
            "concat": {"spacing": 22},
        }
