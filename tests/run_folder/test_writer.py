"""Which process writes into a folder is proved, and no other that has come by its number is ever asked to stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from frostline.run_folder import ask_to_stop, resident_bytes, run_lock, writer_of
from frostline.run_folder.lock import boot_id

HOLD = """
import signal, sys
from pathlib import Path
from frostline.run_folder.lock import run_lock
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
with run_lock(Path(sys.argv[1]), print, stops=sys.argv[2] == "stops"):
    print("held", flush=True)
    sys.stdin.readline()
    print(len(told), flush=True)
"""


@contextmanager
def running(folder: Path, stops: str = "stops") -> Iterator[subprocess.Popen[str]]:
    """A process that writes into `folder` and counts the signals that it gets."""
    (folder / "journal").mkdir(parents=True)
    command = [sys.executable, "-c", HOLD, str(folder), stops]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


def signals_of(process: subprocess.Popen[str]) -> str:
    return process.communicate("\n")[0].strip()


def test_a_process_that_listens_is_asked_and_one_that_does_not_is_left_alone(tmp_path: Path) -> None:
    for stops, signals in (("stops", "1"), ("never", "0")):
        with running(tmp_path / stops, stops) as process:
            writer = writer_of(tmp_path / stops)
            assert writer is not None
            assert (writer.process, writer.stops) == (process.pid, stops == "stops")
            assert (resident_bytes(writer) or 0) > 1_000_000
            assert ask_to_stop(tmp_path / stops) == writer.stops
            assert signals_of(process) == signals
        assert writer_of(tmp_path / stops) is None


def test_another_process_with_its_number_is_no_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[object] = []
    monkeypatch.setattr(os, "kill", lambda *told: sent.append(told))
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda *told: sent.append(told), raising=False)
    (tmp_path / "journal").mkdir()
    right = {"process": os.getpid(), "boot": boot_id(), "host": socket.gethostname(), "stops_on_sigterm": True}
    for wrong in (
        {},
        {"boot": "another"},
        {"host": "another"},
        {"process": "1; true"},
        {"process": -1},
        {"process": True},
    ):
        (tmp_path / "lock").write_text(json.dumps(right | wrong))
        assert writer_of(tmp_path) is None, wrong
        assert not ask_to_stop(tmp_path)
    assert sent == []


def test_the_lock_says_whether_its_process_listens(tmp_path: Path) -> None:
    for stops in (True, False):
        with run_lock(tmp_path, print, stops=stops):
            writer = writer_of(tmp_path)
            assert writer is not None
            assert (writer.process, writer.stops) == (os.getpid(), stops)
    assert writer_of(tmp_path) is None
