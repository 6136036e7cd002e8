"""Which process writes into a run folder now, and would it stop if asked? Told by whoever only looks at the folder.

The lock file says a number, and numbers are given again to other processes. So the process of that number must have the
lock file open at this moment, under the boot id and host of this machine: the run's own process does for as long as it
holds the lock (`run_lock`), and another one that came by its number does not.
"""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from frostline.run_folder.lock import STOPS, boot_id, read_holder
from frostline.storage import LOCK_FILE


@dataclass(frozen=True)
class Writer:
    """The process that writes into a run folder."""

    process: int
    stops: bool
    """Whether SIGTERM makes it save and stop; of a run that was begun from Python it may be the end of everything."""


def writer_of(run_folder: Path) -> Writer | None:
    """The process that writes into `run_folder`; None where there is none, or it cannot be proved."""
    path = run_folder / LOCK_FILE
    held = read_holder(path)
    number = held.get("process")
    here = held.get("boot") == boot_id() and held.get("host") == socket.gethostname()
    if not here or not isinstance(number, int) or number <= 0 or not _has_open(number, path):
        return None
    return Writer(number, held.get(STOPS) is True)


def ask_to_stop(run_folder: Path) -> bool:
    """Have the process that writes into `run_folder` save and stop after its step; whether it could be asked.

    That is a SIGTERM, of which a second one makes it leave at once: ask a process once.
    """
    writer = writer_of(run_folder)
    if writer is None or not writer.stops:
        return False
    if not hasattr(os, "pidfd_open"):  # not Linux
        with suppress(ProcessLookupError, PermissionError):
            os.kill(writer.process, signal.SIGTERM)
            return True
        return False
    with suppress(OSError):
        handle = os.pidfd_open(writer.process)
        try:
            # Looked at once more: from here on, the number is that of this process or of none.
            if writer_of(run_folder) == writer:
                signal.pidfd_send_signal(handle, signal.SIGTERM)
                return True
        finally:
            os.close(handle)
    return False


def resident_bytes(writer: Writer) -> int | None:
    """Memory that the process holds now; None where the system does not say."""
    with suppress(psutil.Error):
        return int(psutil.Process(writer.process).memory_info().rss)
    return None


def _has_open(process: int, path: Path) -> bool:
    with suppress(psutil.Error, OSError):
        wanted = path.stat()
        for file in psutil.Process(process).open_files():
            with suppress(OSError):
                found = Path(file.path).stat()
                if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                    return True
    return False
