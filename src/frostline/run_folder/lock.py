"""Who writes into a run folder? One process, whose number and boot id stand in the folder's lock file.

The lock ends with its process, however that ends (`folder_lock`). What a killed process, or a
machine that went down, left in the file is taken over, and told.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from frostline.errors import RunFolderError
from frostline.storage import LOCK_FILE, disk_trouble, take_lock

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
STOPS = "stops_on_sigterm"
"""Key of the lock file: whether its process listens to signals, and saves and stops at SIGTERM."""


@contextmanager
def run_lock(run_folder: Path, say: Callable[[str], None], *, stops: bool = False) -> Iterator[None]:
    """Hold the lock of `run_folder`; `say` is told whose it was, if that one did not end well.

    `stops`: whether this process saves and stops at SIGTERM, for whoever would like it to.

    Raises `RunFolderError` where another process holds it, or it cannot be made.
    """
    path = run_folder / LOCK_FILE
    try:
        lock = take_lock(run_folder)
    except OSError as error:
        raise disk_trouble(error, run_folder) from error
    if lock is None:
        raise RunFolderError(
            f"{run_folder}: another process writes there ({_holder(path)}).",
            "Wait for it, or stop it; one run folder has one writer.",
        )
    try:
        if path.stat().st_size:
            say(f"Taking over from {_holder(path)}, which did not come to its end.")
        values = {"process": os.getpid(), "boot": boot_id(), "host": socket.gethostname(), STOPS: stops}
        try:
            path.write_text(json.dumps(values) + "\n", encoding="utf-8")
        except OSError as error:
            raise disk_trouble(error, run_folder) from error
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def read_holder(path: Path) -> dict[str, object]:
    """What the lock file at `path` says of whoever holds it; {} where it says nothing."""
    try:
        values = json.loads(path.read_text(encoding="utf-8") or "{}")
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _holder(path: Path) -> str:
    held = read_holder(path)
    if not held:
        return "a process whose number is not known"
    rebooted = ", before the machine was started anew" if held.get("boot") != boot_id() else ""
    return f"process {held.get('process')} on {held.get('host')}{rebooted}"


def boot_id() -> str:
    """What this machine is called since it was started; '' where it does not say."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
