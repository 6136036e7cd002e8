"""The page in a real browser: nothing that a run holds acts, nothing frames it, and it shows what there is."""

from __future__ import annotations

import asyncio
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from frostline.live_page.folder import watched_folder
from frostline.live_page.serve import address_of, bound_socket
from frostline.run_folder import (
    ArmFailed,
    ArmPlace,
    ArmStarted,
    Continuation,
    Journal,
    RunStarted,
    StepTaken,
    VariantPrepared,
)
from frostline.text import visible
from tests.builders.simulated_run import write_simulated_run
from tests.run_folder.test_journal import FACTS
from tests.survival.test_browser import PAYLOADS

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, str]]:
    """Serve `folder` in a thread; its address without, and with, the token."""
    import uvicorn

    from frostline.live_page.application import Site, application
    from frostline.live_page.guard import Tickets

    ending = threading.Event()
    with bound_socket(None) as bound:
        port = bound.getsockname()[1]
        app = application(Site(watched_folder(folder), ending.is_set), Tickets(port, "token", lambda token: None))
        config = uvicorn.Config(app, log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([bound])))
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}", address_of(port, "token")
        finally:
            ending.set()
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context()
    opened = context.new_page()
    opened.faults = []
    opened.on("pageerror", lambda error: opened.faults.append(str(error)))
    yield opened
    assert opened.faults == []
    context.close()


def write_hostile(folder: Path, text: str) -> None:
    """A run in which every text that a page shows is `text`; its names are those that only a forger would write."""
    arm = ArmPlace(text, 0, text)
    (folder / "journal").mkdir(parents=True)
    facts = replace(FACTS, description=text)
    prepared = VariantPrepared(
        text, text, "LlamaForCausalLM", "00", 5, 2, 64, facts, None, text, text, "lock-step", [text], 0.4
    )  # fmt: skip
    with Journal(folder) as journal:
        journal.append(RunStarted(text, text, text, {text: text}))
        journal.append(prepared)
    records = [
        ArmStarted(*arm, text, 1e-3, 0.0, 10, 10, 0, 1.0, 0.0, 0.0, "00"),
        StepTaken(*arm, 0, 3.0, 1.0, 1e-3, 510, 512, "00", False, 0.5),
        Continuation(*arm, 0, text, text, 3, 1, 1.0, 0, 0, 1.0, 1.0, 1.0, 0.0, 0.0),
        ArmFailed(*arm, 1, text),
    ]
    lines = [{"sequence": index, "kind": type(own).__name__, **asdict(own)} for index, own in enumerate(records)]
    written = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "journal" / "variant0-seed0-full.jsonl").write_text(written, encoding="utf-8")
    (folder / "experiment.yaml").write_text("name: hostile\narms: {full: {train: all}}\n", encoding="utf-8")


def test_no_payload_runs_or_makes_an_element_in_any_text(page: Any, tmp_path: Path) -> None:
    assert len(set(PAYLOADS)) >= 70
    write_hostile(tmp_path / "harmless", "harmless")
    halves = [PAYLOADS[first::4] for first in range(4)]
    for index, half in enumerate(halves):
        write_hostile(tmp_path / f"hostile {index} <b>", " ".join(half))
    elements = "() => [...document.querySelectorAll('body *')].map((own) => own.tagName).sort().join()"
    with served(tmp_path) as (base, address):
        page.goto(address)
        page.locator("#runs li").nth(len(halves)).wait_for()
        assert page.locator("b, script:not([type=module]), img").count() == 0
        page.goto(f"{base}/runs/harmless")
        page.locator(".messages .alert").wait_for()
        harmless = page.evaluate(elements)
        for index, half in enumerate(halves):
            page.goto(f"{base}/runs/hostile {index} <b>")
            page.locator(".messages .alert").wait_for()
            assert page.evaluate(elements) == harmless, half
            assert "RAN" not in page.title()
            told = page.locator("body").inner_text()
            for payload in half:
                assert " ".join(visible(payload).split()) in " ".join(told.split())


def test_a_page_from_elsewhere_can_neither_frame_it_nor_read_it_nor_stop_a_run(page: Any, tmp_path: Path) -> None:
    write_simulated_run(tmp_path / "run", seeds=(0,), steps=4)

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f"<title>elsewhere</title><iframe src='{base}/runs/run'></iframe>".encode())

        def log_message(self, *told: object) -> None: ...

    with served(tmp_path) as (base, address):
        other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
        threading.Thread(target=other.serve_forever).start()
        try:
            page.goto(address)
            page.goto(f"http://127.0.0.1:{other.server_port}/")
            framed = page.frames[1]
            assert "run" not in framed.content() or framed.locator("#name").count() == 0
            for method, path in (("GET", "/runs.json"), ("POST", "/runs/run/stop")):
                asked = "([url, method]) => fetch(url, {method, credentials: 'include'}).then(() => 1, () => 'refused')"
                assert page.evaluate(asked, [base + path, method]) == "refused"
        finally:
            other.shutdown()
            other.server_close()


def test_it_shows_a_run_as_it_goes_on_and_is_used_by_keyboard(page: Any, tmp_path: Path) -> None:
    folder = write_simulated_run(tmp_path / "run", seeds=(0, 1), steps=40)
    write_simulated_run(tmp_path / "other", seeds=(0,), steps=30)
    (folder / "report.html").write_text(
        "<style>p{color:red}</style><p>The report</p><script>document.title='RAN'</script>"
    )
    (folder / "journal" / "run.jsonl").write_bytes(
        b"".join((folder / "journal" / "run.jsonl").read_bytes().splitlines(keepends=True)[:2])
    )  # it has not ended
    with served(tmp_path) as (base, address):
        page.goto(address)
        page.get_by_role("link", name="run", exact=True).click()
        page.get_by_text("80 of 80").or_(page.get_by_text("240 of 240")).wait_for()
        loss = page.locator("figure").first
        loss.locator("polyline.line").nth(2).wait_for()
        newest = loss.locator(".readout").inner_text()
        loss.locator("svg").focus()
        page.keyboard.press("ArrowLeft")
        assert loss.locator(".readout").inner_text() != newest
        page.keyboard.press("+")
        page.locator("#whole").wait_for()
        page.keyboard.press("0")
        page.locator("#whole").wait_for(state="hidden")
        page.get_by_role("button", name="freeze").press("Enter")
        loss.locator("polyline.line").nth(2).wait_for(state="detached")
        with Journal(folder) as journal:
            journal.append(ArmFailed("", 1, "late", 3, "the disk is full"))
        page.get_by_text("the disk is full").wait_for()
        page.goto(f"{base}/compare?run=run&run=other")
        page.get_by_text("other · full").first.wait_for()
        page.goto(f"{base}/runs/run/report")
        assert page.locator("p").evaluate("(own) => getComputedStyle(own).color") == "rgb(255, 0, 0)"
        assert page.title() != "RAN"
