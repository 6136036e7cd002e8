"""The report without a script: values where one points, arms that can be left out, and the numbers of every figure."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from frostline.report import Run, gallery, write_data
from frostline.report.figure_numbers import csv_of, numbers_of
from frostline.report.figures.weights import weight_change_chart
from frostline.report.gallery import Drawing
from frostline.report.inline import inline_svg, svg_of
from frostline.report.style import Style

CHROMIUM = shutil.which("chromium")


def test_pointing_at_a_point_tells_its_arm_and_its_loss(plain_run: Run, plain_page: str) -> None:
    told = set(re.findall(r"<title>([^<]*)</title>", plain_page))
    points = plain_run.evaluations().filter(pl.col("corpus") == "held_out")
    mean = points.group_by("arm", "step").agg(pl.col("loss_nats").mean())
    for arm, step, loss in mean.select("arm", "step", "loss_nats").iter_rows():
        assert f"step: {step}\nloss (nats per token): {loss:.5g}\narm: {arm}" in told


def test_a_mark_has_the_class_of_its_arm_whatever_the_arm_is_called(plain_run: Run) -> None:
    drawn = gallery.draw(gallery.FIRST, plain_run.plot, plain_run.summary.variants[0], (752,))
    assert isinstance(drawn, Drawing)
    svg = svg_of(drawn.charts[0])
    classes = re.findall(r'class="(of-arm-[^"]*)"', inline_svg(svg, "p-", "", arms=["reversed", "freeze; arm: full"]))
    assert set(classes) == {"of-arm-0"}
    hostile = svg.replace("arm: freeze", "arm: freeze; arm: full")
    classes = re.findall(r'class="(of-arm-[^"]*)"', inline_svg(hostile, "p-", "", arms=["full", "freeze; arm: full"]))
    assert set(classes) == {"of-arm-0", "of-arm-1"}


def test_numbers_are_told_to_five_digits_and_names_as_they_are() -> None:
    mark = '<path role="graphics-symbol" aria-roledescription="point" d="M0,0" aria-label="{}"/>'
    for label, told in (
        ("loss: \N{MINUS SIGN}0.0436179; arm: rate-0.1234567", "loss: \N{MINUS SIGN}0.043618\narm: rate-0.1234567"),
        ("share: 40.7566249%; arm: 1.23456", "share: 40.757%\narm: 1.23456"),
    ):
        svg = f'<svg xmlns="http://www.w3.org/2000/svg">{mark.format(label)}</svg>'
        assert f"<title>{told}</title>" in inline_svg(svg, "p-", "")


def test_a_drawing_for_phones_tells_nothing_and_keeps_nothing_unseen(plain_run: Run) -> None:
    drawn = gallery.draw(gallery.FIGURES[0], plain_run.plot, plain_run.summary.variants[0], (340,))
    assert isinstance(drawn, Drawing)
    found = inline_svg(svg_of(drawn.charts[0]), "p-", "", tells=False)
    assert "<title>" not in found
    assert 'opacity="0"' not in found


def test_every_figure_has_its_numbers_below_it(plain_page: str) -> None:
    figures = re.findall(r"<figure id.*?</figure>", plain_page, re.DOTALL)
    assert len(figures) > 10
    for figure in figures:
        assert re.search(r'<details class="numbers">.*<td>', figure, re.DOTALL)


def test_the_numbers_of_a_figure_are_files_for_other_programs(
    plain_run: Run, plain_folder: Path, tmp_path: Path
) -> None:
    written = write_data(plain_folder, tmp_path)
    assert {path.suffix for path in written} == {".csv", ".parquet"}
    with (tmp_path / "figures.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert {row["file"] for row in listed} == {path.stem for path in written} - {"figures"}
    for row in listed:
        with (tmp_path / f"{row['file']}.csv").open(newline="") as file:
            header, *rows = csv.reader(file)
        assert header == row["columns"].split(" ")
        assert len(rows) == int(row["rows"]) == pl.read_parquet(tmp_path / f"{row['file']}.parquet").height
    losses = pl.read_parquet(tmp_path / "loss.parquet")
    assert losses.sort("seed", "arm", "step").equals(
        plain_run.losses().select("seed", "arm", "step", "loss_nats").sort("seed", "arm", "step")
    )


def test_what_a_spreadsheet_would_take_for_a_formula_is_text() -> None:
    hostile = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "plain", "a=b", None]
    content = csv_of(pl.DataFrame({"arm": hostile, "value": [-1.5] * len(hostile)})).decode()
    rows = list(csv.reader(content.splitlines(keepends=True)))[1:]
    assert [row[0] for row in rows] == ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\tx", "'\rx", "plain", "a=b", ""]
    assert {row[1] for row in rows} == {"-1.5"}


def test_panels_are_one_table_and_noise_is_told_from_what_was_measured(plain_run: Run) -> None:
    changes = plain_run.weight_changes()
    frames = numbers_of(weight_change_chart(changes, changes.head(4), Style(("full", "freeze", "reversed"), "full")))
    assert [("of" in frame.columns) for frame in frames] == [False, True]
    assert frames[0].get_column("role").n_unique() > 1


@pytest.fixture(scope="module")
def shown(plain_folder: Path, plain_page: str) -> Iterator[object]:
    """The report in a real browser."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    del plain_page  # it is written
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto((plain_folder / "report.html").as_uri())
        yield page
        browser.close()


def test_an_arm_that_is_switched_off_leaves_the_figures(shown: object) -> None:
    from playwright.sync_api import Page, expect

    assert isinstance(shown, Page)
    marks = shown.locator("#figure-loss svg.wide .of-arm-1")
    others = shown.locator("#figure-loss svg.wide .of-arm-0").first
    expect(marks.first).to_be_visible()
    shown.locator("#show-arm-1").uncheck()
    assert not any(mark.is_visible() for mark in marks.all())
    expect(others).to_be_visible()
    shown.locator("#show-arm-1").check()
    expect(marks.first).to_be_visible()
