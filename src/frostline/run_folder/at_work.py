"""What was a process at when the system killed it for want of memory? It cannot say so itself: it is gone at once.

Before each piece of work a process writes over `at_work.json` what it begins, and how many processes the kernel has
killed for want of memory so far. A process that ends in any other way removes the file. Who finds it knows where the
one before was killed, and by the kernel's count whether memory may have been why; nothing is concluded where the count
cannot be read, or has not risen, or another piece of work was met in between.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from frostline.run_folder.arm_place import ArmPlace

AT_WORK_FILE = "at_work.json"
_COUNTERS, _BOOT = Path("/proc/vmstat"), Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Killed:
    """Where the kernel has killed one process after another, for want of memory as far as it tells."""

    place: ArmPlace
    kind: str
    """Kind of work."""
    left: int
    """Pieces of it that were left to do there: as many each time, or it was another piece."""
    times: int


@dataclass(frozen=True)
class WorkNow:
    """What the process that writes into a run folder is at, as it has noted itself."""

    place: ArmPlace
    kind: str
    """Kind of work: `step`, `evaluate`, `text`, ..."""
    left: int
    """Pieces of it that are left there."""
    seconds_left: float | None
    """Of the whole run, when that piece began; None where it is not known yet."""
    began: float | None
    """When the piece of work began, in seconds since 1970."""


def work_now(run_folder: Path) -> WorkNow | None:
    """What a process is at in `run_folder`, or was when it was killed; None where nothing is noted."""
    try:
        values: dict[str, Any] = json.loads((run_folder / AT_WORK_FILE).read_bytes())
        variant, seed, arm, kind, left = values["at"]
        seconds, began = values.get("seconds_left"), values.get("began")
        return WorkNow(
            ArmPlace(str(variant), int(seed), str(arm)),
            str(kind),
            int(left),
            None if seconds is None else float(seconds),
            None if began is None else float(began),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


class AtWork:
    """The file of this process; `killed` is what the one before has left."""

    def __init__(self, run_folder: Path) -> None:
        self.path = run_folder / AT_WORK_FILE
        self._count, self._boot = oom_kills(), _boot()
        self.killed = self._found()
        self._file: int | None = None
        self._length = 0
        self._seconds_left: float | None = None
        with suppress(OSError):
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)

    def expects(self, seconds: float) -> None:
        """The whole run will take about so long from now on; it is written with the next piece of work."""
        self._seconds_left = seconds

    def begins(self, place: ArmPlace, kind: str, left: int) -> None:
        """A piece of work begins."""
        if self._file is None:
            return
        killed = None if self.killed is None else [*self.killed.place, self.killed.kind, self.killed.left]
        times = 0 if self.killed is None else self.killed.times
        values = {
            "at": [*place, kind, left],
            "count": self._count,
            "boot": self._boot,
            "killed": killed,
            "times": times,
            "seconds_left": self._seconds_left,
            "began": time.time(),
        }
        with suppress(OSError):  # nothing but a sentence depends on it
            # In one go, over all that was there: what is killed in between leaves the one or the other.
            text = json.dumps(values).encode().ljust(self._length)
            os.pwrite(self._file, text, 0)
            self._length = len(text)

    def forget(self) -> None:
        """What happened there has been answered: it begins to count anew."""
        self.killed = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            os.close(self._file)
            with suppress(OSError):
                self.path.unlink()

    def _found(self) -> Killed | None:
        try:
            left: dict[str, Any] = json.loads(self.path.read_bytes())
            variant, seed, arm, kind, pieces = left["at"]
            place, times = ArmPlace(str(variant), int(seed), str(arm)), int(left["times"])
            risen = self._count is not None and left["boot"] == self._boot and self._count > int(left["count"])
            again = left["killed"] == left["at"]
            return Killed(place, str(kind), int(pieces), times + 1 if again else 1) if risen else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def oom_kills() -> int | None:
    """Processes that the kernel has killed for want of memory since it began; None where it does not say."""
    with suppress(OSError, ValueError):
        for line in _COUNTERS.read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None


def _boot() -> str:
    with suppress(OSError):
        return _BOOT.read_text(encoding="ascii").strip()
    return ""
