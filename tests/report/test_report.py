"""The page: complete, self-contained, and true to summary.json."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path

import pytest
from rich.console import Console

from frostline.report import gallery, numbers, spread_note, write_report
from frostline.stats import Estimate
from frostline.terminal.run import show_run
from tests.report.markup import Markup
from tests.report.sample_run import Shape, write_run


def test_the_report_is_one_file_that_names_no_address_and_has_no_script(plain_page: str) -> None:
    found = Markup(plain_page)
    assert "http" not in plain_page.replace("http-equiv", "")
    assert not {"script", "link", "iframe", "object", "img", "base", "form"} & set(found.elements)
    assert not [name for _, name, _ in found.attributes if name in ("src", "xlink:href", "action")]
    ids = {value for _, name, value in found.attributes if name == "id"}
    links = [value for _, name, value in found.attributes if name == "href"]
    assert links
    assert {link.removeprefix("#") for link in links} <= ids  # to its own sections
    assert "url(" not in plain_page.replace("url(#", "")
    assert "@import" not in plain_page


def test_the_policy_of_the_page_forbids_loading_and_scripts(plain_page: str) -> None:
    (policy,) = [value for tag, name, value in Markup(plain_page).attributes if (tag, name) == ("meta", "content")][:1]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert "script-src" not in policy


def test_the_report_stays_below_five_megabytes_with_many_replicates(tmp_path: Path) -> None:
    shape = Shape(seeds=tuple(range(10)), steps=200, layers=4, prompts=2)
    report = write_report(write_run(tmp_path / "run", shape))
    assert report.stat().st_size < 5_000_000


def test_headline_numbers_are_those_of_the_summary(plain_folder: Path, plain_page: str) -> None:
    summary = json.loads((plain_folder / "summary.json").read_text(encoding="utf-8"))
    text = Markup(plain_page).text
    arms = summary["variants"][0]["arms"]
    assert set(arms) == {"full", "freeze", "reversed"}
    for arm in arms.values():
        assert f"{arm['held_out_after']['value']:.2f}" in text
        assert f"{1000 * arm['step_seconds']['value']:.0f}\N{NO-BREAK SPACE}ms" in text
        assert f"{arm['peak_bytes'] / 1e9:.2f}\N{NO-BREAK SPACE}GB" in text
        if arm["saving"] is not None:
            assert f"{100 * arm['saving']['value']:.1f}\N{NO-BREAK SPACE}%" in text
    for claim in summary["claims"]:
        assert claim["sentence"] in text
        assert claim["statistic"] in text
    for sentence in summary["answer"]:
        assert sentence in text


def test_what_became_of_the_rows_stands_in_report_and_terminal(plain_folder: Path, plain_page: str) -> None:
    written = io.StringIO()
    Console(width=400, color_system=None, file=written).print(show_run(plain_folder))
    for shown in (Markup(plain_page).text, written.getvalue()):
        plain = " ".join(shown.split())
        assert f"left out: 12 {Shape().text}; 7 cut to the window" in plain
        assert f"{Shape().text} as the chat template writes it" in plain.replace(", as", " as")


def test_the_first_screen_says_what_it_costs_beside_loss_over_time(plain_page: str, plain_folder: Path) -> None:
    summary = json.loads((plain_folder / "summary.json").read_text(encoding="utf-8"))
    answer = plain_page.index('id="answer"')
    lead = plain_page.index('class="lead"')
    figure = plain_page.index('id="figure-loss_over_time"')
    assert answer < lead < figure < plain_page.index('class="cards"') < plain_page.index('id="claims"')
    text = Markup(plain_page).text
    for sentence in summary["variants"][0]["bottom_line"] + summary["variants"][0]["cost_details"]:
        assert sentence in text


def test_the_studys_own_numbers_stand_beside_those_of_the_run(plain_page: str) -> None:
    text = Markup(plain_page).text
    assert "89 s against 120 s: 25.8 % less" in text
    assert "from 3.78 to 2.65" in text


def test_a_card_shows_the_seeds_where_they_are_few_and_an_interval_where_not() -> None:
    few = Estimate(0.5, 0.1, 0.9, 3, "share", "t over replicates")
    assert spread_note(few, [0.4, 0.5, 0.6]) == numbers_in("seeds 40.0 %, 50.0 %, 60.0 %")
    assert spread_note(few, [0.5]) == spread_note(None) == ""
    enough = Estimate(0.5, 0.1, 0.9, 4, "share", "t over replicates")
    assert spread_note(enough, [0.4, 0.5, 0.6, 0.5]) == numbers_in("[10.0, 90.0] %")
    blocks = Estimate(0.5, 0.1, 0.9, 3, "share", "moving-block bootstrap over steps")
    assert spread_note(blocks, []) == numbers_in("[10.0, 90.0] %")


def numbers_in(text: str) -> str:
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def test_an_arm_that_diverged_is_told_before_the_answer(tmp_path: Path) -> None:
    shape = Shape(failed="freeze", seeds=(0, 1), layers=2, steps=8)
    page = write_report(write_run(tmp_path / "run", shape)).read_text(encoding="utf-8")
    assert page.index("freeze diverged in seed 0: its loss was not finite") < page.index('id="answer"')


def test_verdicts_are_words_with_a_class_of_their_own(plain_page: str) -> None:
    classes = [value for tag, name, value in Markup(plain_page).attributes if (tag, name) == ("td", "class")]
    for verdict in ("supported", "refuted", "undecided"):
        assert classes.count(f"verdict {verdict}") == 2
    assert "Six replicates or more." in plain_page


def test_sections_stand_in_the_order_of_reading(plain_page: str) -> None:
    ids = [value for tag, name, value in Markup(plain_page).attributes if (tag, name) == ("section", "id")]
    assert ids == [
        "answer", "claims", "loss", "style", "weights", "cost", "quality", "samples", "forgetting", "repeat",
    ]  # fmt: skip


def test_the_held_out_text_itself_is_the_first_row_of_the_table_and_the_first_sample(plain_page: str) -> None:
    table = plain_page[plain_page.index('<div class="texts">') : plain_page.index('<section id="samples">')]
    rows = re.findall(r'<th scope="row">(?:<span[^>]*></span>)?([^<]+)</th>', table)
    assert rows == ["what the text itself goes on with", "before training", "full", "freeze", "reversed"]
    assert "41.0\N{NO-BREAK SPACE}%" in table[table.index(rows[0]) : table.index(rows[1])]
    assert "A higher number is not better text" in table
    assert "No model of another origin has judged the texts" in table
    samples = plain_page[plain_page.index('<section id="samples">') :]
    names = re.findall(r"<h4>(?:<span[^>]*></span>)?([^<]+)</h4>", samples)
    assert names[:5] == rows
    assert "the text itself: the value of an expression" in samples


def test_no_text_is_called_better(plain_page: str) -> None:
    text = Markup(plain_page).text
    assert not re.search(r"better text(?<!is not better text)", text)
    assert "perplexity" not in text


def test_every_figure_has_a_name_for_screen_readers_and_a_caption(plain_page: str) -> None:
    found = Markup(plain_page)
    figures = found.elements.count("figure")
    labels = [value for tag, name, value in found.attributes if (tag, name) == ("svg", "aria-label")]
    assert figures == 14
    assert found.elements.count("figcaption") == figures
    assert len(labels) == 2 * figures
    assert all(labels)


def test_ids_are_unique_across_all_drawings(plain_page: str) -> None:
    ids = [value for _, name, value in Markup(plain_page).attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_clips_refer_to_ids_of_their_own_drawing(plain_page: str) -> None:
    ids = {value for _, name, value in Markup(plain_page).attributes if name == "id"}
    used = set(re.findall(r"url\(#([^)]+)\)", plain_page))
    assert used
    assert used <= ids


def test_what_was_not_measured_is_named_with_its_reason(tmp_path: Path) -> None:
    shape = Shape(arms=("full",), seeds=(0,), steps=4, prompts=0, watch=False, memory=False, retention=False)
    text = Markup(write_report(write_run(tmp_path / "run", shape)).read_text(encoding="utf-8")).text
    for reason in (
        "no second arm", "No text was sampled", "drift of the weights was not measured", "Peak memory was not measured",
        "names no retention corpus",
    ):  # fmt: skip
        assert reason in text


def test_a_failed_arm_and_an_interruption_are_told_before_the_answer(tmp_path: Path) -> None:
    shape = Shape(failed="freeze", status="interrupted", seeds=(0, 1), layers=2, steps=8)
    page = write_report(write_run(tmp_path / "run", shape)).read_text(encoding="utf-8")
    alerts = page.index('class="alerts"')
    assert alerts < page.index("freeze, seed 0: the loss is not a number.") < page.index('id="answer"')
    assert alerts < page.index("The run was interrupted") < page.index('id="answer"')
    assert "NaN" not in page
    assert ">nan" not in page


def test_six_arms_are_drawn_in_six_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "FIGURES", gallery.FIGURES[:1])
    shape = Shape(arms=("full", "freeze", "reversed", "lora", "mlp", "norms"), seeds=(0, 1), steps=6, layers=2)
    found = Markup(write_report(write_run(tmp_path / "run", shape)).read_text(encoding="utf-8"))
    borders = [value for tag, name, value in found.attributes if tag == "section" and name == "style"]
    assert len(borders) == 6
    assert len(set(borders)) == 6


def test_each_variant_has_sections_and_all_share_an_overview(tmp_path: Path) -> None:
    shape = Shape(variants=("corpus.tokens=1000", "corpus.tokens=2000"), seeds=(0,), steps=4, layers=2)
    page = write_report(write_run(tmp_path / "run", shape)).read_text(encoding="utf-8")
    ids = [value for _, name, value in Markup(page).attributes if name == "id"]
    assert {"overview", "variant-0-loss", "variant-1-loss", "variant-0-cost", "variant-1-cost"} <= set(ids)
    assert len(ids) == len(set(ids))


def test_writing_twice_leaves_the_same_report_and_nothing_else(plain_folder: Path, plain_page: str) -> None:
    before = sorted(path.name for path in plain_folder.iterdir())
    assert write_report(plain_folder).read_text(encoding="utf-8") == plain_page
    assert sorted(path.name for path in plain_folder.iterdir()) == before


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, "–"), (math.nan, "–"), (0.0, "0"), (3.14159, "3.14"), (-0.02134, "−0.0213"), (1234.0, "1,234"),
     (3e-7, "3.00e−07")],
)  # fmt: skip
def test_numbers_are_written_with_three_digits_and_a_true_minus(value: float | None, written: str) -> None:
    assert numbers.number(value) == written


def test_a_unit_stays_on_the_line_of_its_number() -> None:
    written = [numbers.seconds(-0.172), numbers.size(2e9), numbers.share(0.0004), numbers.count(2e6)]
    assert written == [text.replace(" ", "\N{NO-BREAK SPACE}") for text in ("−172 ms", "2 GB", "0.04 %", "2.0 M")]
    assert numbers.interval(Estimate(0.2, -0.1, 0.5, 7, "share", "")) == "[−10.0, 50.0]\N{NO-BREAK SPACE}%"
    assert {numbers.seconds(None), numbers.size(math.nan), numbers.p_value(None), numbers.estimate(None)} == {"–"}
