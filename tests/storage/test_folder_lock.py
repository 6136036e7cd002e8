"""A folder has one writer: among processes, among threads of one, beside those of earlier versions."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from frostline.storage import LOCK_FILE, is_locked, take_lock

HOLD = """
import fcntl, os, sys, time
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
print("held", flush=True)
time.sleep(600)
"""
"""As version 0.1.0 took it."""
FORK = """
import os, sys, time
from pathlib import Path
from frostline.storage import take_lock
lock = take_lock(Path(sys.argv[1]))
assert lock is not None
if os.fork() == 0:
    print(os.getpid(), flush=True)
time.sleep(600)
"""


def test_a_lock_is_had_once_in_one_process_whatever_the_thread(tmp_path: Path) -> None:
    lock = take_lock(tmp_path)
    assert lock is not None
    assert take_lock(tmp_path) is None
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(take_lock(tmp_path)))
    thread.start()
    thread.join()
    assert found == [None]
    lock.release()
    again = take_lock(tmp_path)
    assert again is not None
    again.release()


def test_a_lock_taken_in_one_thread_can_be_given_back_in_another(tmp_path: Path) -> None:
    lock = take_lock(tmp_path)
    assert lock is not None
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()
    assert not is_locked(tmp_path)


def test_what_an_earlier_version_holds_is_held_and_what_it_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / LOCK_FILE
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert take_lock(tmp_path) is None
        assert is_locked(tmp_path)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    assert path.exists()
    lock = take_lock(tmp_path)
    assert lock is not None
    lock.release()


def test_a_process_that_was_forked_meanwhile_does_not_keep_the_lock_of_one_that_was_killed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", FORK, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        assert is_locked(tmp_path)
        process.kill()
        process.wait()
        os.kill(child, 0)  # it lives
        assert not is_locked(tmp_path)
    finally:
        os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()
        process.stdout.close()


def test_of_many_threads_that_want_it_over_and_over_one_has_it_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    trouble: list[str] = []
    taken = [0] * 4

    def want(thread: int) -> None:
        while taken[thread] < 25 and not trouble:
            lock = take_lock(tmp_path)
            if lock is None:
                continue
            inside.append(thread)
            if inside != [thread]:
                trouble.append(f"{inside} at once")
            inside.remove(thread)
            taken[thread] += 1
            (tmp_path / LOCK_FILE).unlink()  # as a run does at its end
            lock.release()

    threads = [threading.Thread(target=want, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trouble == []
    assert taken == [25] * 4


def test_a_lock_file_that_is_removed_by_its_holder_does_not_keep_the_next_one_out(tmp_path: Path) -> None:
    first = take_lock(tmp_path)
    assert first is not None
    (tmp_path / LOCK_FILE).unlink()
    second = take_lock(tmp_path)  # the name is free, as after a run that ended
    assert second is not None
    first.release()
    assert is_locked(tmp_path)
    second.release()


def test_asking_makes_nothing(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["folder", "lock"])
def test_symbolic_links_are_not_followed(tmp_path: Path, what: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = tmp_path / "folder"
    if what == "folder":
        folder.symlink_to(elsewhere)
    else:
        folder.mkdir()
        (folder / LOCK_FILE).symlink_to(elsewhere / "file")
    with pytest.raises(OSError, match="symbolic link"):
        take_lock(folder)
    assert list(elsewhere.iterdir()) == []


def test_the_lock_is_the_kernels(tmp_path: Path) -> None:
    lock = take_lock(tmp_path)
    assert lock is not None
    handle = os.open(tmp_path / LOCK_FILE, os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    lock.release()
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(handle)
