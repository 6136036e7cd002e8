"""How does a chart become part of a page? As inline SVG without scripts, addresses or colours of its own.

The drawing is parsed and written anew from an allow-list of elements and attributes. Colours of the light palette turn
into CSS variables, so that one drawing serves light, dark and print.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from xml.etree import ElementTree

import vl_convert

from frostline.report.figures.parts import AnyChart
from frostline.report.style import LIGHT
from frostline.text import visible

_ELEMENTS = frozenset({"svg", "g", "path", "rect", "line", "text", "tspan", "defs", "clipPath", "circle"})
_ATTRIBUTES = frozenset(
    {
        "d", "transform", "x", "y", "x1", "x2", "y1", "y2", "dx", "dy", "r", "cx", "cy", "rx", "width", "height",
        "viewBox", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "stroke-miterlimit",
        "opacity", "fill-opacity", "stroke-opacity", "font-size", "font-weight", "font-style", "text-anchor",
    }
)  # fmt: skip
_COLOURS = {"fill": "fill", "stroke": "stroke", "stop-color": "stop-color"}
_GRADIENT = frozenset({"linearGradient", "stop"})
_GRADIENT_ATTRIBUTES = frozenset({"offset", "gradientUnits"})
_REFERENCE = re.compile(r"url\(#([A-Za-z0-9_-]+)\)")
_COLOUR = re.compile(r"#[0-9a-fA-F]{3,8}|rgba?\([0-9., %]+\)|none|transparent|[a-z]+")
_LONG_NUMBER = re.compile(r"(\d+\.\d{2})\d+")
_SHORTER = r"\1"
_MARK = "graphics-symbol"
"""The renderer's role of what stands for data; it has a label with the names and values of what it shows."""
_OF_ONE_VALUE = frozenset({"point", "circle", "bar", "rect mark", "tick"})
"""Kinds of marks whose label is of what they show; that of a line is of its first point."""
_NUMBER_AT_END = re.compile(r": ([\N{MINUS SIGN}-]?)(\d+\.\d{3,}(?:[eE][-+]?\d+)?)(%?)$")


def svg_of(chart: AnyChart) -> str:
    """`chart` as an SVG file's text, colours as they are. Reads no address: charts carry their data."""
    drawn: str = vl_convert.vegalite_to_svg(chart.to_dict(validate=False), allowed_base_urls=[])
    return drawn


def png_of(svg: str, scale: float = 2.0) -> bytes:
    """The drawing as PNG, `scale` pixels for each of its units."""
    drawn: bytes = vl_convert.svg_to_png(svg, scale=scale)
    return drawn


def inline_svg(
    svg: str, prefix: str, title: str, *, css_class: str = "", arms: Sequence[str] = (), tells: bool = True
) -> str:
    """`svg` as an element for a page, named `title` to screen readers; `prefix` keeps its ids apart from others'.

    A mark has the class `of-arm-N` if it is of the arm `arms[N]`. If the drawing `tells`, the values of a mark are told
    where one points at it.
    """
    root = ElementTree.fromstring(svg)
    width, height = root.get("width", "1"), root.get("height", "1")
    # Counted anew: the renderer's own numbers go on from drawing to drawing.
    found = [element.get("id", "") for element in root.iter() if element.get("id")]
    ids = {old: f"{prefix}{number}" for number, old in enumerate(found)}
    drawing = _Drawing(ids, tuple(arms), tells)
    inner = "".join(_element(child, drawing) for child in root)
    view = escape(root.get("viewBox", f"0 0 {width} {height}"))
    return (
        f'<svg class="{escape(css_class)}" role="img" aria-label="{escape(title)}" viewBox="{view}" '
        f'width="{escape(width)}" height="{escape(height)}">{inner}</svg>'
    )


@dataclass(frozen=True)
class _Drawing:
    ids: Mapping[str, str]
    """Ids of the renderer, and what they are on the page."""
    arms: tuple[str, ...]
    tells: bool


def _element(element: ElementTree.Element, drawing: _Drawing) -> str:
    name = element.tag.rpartition("}")[2]
    if name not in _ELEMENTS | _GRADIENT or element.get("display") == "none":
        return ""
    if name == "rect" and element.get("fill") in (LIGHT.paper, "white"):
        return ""  # the page is the background
    inner = "".join(_element(child, drawing) for child in element)
    if name in ("g", "defs") and not inner:
        return ""
    if name == "path" and (not element.get("d") or (element.get("class") == "background" and _invisible(element))):
        return ""
    attributes = "".join(_attributes(element, name, drawing.ids))
    if element.get("role") == _MARK and name != "text":
        label = element.get("aria-label", "")
        if (arm := _arm_of(label, drawing.arms)) is not None:
            attributes += f' class="of-arm-{arm}"'
        if not drawing.tells and element.get("opacity") == "0":
            return ""  # it was there to tell
        if drawing.tells and element.get("aria-roledescription") in _OF_ONE_VALUE:
            inner += f"<title>{escape(visible(_told(label)))}</title>"
    text = escape(element.text) if name in ("text", "tspan") and element.text else ""
    if not inner and not text:
        return "" if name == "text" else f"<{name}{attributes}/>"
    if name == "g" and not attributes:
        return inner
    return f"<{name}{attributes}>{text}{inner}</{name}>"


def _arm_of(label: str, arms: Sequence[str]) -> int | None:
    """The number of the arm that a mark is of, as its label says; None for what is of no arm."""
    found = [number for number, arm in enumerate(arms) if f"; arm: {arm}; " in f"; {label}; "]
    return max(found, key=lambda number: len(arms[number]), default=None)


def _told(label: str) -> str:
    """The values of a mark, one on a line, numbers to five digits: names stay as they are."""
    parts = label.split("; ")
    return "\n".join(part if part.startswith("arm: ") else _NUMBER_AT_END.sub(_to_five_digits, part) for part in parts)


def _to_five_digits(found: re.Match[str]) -> str:
    return f": {found[1]}{float(found[2]):.5g}{found[3]}"


def _attributes(element: ElementTree.Element, name: str, ids: Mapping[str, str]) -> list[str]:
    parts: list[str] = []
    declarations: list[str] = []
    for key, value in element.attrib.items():
        if key in _COLOURS:
            declaration = _colour(key, value, ids)
            if declaration.startswith(f"{key}:"):
                declarations.append(declaration)
            elif declaration:
                parts.append(f' {key}="{escape(declaration)}"')
        elif key == "id":
            parts.append(f' id="{escape(ids[value])}"')
        elif key == "clip-path":
            found = _REFERENCE.fullmatch(value)
            if found and found[1] in ids:
                parts.append(f' clip-path="url(#{escape(ids[found[1]])})"')
        elif "opacity" in key and value == "1":
            continue
        elif key in _ATTRIBUTES or (name in _GRADIENT and key in _GRADIENT_ATTRIBUTES):
            parts.append(f' {key}="{escape(_LONG_NUMBER.sub(_SHORTER, value))}"')
    if declarations:
        parts.append(f' style="{escape(";".join(declarations))}"')
    return parts


def _colour(key: str, value: str, ids: Mapping[str, str]) -> str:
    """A CSS declaration for a palette colour, a plain attribute value for another, '' for what is no colour."""
    variable = _variables().get(value.lower())
    if variable is not None:
        return f"{key}:var(--{variable})"
    reference = _REFERENCE.fullmatch(value)
    if reference:
        return f"url(#{ids[reference[1]]})" if reference[1] in ids else ""
    return value if _COLOUR.fullmatch(value) else ""


def _invisible(element: ElementTree.Element) -> bool:
    return all(element.get(key) in (None, "none", "transparent") for key in ("fill", "stroke"))


@cache
def _variables() -> Mapping[str, str]:
    return {colour: name for name, colour in LIGHT.named().items()}
