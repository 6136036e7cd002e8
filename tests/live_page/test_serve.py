"""The server is for this machine, says where it is, and ends when it should; what it lacks is said in a sentence."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import frostline
from frostline.cli import main
from frostline.errors import FrostlineError, MissingExtraError
from frostline.live_page import bound_socket, page_beside, require_server, watched_folder
from tests.builders.experiments import write_experiment
from tests.builders.simulated_run import write_simulated_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_simulated_run(tmp_path / "run", seeds=(0,), steps=4)


def answer_of(address: str) -> http.client.HTTPResponse:
    host, _, path = address.removeprefix("http://").partition("/")
    with closing(http.client.HTTPConnection(host, timeout=10)) as connection:
        connection.request("GET", f"/{path}", headers={"Connection": "close"})
        return connection.getresponse()


def test_a_port_in_use_is_told_in_a_sentence_and_without_a_wish_the_next_one_is_taken(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with bound_socket(None) as first, bound_socket(None) as second:
        taken = first.getsockname()[1]
        assert second.getsockname()[1] != taken
        assert first.getsockname()[0] == "127.0.0.1"
        monkeypatch.setattr(sys, "argv", ["frostline", "watch", str(run), "--port", str(taken)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 2
    told = " ".join(capsys.readouterr().err.split())
    assert f"the live page cannot have port {taken}: address already in use. Choose another with --port." in told


def test_a_missing_package_is_told_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'frostline\[watch\]'"):
        require_server()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FrostlineError, match="there is no such folder"):
        watched_folder(tmp_path / "nowhere")


def test_watch_serves_until_ctrl_c_and_tells_the_next_address(run: Path) -> None:
    command = [sys.executable, "-m", "frostline", "watch", str(run)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first, tunnel = process.stderr.readline(), process.stderr.readline()
        address = first.split()[-1]
        port = address.split(":")[2].split("/")[0]
        assert f"ssh -L {port}:127.0.0.1:{port}" in tunnel
        answer = answer_of(address)
        assert answer.status == 303
        assert answer.getheader("server") is None
        following = process.stderr.readline()
        assert following.startswith("For another browser:")
        assert following.split()[-1] != address
        cookie = str(answer.getheader("set-cookie")).split(";")[0]
        with closing(http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)) as page:
            page.request("GET", "/runs/run/events", headers={"Cookie": cookie})
            events = page.getresponse()
            while not events.readline().startswith(b"data:"):
                pass
            process.send_signal(signal.SIGINT)
            assert b"event: end" in events.read(), "whoever looks is told"
        assert process.wait(timeout=30) == 0
        assert process.stderr.read() == ""


def test_the_page_beside_a_run_ends_with_it(tmp_path: Path) -> None:
    told: list[str] = []
    with page_beside(tmp_path / "not yet", told.append):
        address = told[0].split()[-1]
        answer = answer_of(address)
        assert answer.status == 303
        port = int(address.split(":")[2].split("/")[0])
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
        pass


def test_a_run_that_is_watched_tells_where_before_it_begins_and_takes_its_page_along(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, seeds=[0], arms={"full": {"train": "all"}})
    told: list[str] = []

    def tell(line: str) -> None:
        assert not (tmp_path / "run").exists()
        told.append(line)

    outcome = frostline.run(recipe, tmp_path / "run", cache=tmp_path / "cache", watch=tell)
    assert outcome.status == "finished"
    assert [line.split(":")[0] for line in told] == [
        "Live page (the address works once)",
        "From another machine, first",
    ]
    with pytest.raises(ConnectionRefusedError):
        answer_of(told[0].split()[-1])
