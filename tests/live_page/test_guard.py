"""Nobody sees the page but whoever was shown its address, and nothing but the page itself can change anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.simulated_run import write_simulated_run
from tests.live_page.asking import HOST, PORT, TOKEN, Asking

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
ADDRESSES = ("/", "/runs.json", "/compare", "/static/run.js", "/runs/one", "/runs/one/events", "/runs/one/report")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write_simulated_run(folder / "one", seeds=(0,), steps=6)
    (folder / "one" / "report.html").write_text("<p>a report</p>", encoding="utf-8")
    return folder


@pytest.fixture
def asking(runs: Path) -> Asking:
    return Asking(runs)


@pytest.mark.parametrize("path", ADDRESSES)
def test_without_the_cookie_there_is_a_sentence_and_nothing_else(asking: Asking, path: str) -> None:
    for cookie in ("", f"frostline-{PORT}=guessed", f"frostline-{PORT}={TOKEN}", f"other={TOKEN}", '"; \x00=,'):
        asking.cookie = cookie
        answer = asking.ask(path)
        assert answer.status == 403
        assert "open the address with a token" in answer.text
        assert "set-cookie" not in answer.headers


def test_the_address_works_once_and_gives_a_cookie_that_no_script_reads_and_no_other_site_sends(asking: Asking) -> None:
    answer = asking.ask(f"/?token={TOKEN}")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie, *rest = answer.headers["set-cookie"].split("; ")
    assert cookie.startswith(f"frostline-{PORT}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(rest)
    assert TOKEN not in cookie
    again = asking.ask(f"/?token={TOKEN}")
    assert (again.status, "set-cookie" in again.headers) == (403, False)
    (following,) = asking.following
    assert asking.ask(f"/?token={following}").headers["set-cookie"].startswith(cookie)
    asking.cookie = cookie
    assert asking.ask("/").status == 200
    assert asking.ask(f"/?token={TOKEN}").status == 303, "who is in already stays in"


def test_tokens_that_are_none_are_refused_whatever_they_hold(asking: Asking) -> None:
    for token in ("x", TOKEN[:-1], TOKEN + "x", "%C3%A9", "%ff", TOKEN.upper(), "%00"):
        assert asking.ask(f"/?token={token}").status == 403


@pytest.mark.parametrize("host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1.evil.example", "0.0.0.0", ""])
def test_another_name_for_this_machine_is_refused(asking: Asking, host: str) -> None:
    asking.enter()
    for path in (*ADDRESSES, f"/?token={TOKEN}"):
        answer = asking.ask(path, headers={"host": host})
        assert answer.status == 400
        assert "frostline" not in answer.text.lower()


def test_a_tunnel_may_come_out_at_another_port(asking: Asking) -> None:
    asking.enter()
    assert asking.ask("/runs/one", headers={"host": "localhost:9999"}).status == 200
    stop = asking.ask("/runs/one/stop", "POST", {"host": "localhost:9999", "origin": "http://localhost:9999"})
    assert stop.status == 409, "let in: the run has ended"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://127.0.0.1:1", f"https://{HOST}", None])
def test_another_page_cannot_stop_a_run(asking: Asking, origin: str | None) -> None:
    asking.enter()
    headers = {} if origin is None else {"origin": origin}
    for method in ("POST", "PUT", "DELETE"):
        assert asking.ask("/runs/one/stop", method, headers).status == 403
    assert asking.ask("/runs/one/stop", "POST", {"origin": f"http://{HOST}"}).status == 409


def test_looking_changes_nothing(asking: Asking) -> None:
    asking.enter()
    assert asking.ask("/runs/one/stop").status == 405


def test_every_answer_keeps_the_browser_from_doing_more_than_it_shows(asking: Asking) -> None:
    def check(path: str, headers: dict[str, str] | None = None) -> None:
        found = asking.ask(path, headers=headers, until=lambda answer: True).headers
        assert found["content-security-policy"] == POLICY
        assert found["x-content-type-options"] == "nosniff"
        assert found["referrer-policy"] == "no-referrer"
        assert found["cache-control"] == "no-store"
        assert found["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in found
        assert "access-control-allow-origin" not in found

    check("/")
    check("/", {"host": "evil.example"})
    asking.enter()
    for path in (*ADDRESSES[:-1], "/nowhere", "/runs/nowhere"):
        check(path, {"origin": "http://evil.example"})


def test_a_report_is_shown_with_its_styles_and_without_any_script(asking: Asking) -> None:
    answer = asking.enter().ask("/runs/one/report")
    assert answer.text == "<p>a report</p>"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:;" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'none'; sandbox" in policy


def test_no_address_leads_out_of_the_folder(runs: Path, tmp_path: Path) -> None:
    outside = write_simulated_run(tmp_path / "secret", seeds=(0,), steps=4)
    (outside / "report.html").write_text("SECRET", encoding="utf-8")
    folder = tmp_path / "runs"
    write_simulated_run(folder / "one", seeds=(0,), steps=4)
    (folder / "linked").symlink_to(outside)
    linked_parts = folder / "parts"
    linked_parts.mkdir()
    (linked_parts / "experiment.yaml").write_text("arms: {full: {train: all}}\n", encoding="utf-8")
    (linked_parts / "journal").symlink_to(outside / "journal")
    (linked_parts / "report.html").symlink_to(outside / "report.html")
    asking = Asking(folder).enter()
    names = [
        "..", ".", "%2e%2e", "%2e", "..%2fsecret", "%2e%2e%2fsecret", "../secret", "..%5csecret",
        "%252e%252e%252fsecret", "linked", "one/../../secret", "one%2f..%2f..%2fsecret", "%00", "one%00",
        str(outside), str(outside).replace("/", "%2f"), "one/.", "~", "//", "parts",
    ]  # fmt: skip
    for name in names:
        for path in (f"/runs/{name}/report", f"/static/{name}", f"/static/{name}/report.html", f"/runs/{name}/zoom"):
            answer = asking.ask(path)
            assert answer.status in (303, 404), path
            assert "SECRET" not in answer.text
    listed = asking.ask("/runs.json").text
    assert "linked" not in listed
    events = asking.ask("/runs/parts/events", until=lambda answer: b"data: " in answer.body).events
    assert events[0]["series"] == []
