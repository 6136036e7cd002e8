"""What a recipe reads: counts that agree with the file itself, without the model's weights; rows checked anew."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections import Counter
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

import frostline
from frostline.cli import main
from frostline.corpus import ShownWindow, Stretch
from frostline.errors import CorpusError, FrostlineError
from frostline.report.corpus_page import corpora_page
from frostline.report.write import render_page
from frostline.terminal.corpus import draw_corpora
from tests.builders.corpora import some_ids
from tests.builders.experiments import VOCABULARY, write_experiment
from tests.builders.hub import Hub, install
from tests.builders.tokenizers import CHAT_TEMPLATE, byte_pair_tokenizer, words
from tests.report.markup import Markup

HOSTILE = "<script>document.title='RAN'</script> [bold red]x[/] {{ 7*7 }} \x1b[31m ‮ https://example.org/a.png"


def some_words(count: int, seed: int) -> str:
    """Words that the model's tokenizer knows."""
    return words([id % VOCABULARY for id in some_ids(count, seed)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe, and a model of which only configuration and tokenizer are there."""
    folder = tmp_path_factory.mktemp("corpus")
    write_experiment(folder, arms={"full": {"train": "all"}}, seeds=[0])
    (folder / "model" / "model.safetensors").unlink()
    rows = [(some_words(4, number), some_words(5, number + 90)) for number in range(30)]
    rows[7], rows[9] = ("w1 w2", ""), ("", "w3")
    (folder / "pairs.jsonl").write_text("".join(json.dumps({"q": q, "a": a}) + "\n" for q, a in rows), "utf-8")
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        table = [("id", "text"), *((number, some_words(6, number) if number % 9 else "") for number in range(30))]
        csv.writer(file).writerows(table)
    return folder


@pytest.fixture(autouse=True)
def cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", str(folder / "cache"))


PAIRS = {"corpus": {"source": "pairs.jsonl", "prompt": "q", "response": "a"}}


def printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["frostline", "corpus", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, errors = capsys.readouterr()
    return int(ended.value.code or 0), out, errors


def as_options(settings: dict[str, dict[str, str]]) -> list[str]:
    return [text for key, value in settings.items() for text in ("--set", f"{key}={json.dumps(value)}")]


def test_counts_are_those_of_the_file(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    code, out, _ = printed(capsys, monkeypatch, "recipe.yaml", *as_options(PAIRS), "--json", "--first", "99")
    assert code == 0
    found = json.loads(out)
    rows = [json.loads(line) for line in (folder / "pairs.jsonl").read_text("utf-8").splitlines()]
    whole = [row for row in rows if row["q"] and row["a"]]
    assert found["rows"] == len(rows)
    assert sum(found["left_out"].values()) == len(rows) - len(whole)
    assert found["cut"] == 0
    # <|user|> prompt <|end|> <|assistant|> response <|end|>
    assert found["tokens"] == sum(len(row["q"].split()) + len(row["a"].split()) + 4 for row in whole)
    assert found["windows"] + found["held_out_windows"] == len(whole) == len(found["first"])
    learnt = [stretch["text"] for window in found["first"] for stretch in window["stretches"] if stretch["learns"]]
    assert Counter("".join(learnt).replace("<|end|>", " ").split()) == Counter(
        " ".join(row["a"] for row in whole).split()
    )
    assert (found["retention"], found["variants"], found["page"]) == (None, [], None)


def test_rows_of_a_table_are_read_as_the_csv_module_reads_them(folder: Path) -> None:
    (found,) = frostline.read_corpus(folder / "recipe.yaml", set={"corpus.source": str(folder / "rows.csv")}, first=99)
    with (folder / "rows.csv").open(encoding="utf-8", newline="") as file:
        met = list(csv.DictReader(file))
    rows = [row["text"] for row in met if row["text"]]
    assert (found.corpus.rows, sum(found.corpus.left_out.values())) == (len(met), len(met) - len(rows))
    shown = " ".join(window.text for window in found.corpus.first).split()
    assert shown == " <|end|> ".join(rows).split()[: len(shown)]
    assert found.corpus.tokens == sum(len(row.split()) + 1 for row in rows) - 1


def test_what_forgetting_is_measured_on_is_shown_too(folder: Path) -> None:
    retention = {"retention": {"source": str(folder / "text.txt"), "tokens": 320}}
    (found,) = frostline.read_corpus(folder / "recipe.yaml", set=retention)
    assert found.retention is not None
    assert found.retention.tokens == 320
    assert found.corpus.tokens == 1500


def test_each_variant_is_shown(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = frostline.read_corpus(folder / "recipe.yaml", set={"vary.corpus.tokens": [300, 400]}, first=0)
    assert [(one.variant, one.corpus.tokens) for one in found] == [
        ("corpus.tokens=300", 300),
        ("corpus.tokens=400", 400),
    ]
    monkeypatch.chdir(folder)
    _, out, _ = printed(capsys, monkeypatch, "recipe.yaml", "--set", "vary={corpus.tokens: [300, 400]}", "--json")
    assert [one["tokens"] for one in json.loads(out)["variants"]] == [300, 400]
    assert json.loads(out)["tokens"] == 300


def test_it_prints_nothing_from_python(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    frostline.read_corpus(folder / "recipe.yaml", check=True)
    assert capfd.readouterr() == ("", "")


def test_a_check_reads_rows_that_training_never_reaches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[dict[str, object]] = [{"text": words([int(digit) for digit in f"1{n:08}"])} for n in range(5000)]
    settings = {"corpus": {"source": "hub:owner/name", "tokens": 900}}
    install(monkeypatch, Hub([*rows, {"other": "w1"}]))
    (found,) = frostline.read_corpus(folder / "recipe.yaml", set=settings)
    assert (found.corpus.tokens, found.corpus.checked) == (900, False)
    with pytest.raises(CorpusError, match=r"key 'corpus': .* has no column 'text'"):
        frostline.read_corpus(folder / "recipe.yaml", set=settings, check=True)
    install(monkeypatch, Hub(rows))
    (found,) = frostline.read_corpus(folder / "recipe.yaml", set=settings, check=True)
    assert (found.corpus.tokens, found.corpus.checked) == (900, True)


@pytest.mark.parametrize("check", [[], ["--check"]])
def test_a_bad_row_is_one_sentence(
    check: list[str], folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    lines = (folder / "pairs.jsonl").read_text("utf-8").splitlines()
    (folder / "bad.jsonl").write_text("\n".join([*lines[:20], '{"q": "w1"', *lines[20:]]), encoding="utf-8")
    bad = {"corpus": {**PAIRS["corpus"], "source": "bad.jsonl"}}
    code, out, errors = printed(capsys, monkeypatch, "recipe.yaml", *as_options(bad), *check)
    assert code == 2
    assert not out
    assert "bad.jsonl:21" in errors
    assert errors.count("error:") == 1


def test_mistakes_are_sentences(folder: Path) -> None:
    with pytest.raises(FrostlineError, match="first=-1 is not understood"):
        frostline.read_corpus(folder / "recipe.yaml", first=-1)
    with pytest.raises(CorpusError, match="key 'corpus"):
        frostline.read_corpus(folder / "recipe.yaml", set={"corpus.source": "not-there.txt"})
    with pytest.raises(CorpusError, match="key 'retention"):
        frostline.read_corpus(folder / "recipe.yaml", set={"retention": {"source": "not-there.txt"}})


@pytest.fixture(scope="module")
def hostile(folder: Path) -> Path:
    """Rows that try to act."""
    rows = [{"q": f"{HOSTILE} w{number}", "a": f"{HOSTILE} w1 </div>"} for number in range(8)]
    (folder / "hostile.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    byte_pairs = folder / "byte-pairs"
    tokenizer = byte_pair_tokenizer(HOSTILE)
    tokenizer.chat_template = CHAT_TEMPLATE
    for path in (folder / "model").iterdir():
        byte_pairs.mkdir(exist_ok=True)
        (byte_pairs / path.name).write_bytes(path.read_bytes())
    tokenizer.save_pretrained(byte_pairs)
    return folder


def read_hostile(hostile: Path) -> list[object]:
    settings = {
        "name": HOSTILE[:80],
        "model.source": str(hostile / "byte-pairs"),
        "corpus": {"source": str(hostile / "hostile.jsonl"), "prompt": "q", "response": "a"},
        "windows": {"length": 400, "held_out": 2},
    }
    found = frostline.read_corpus(hostile / "recipe.yaml", set=settings, page=hostile / "page.html")
    return list(found)


def test_the_page_shows_hostile_rows_as_text_and_loads_nothing(hostile: Path) -> None:
    read_hostile(hostile)
    page = (hostile / "page.html").read_text(encoding="utf-8")
    markup = Markup(page)
    assert "default-src 'none'" in page
    assert not {"script", "img", "link", "iframe", "base"} & set(markup.elements)
    assert not [value for _, name, value in markup.attributes if name in ("src", "href")]
    assert not [name for _, name, _ in markup.attributes if name.startswith("on")]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f‮]", page)
    assert "document.title='RAN'" in markup.text
    assert "{{ 7*7 }}" in markup.text
    assert "⟨U+001B⟩" in markup.text
    classes = {value for tag, name, value in markup.attributes if (tag, name) == ("span", "class")}
    assert {"learnt", "read", "learnt special", "read special"} >= classes - {"note"}
    assert {"learnt", "read"} <= classes


def test_the_terminal_shows_what_learns_in_colour_or_in_brackets(hostile: Path) -> None:
    (found,) = frostline.read_corpus(
        hostile / "recipe.yaml", set={"corpus": PAIRS["corpus"] | {"source": str(hostile / "pairs.jsonl")}}, first=1
    )
    learnt = "".join(stretch.text for stretch in found.corpus.first[0].stretches if stretch.learns)
    plain = Console(width=80, color_system=None, record=True, file=StringIO())
    plain.print(draw_corpora(found))
    text = plain.export_text()
    assert f"⟦{learnt}⟧" in " ".join(text.split())
    assert all(len(line) <= 80 for line in text.splitlines())
    colours = Console(width=80, color_system="truecolor", force_terminal=True, record=True, file=StringIO())
    colours.print(draw_corpora(found))
    styled = colours.export_text(styles=True)
    assert "⟦" not in styled
    assert "\x1b[1;32m" in styled


def test_brackets_stand_on_the_line_of_what_learns(folder: Path) -> None:
    (found,) = frostline.read_corpus(folder / "recipe.yaml", first=0)
    stretches = (Stretch("a: ", False, False), Stretch("yes", True, False), Stretch("<end>", True, True))
    turn = (*stretches, Stretch("\n", True, False))
    window = ShownWindow(8, 6, False, (*turn, *turn), ())
    shown = replace(found, corpus=replace(found.corpus, first=(window,)))
    console = Console(width=80, color_system=None, record=True, file=StringIO())
    console.print(draw_corpora(shown))
    lines = [line.strip() for line in console.export_text().splitlines()]
    assert lines.count("a: ⟦yes<end>↵⟧") == 2


def test_a_long_window_is_shortened_on_a_screen_and_whole_on_the_page(folder: Path) -> None:
    (found,) = frostline.read_corpus(folder / "recipe.yaml", set={"windows": {"length": 700, "held_out": 1}}, first=1)
    (window,) = found.corpus.first
    assert len(window.text) > 2000
    console = Console(width=80, color_system=None, record=True, file=StringIO())
    console.print(draw_corpora(found))
    text = " ".join(console.export_text().split())
    assert f"… {len(window.text) - 2000:,} characters …" in text
    assert window.text[-500:] in text
    assert window.text[:500] in text.replace("⟦", "")
    assert window.text in "".join(Markup(render_page(corpora_page("x", [found]))).texts)
