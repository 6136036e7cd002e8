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


@contextmanager
def run_lock(run_folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of `run_folder`; `say` is told whose it was, if that one did not end well.

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
        values = {"process": os.getpid(), "boot": _boot_id(), "host": socket.gethostname()}
        try:
            path.write_text(json.dumps(values) + "\n", encoding="utf-8")
        except OSError as error:
            raise disk_trouble(error, run_folder) from error
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def _read_holder(path: Path) -> dict[str, object]:
    try:
        values = json.loads(path.read_text(encoding="utf-8") or "{}")
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _holder(path: Path) -> str:
    held = _read_holder(path)
    if not held:
        return "a process whose number is not known"
    rebooted = ", before the machine was started anew" if held.get("boot") != _boot_id() else ""
    return f"process {held.get('process')} on {held.get('host')}{rebooted}"


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
