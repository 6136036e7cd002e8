"""Markup and script in every text that a report shows, opened in a real browser: nothing runs, no element appears."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from frostline.report import write_report
from tests.report.markup import Markup
from tests.report.sample_run import Shape, write_run

pytestmark = pytest.mark.as_shipped

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
RAN = "document.title='RAN'"
PAYLOADS = [
    f"<script>{RAN}</script>",
    f"<SCRIPT>{RAN}</SCRIPT>",
    f"<script\n>{RAN}</script >",
    f"<script/x>{RAN}</script>",
    f"</script><script>{RAN}</script>",
    f"</style><script>{RAN}</script>",
    f"</title><script>{RAN}</script>",
    f"</textarea><script>{RAN}</script>",
    f"--><script>{RAN}</script>",
    f"]]><script>{RAN}</script>",
    f"<img src=x onerror={RAN}>",
    f'<img src="x" onerror="{RAN}">',
    f"<img/src=x/onerror={RAN}>",
    "<img src=x onerror=&#100;ocument.title='RAN'>",
    f"<svg onload={RAN}>",
    f"<svg/onload={RAN}>",
    f"<svg><script>{RAN}</script></svg>",
    f"<svg><animate onbegin={RAN} attributeName=x dur=1s>",
    f"<svg><a xlink:href=\"javascript:{RAN}\"><text>x</text></a></svg>",
    f"<svg><use href=\"data:image/svg+xml,<svg id='x' onload={RAN}/>#x\"/></svg>",
    f"<svg><foreignObject><img src=x onerror={RAN}></foreignObject></svg>",
    f"<svg><set attributeName=onload to={RAN}>",
    f"<math><mtext><img src=x onerror={RAN}></mtext></math>",
    f"<math href=\"javascript:{RAN}\">x</math>",
    f"<body onload={RAN}>",
    f"<iframe src=\"javascript:{RAN}\"></iframe>",
    f"<iframe srcdoc=\"<script>parent.{RAN}</script>\"></iframe>",
    f"<object data=\"javascript:{RAN}\"></object>",
    f"<embed src=\"javascript:{RAN}\">",
    f"<link rel=stylesheet href=\"javascript:{RAN}\">",
    "<link rel=import href=x>",
    "<base href=https://example.org/>",
    f"<meta http-equiv=refresh content=\"0;url=javascript:{RAN}\">",
    "<meta http-equiv=refresh content='0;url=about:blank'>",
    f"<a href=\"javascript:{RAN}\">x</a>",
    f"<a href=\" \x01javascript:{RAN}\">x</a>",
    f"<a href='jav\tascript:{RAN}'>x</a>",
    f"<form action=\"javascript:{RAN}\"><button>x</button></form>",
    f"<button formaction=\"javascript:{RAN}\">x</button>",
    f"<input autofocus onfocus={RAN}>",
    f"<select autofocus onfocus={RAN}></select>",
    f"<textarea autofocus onfocus={RAN}></textarea>",
    f"<details open ontoggle={RAN}>",
    f"<video src=x onerror={RAN}></video>",
    f"<audio src=x onerror={RAN}></audio>",
    f"<source onerror={RAN}>",
    f"<marquee onstart={RAN}>x</marquee>",
    f"<div onpointerenter={RAN} style='position:fixed;inset:0'>x</div>",
    f"<style>@import 'javascript:{RAN}'</style>",
    f"<style onload={RAN}></style>",
    f"<template><script>{RAN}</script></template>",
    f"<noscript><p title=\"</noscript><img src=x onerror={RAN}>\">",
    f"<xmp><p title=\"</xmp><img src=x onerror={RAN}>\">",
    f"<!--><img src=x onerror={RAN}>-->",
    f"<![CDATA[<img src=x onerror={RAN}>]]>",
    f"<?xml version='1.0'?><script>{RAN}</script>",
    f"\"><script>{RAN}</script>",
    f"'><script>{RAN}</script>",
    f"\" onmouseover=\"{RAN}",
    f"' onfocus='{RAN}' autofocus='",
    f"` onerror={RAN} `",
    "{{ 7*7 }}",
    "{% for x in (1).__class__.__mro__ %}{{ x }}{% endfor %}",
    "${7*7}",
    f"\\u003cscript\\u003e{RAN}\\u003c/script\\u003e",
    f"&lt;script&gt;{RAN}&lt;/script&gt;",
    f"&#60;script&#62;{RAN}&#60;/script&#62;",
    f"%3Cscript%3E{RAN}%3C/script%3E",
    f"＜script＞{RAN}＜/script＞",
    f"\u202e<script>{RAN}</script>\u2066",
    f"\x00<script>{RAN}</script>",
    f"<scr\x00ipt>{RAN}</script>",
    f"\ufeff<script>{RAN}</script>",
    f"<script src=data:text/javascript,{RAN}></script>",
    f"<custom-element onclick={RAN}>x</custom-element>",
]  # fmt: skip

BATCHES = 2
"""Of payloads, each in a report of its own."""


def test_there_are_enough_of_them() -> None:
    assert len(set(PAYLOADS)) >= 60


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_payload_runs_or_makes_an_element(batch: int, tmp_path: Path) -> None:
    # Joined and apart: what closes one may open another.
    text = " ".join(PAYLOADS[batch::BATCHES])
    harmless = Shape(text="harmless", seeds=(0,), layers=2, steps=6)
    hostile = Shape(text=text, seeds=(0,), layers=2, steps=6)
    expected = Markup(rendered(write_report(write_run(tmp_path / "harmless", harmless)), tmp_path))
    page = rendered(write_report(write_run(tmp_path / "hostile", hostile)), tmp_path)
    found = Markup(page)
    assert "<title>RAN" not in page
    # Long samples are folded, so only the number of <details> may differ.
    folded = {"details", "summary"}
    assert Counter(tag for tag in found.elements if tag not in folded) == Counter(
        tag for tag in expected.elements if tag not in folded
    )
    assert {(tag, name) for tag, name, _ in found.attributes} == {(tag, name) for tag, name, _ in expected.attributes}
    for payload in PAYLOADS[batch::BATCHES]:
        if payload.isprintable():
            assert " ".join(payload.split()) in " ".join(found.text.split())


def rendered(report: Path, folder: Path) -> str:
    """The page as Chromium has it once all that could run has run."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
        f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=2000", "--dump-dom", report.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
