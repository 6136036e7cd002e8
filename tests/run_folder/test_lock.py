"""A run folder has one writer; one that did not end well is taken over from."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from frostline.errors import RunFolderError
from frostline.run_folder.lock import run_lock

HOLD = """
import sys, time
from pathlib import Path
from frostline.run_folder.lock import run_lock
with run_lock(Path(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(600)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_writer_is_refused_and_a_killed_one_taken_over_from(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        with pytest.raises(RunFolderError, match=rf"another process writes there \(process {process.pid}"):
            run_lock(tmp_path, print).__enter__()
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    assert (tmp_path / "lock").exists()
    said: list[str] = []
    with run_lock(tmp_path, said.append):
        assert f"process {process.pid}" in said[0]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_from_before_the_machine_was_started_anew_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(json.dumps({"process": 1, "boot": "another", "host": "here"}))
    said: list[str] = []
    with run_lock(tmp_path, said.append):
        assert "before the machine was started anew" in said[0]


def test_a_lock_that_is_no_file_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "precious.txt"
    elsewhere.write_text("precious")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "lock").symlink_to(elsewhere)
    with pytest.raises(RunFolderError, match="cannot be written"), run_lock(folder, print):
        pass
    assert elsewhere.read_text() == "precious"


def test_an_error_inside_gives_the_lock_back(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), run_lock(tmp_path, print):
        raise ValueError("inside")
    with run_lock(tmp_path, print):
        pass


def test_a_disk_that_has_no_room_for_the_holders_name_is_told_in_a_sentence(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(RunFolderError, match="no space is left on the disk"), run_lock(tmp_path, print):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with run_lock(tmp_path, print):
        pass
    assert list(tmp_path.iterdir()) == []
