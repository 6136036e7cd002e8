"""The blind page: self-contained, silent about who wrote what until the end, and right in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from frostline.report import render_blind
from frostline.stats import BlindPair, BlindTest, result_of
from tests.report.markup import Markup

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "</script><script>document.title='RAN'</script><img src=x onerror=alert(1)> \" ' & {{ 7*7 }}"
ARMS = ("full", "freeze")


def page_of(pairs: int = 6, text: str = "and the whale swam on") -> tuple[BlindTest, str]:
    made = []
    for index in range(pairs):
        arms = ARMS if index % 3 else (ARMS[1], ARMS[0])
        made.append(BlindPair("", 0, index, f"Call me {text}", (f"{text} {index} A", f"{text} {index} B"), arms))
    test = BlindTest("whales", ARMS, 0, tuple(made), identical=2)
    return test, render_blind(test)


def test_the_page_is_one_file_that_names_no_address_and_lets_its_own_script_run_alone() -> None:
    _, page = page_of(text=HOSTILE)
    found = Markup(page)
    assert "http" not in page.replace("http-equiv", "")
    assert "url(" not in page
    assert "@import" not in page
    assert found.elements.count("script") == 1
    assert not {"link", "iframe", "object", "img", "base", "form"} & set(found.elements)
    assert not [name for _, name, _ in found.attributes if name in ("src", "href", "action") or name.startswith("on")]
    script = page[page.index("<script>") + len("<script>") : page.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    assert f"script-src 'sha256-{digest}'" in unescape(policy)
    assert unescape(policy).startswith("default-src 'none'")


def test_no_arm_stands_beside_a_text_and_texts_stand_as_text() -> None:
    test, page = page_of(text=HOSTILE)
    pairs = page[page.index('<section class="pair"') : page.index('<div id="choose"')]
    assert not re.search("full|freeze", pairs)
    for pair in test.pairs:
        assert all(text in Markup(page).text for text in pair.texts)
    turned = replace(test, pairs=tuple(replace(pair, arms=pair.arms[::-1]) for pair in test.pairs))
    assert pairs in render_blind(turned)


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_in_a_browser_choices_are_kept_tested_told_and_saved(tmp_path: Path) -> None:
    test, page = page_of()
    wanted = ["A", "B", "same", "B", "A", "A"]
    keys = {"A": "a", "same": "n"}
    script = f"""
    const keys = {json.dumps([keys.get(one, "") for one in wanted])};
    const press = (key) => document.dispatchEvent(new KeyboardEvent('keydown', {{ key }}));
    const seen = [];
    const shown = () => seen.push(Array.from(document.querySelectorAll('.pair')).map((one) => one.hidden ? 0 : 1));
    shown();
    for (const key of keys) {{
      if (key) press(key); else document.querySelector('[data-choice=B]').click();
      shown();
    }}
    URL.createObjectURL = (blob) => {{
      blob.text().then((text) => {{ document.body.dataset.saved = text; }});
      return '';
    }};
    HTMLAnchorElement.prototype.click = () => {{}};
    document.getElementById('save').click();
    document.body.dataset.seen = JSON.stringify(seen);
    """
    # A script of the test's, which the page's own policy would not let run.
    file = tmp_path / "blind.html"
    file.write_text(re.sub(r"script-src [^;]+;", "script-src 'unsafe-inline';", page)
                    .replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")  # fmt: skip
    dom = in_browser(file, tmp_path)
    data = {name: unescape(value) for name, value in re.findall(r'data-(saved|seen)="([^"]*)"', dom)}
    saved = json.loads(data["saved"])
    assert saved == {"format": 1, "page": test.sha256, "arms": list(ARMS), "drawing": 0, "choices": wanted}
    assert json.loads(data["seen"]) == [[int(place == step) for place in range(6)] for step in range(7)]
    result = result_of(test, wanted)
    assert f"You chose full {result.chosen[0]} times and freeze {result.chosen[1]} times" in dom
    assert f"p = {result.p_value:.3f}" in dom
    assert "<td>freeze</td><td>full</td><td>A (freeze)</td>" in dom
    again = in_browser(file, tmp_path)  # the same browser: what was chosen is still there
    assert json.loads(unescape(re.findall(r'data-seen="([^"]*)"', again)[0]))[0] == [0] * 6


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_in_a_browser_the_page_runs_as_it_is_and_shows_the_first_pair_alone(tmp_path: Path) -> None:
    _, page = page_of(text=HOSTILE)
    file = tmp_path / "blind.html"
    file.write_text(page, encoding="utf-8")
    dom = in_browser(file, tmp_path)
    assert "0 of 6 chosen" in dom
    assert "<title>RAN" not in dom
    assert len(re.findall(r'<section class="pair" aria-label', dom)) == 1


def in_browser(file: Path, folder: Path) -> str:
    """The page as Chromium has it once its script has run."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
        f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=3000", "--dump-dom", file.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
