"""How does a run become files? `report.html`, one self-contained page, and each figure as SVG and PNG.

The page has no script and loads nothing; its content-security policy forbids both. A file is written beside its target
and renamed, so that a reader never meets half a report.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from frostline.errors import RunFolderError
from frostline.report import gallery, page
from frostline.report.figure_numbers import csv_of, parquet_of
from frostline.report.gallery import Drawing
from frostline.report.inline import inline_svg, png_of, svg_of
from frostline.report.opened import Run, open_run
from frostline.report.sections import PlainPage
from frostline.report.style import DARK, FONT, LIGHT, WIDE, Palette
from frostline.run_folder import REPORT_FILE
from frostline.stats import VariantSummary
from frostline.storage import replace_file
from frostline.text import visible


def write_report(run_folder: Path) -> Path:
    """Write `report.html` into the run folder and return its path. Raises `RunFolderError`."""
    target = run_folder / REPORT_FILE
    write_file(target, render_report(run_folder).encode("utf-8"))
    return target


def write_figures(run_folder: Path, target: Path) -> list[Path]:
    """Write every figure that the run has data for as SVG and PNG into `target`; returns the files.

    With several variants each has a folder of its own, `variant-1` and so on. Raises `RunFolderError`.
    """
    run = open_run(run_folder)
    variants = run.summary.variants
    written = []
    for index, variant in enumerate(variants):
        folder = target / f"variant-{index + 1}" if len(variants) > 1 else target
        for kind in (gallery.FIRST, *gallery.FIGURES):
            written += _write_figure(run, kind, variant, folder)
    if len(variants) > 1:
        written += _write_figure(run, gallery.OVERVIEW, variants[0], target)
    return written


def write_data(run_folder: Path, target: Path) -> list[Path]:
    """Write the numbers of every figure that the run has data for as CSV and parquet into `target`; returns the files.

    Of long curves it is the steps that are drawn: `Run.losses()` and the rest have all. Files are named as the figures
    are, a second table of a figure `NAME-2`, and `figures.csv` says what each holds. With
    several variants each has a folder of its own, `variant-1` and so on. Raises `RunFolderError`.
    """
    run = open_run(run_folder)
    variants = run.summary.variants
    listed: list[dict[str, object]] = []
    written = []
    for index, variant in enumerate(variants):
        folder = f"variant-{index + 1}/" if len(variants) > 1 else ""
        kinds = (gallery.FIRST, *gallery.FIGURES, *((gallery.OVERVIEW,) if len(variants) > 1 and index == 0 else ()))
        for kind in kinds:
            drawn = gallery.draw(kind, run.plot, variant, (WIDE,))
            for number, frame in enumerate(drawn.numbers if isinstance(drawn, Drawing) else ()):
                name = f"{'' if kind is gallery.OVERVIEW else folder}{kind.name}{f'-{number + 1}' if number else ''}"
                for suffix, content in ((".csv", csv_of(frame)), (".parquet", parquet_of(frame))):
                    written.append(target / f"{name}{suffix}")
                    write_file(written[-1], content)
                told = {"file": name, "figure": kind.title, "variant": variant.variant, "rows": frame.height}
                listed.append({**told, "columns": " ".join(frame.columns)})
    written.append(target / "figures.csv")
    write_file(written[-1], csv_of(pl.DataFrame(listed)))
    return written


def write_page(target: Path, plain: PlainPage) -> Path:
    """Write `plain` to the file `target` and return it. Raises `RunFolderError`."""
    write_file(target, render_page(plain).encode("utf-8"))
    return target


def render_page(plain: PlainPage) -> str:
    """The page as HTML text."""
    return template_of("sections.html.j2").render(page=plain, css=page_style()) + "\n"


def render_report(run_folder: Path) -> str:
    """The report of `run_folder` as HTML text. Raises `RunFolderError` where it is no run."""
    template, found = template_of("report.html.j2"), page.page_of(open_run(run_folder))
    return template.render(page=found, css=page_style(), inline=partial(_inline, found.arms), page_module=page) + "\n"


def template_of(name: str) -> Template:
    """A template of this package, which escapes whatever it prints."""
    environment = Environment(
        loader=PackageLoader("frostline.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _finalize(value: object) -> object:
    """Whatever a template prints: markup made here as it is, all other text with acting characters made visible."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _inline(arms: Sequence[str], drawing: Drawing, anchor: str) -> Markup:
    """The wide and the narrow drawing, of which the style sheet shows the one that fits; or the only one."""
    drawn = []
    classes = ("wide", "narrow") if len(drawing.charts) == 2 else ("only",)
    for chart, css_class in zip(drawing.charts, classes, strict=True):
        prefix, tells = f"{anchor}{drawing.kind.name}-{css_class}-", css_class != "narrow"  # nothing points on a phone
        svg = svg_of(chart)
        drawn.append(inline_svg(svg, prefix, drawing.alternative, css_class=css_class, arms=arms, tells=tells))
    return Markup("".join(drawn))  # written by inline_svg from its allow-list, all text escaped


def page_style() -> Markup:
    """The style sheet of every page, in light and dark."""
    sheet = (files("frostline.report") / "templates" / "report.css").read_text(encoding="utf-8")
    light, dark = _variables(LIGHT), _variables(DARK)
    return Markup(
        f":root{{color-scheme:light dark;--font:{FONT};{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
        f"@media print{{:root{{color-scheme:light;{light}}}}}\n{sheet}"
    )


def _variables(palette: Palette) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in palette.named().items())


def _write_figure(run: Run, kind: gallery.FigureKind, variant: VariantSummary, folder: Path) -> list[Path]:
    drawn = gallery.draw(kind, run.plot, variant, (WIDE,))
    if not isinstance(drawn, Drawing):
        return []
    svg = svg_of(drawn.charts[0])
    paths = [folder / f"{kind.name}.svg", folder / f"{kind.name}.png"]
    write_file(paths[0], svg.encode("utf-8"))
    write_file(paths[1], png_of(svg))
    return paths


def write_file(target: Path, content: bytes) -> None:
    """Write the whole of `target`, or nothing. Raises `RunFolderError`."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, content)
    except OSError as error:
        raise RunFolderError(
            f"{target}: cannot be written ({error.strerror}).", "Is there space, and the right to?"
        ) from error
