"""How does a tracker get to know what stands in the journal? A follower tells it, in a process of its own.

It reads the journal from its beginning whenever it begins and passes over what the tracker has already. Where a run
goes on from its last checkpoint, the steps that it takes again are the same to the bit, so that they are passed over,
too: a tracker shows each step once, as it was first taken.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml
from filelock import BaseFileLock

from frostline.errors import FrostlineError
from frostline.run_folder import RECIPE_FILE, RUN_FILE, CutBack, JournalFollower, JournalLine
from frostline.storage import LOCK_FILE, take_lock
from frostline.trackers import verdicts
from frostline.trackers.kinds import TrackerKind
from frostline.trackers.rows import KINDS, ArmRows, begun_arm
from frostline.trackers.tracker import RunInTracker, Status, TrackedRun, Tracker

MOST_LINES = 5000
"""That are read before a tracker is told of them."""
PATIENCE_SECONDS = 20.0
"""How long another process may still be telling the tracker of the same run, after a run that has just ended."""


@dataclass(frozen=True)
class Experiment:
    """One run of an experiment."""

    name: str
    began_at: str
    recipe_sha256: str

    @property
    def project(self) -> str:
        return _plain(self.name)[:60] or "experiment"

    def key(self, *place: object) -> str:
        """What knows this run, or `place` in it, apart from all others."""
        facts = "\n".join(map(str, (self.recipe_sha256, self.began_at, *place)))
        return hashlib.sha256(facts.encode(errors="backslashreplace")).hexdigest()[:16]

    def tracked(self, name: str, config: Mapping[str, str | int | float], *place: object) -> TrackedRun:
        began, when = 0.0, ""
        with suppress(ValueError):
            moment = datetime.fromisoformat(self.began_at)
            began, when = moment.timestamp(), f"{moment:%Y%m%dT%H%M%S}-"
        group = f"{self.project}-{when}{self.key()[:6]}"  # the last, as two may begin within one second
        return TrackedRun(self.key(*place), name, self.project, group, began, config)


class Telling:
    """One run, being told to one tracker. What a tracker raises passes through."""

    def __init__(self, run_folder: Path, kind: TrackerKind, folder: Path) -> None:
        self.told_rows = 0
        self._run_folder, self._kind, self._folder = run_folder, kind, folder
        self._follower = JournalFollower(run_folder, kinds=KINDS | {"RunStarted", "RunEnded"})
        self._experiment: Experiment | None = None
        self._has_ended = False
        self._arms: dict[str, ArmRows] = {}
        """By name of file."""
        self._opened: dict[str, RunInTracker] = {}
        self._tracker: Tracker | None = None
        self._lock: BaseFileLock | None = None

    def tell_new(self) -> None:
        """Tell the tracker what has come since."""
        while self._tell_some() == MOST_LINES:
            pass

    def end(self) -> None:
        """Tell the verdicts if the run has ended, and end all that is open."""
        for file in list(self._opened):
            self._end(file, "interrupted")
        if self._has_ended and self._experiment is not None and self._arms:
            finished = sum(arm.status == "finished" for arm in self._arms.values())
            run = self._experiment.tracked(verdicts.NAME, {}, verdicts.NAME)
            opened = self._there().open(run)
            if opened.told_until < finished:  # arms that failed may be tried again, and the verdicts are others then
                opened.tell([verdicts.verdict_row(self._run_folder, finished)])
                self.told_rows += 1
            opened.end("finished")
        if self._lock is not None:
            with suppress(OSError):
                (self._lock_folder() / LOCK_FILE).unlink()  # whoever waits for it looks whether it is still there
            self._lock.release()
            with suppress(OSError):
                self._lock_folder().rmdir()

    def _tell_some(self) -> int:
        lines, cut = 0, set()
        for change in self._follower.read_new(MOST_LINES):
            lines += 1
            if isinstance(change, CutBack):
                cut.add(change.file)
            elif change.file not in cut:
                self._take(change)
        for file in cut:  # sums are made anew from its first line on
            self._arms.pop(file, None)
            self._has_ended &= file != RUN_FILE
            self._follower.read_anew(file)
        for file, arm in self._arms.items():
            self._pass_on(file, arm)
        return MOST_LINES if cut else lines

    def _take(self, line: JournalLine) -> None:
        kind, values = line.values["kind"], line.values
        if line.file == RUN_FILE:
            if kind == "RunStarted":
                self._begin(Experiment(self._name(), str(values["at"]), str(values["recipe_sha256"])))
            self._has_ended = kind == "RunEnded" and values["status"] == "finished"
        elif kind == "ArmStarted":
            self._arms[line.file] = begun_arm(values)
        elif line.file in self._arms:  # texts of the untouched model are no arm's
            self._arms[line.file].read(values)

    def _begin(self, experiment: Experiment) -> None:
        if self._experiment not in (None, experiment):
            raise FrostlineError(
                f"{self._run_folder}: another run has begun there, and it is told no more of this one."
            )
        self._experiment = experiment

    def _pass_on(self, file: str, arm: ArmRows) -> None:
        rows = arm.taken()
        if rows:
            if file not in self._opened:
                assert self._experiment is not None
                run = self._experiment.tracked(_name_of(arm), arm.config, arm.variant, arm.seed, arm.arm)
                self._opened[file] = self._there().open(run)
            opened = self._opened[file]
            new = [row for row in rows if row.step > opened.told_until]
            if new:
                opened.tell(new)
                self.told_rows += len(new)
        if arm.status is not None:
            self._end(file, arm.status)

    def _end(self, file: str, status: Status) -> None:
        opened = self._opened.pop(file, None)
        if opened is not None:
            opened.end(status)

    def _there(self) -> Tracker:
        """The tracker, which no other process tells of this run now."""
        if self._tracker is None:
            self._lock = self._locked()
            self._tracker = self._kind.opened(self._folder)
        return self._tracker

    def _lock_folder(self) -> Path:
        assert self._experiment is not None
        return self._folder / f".frostline-{self._experiment.key()}"

    def _locked(self) -> BaseFileLock:
        end = time.monotonic() + PATIENCE_SECONDS
        while (lock := self._try_to_lock()) is None:
            if time.monotonic() > end:
                raise FrostlineError(
                    f"another process is telling {self._kind.name} of this run.", "Wait for it, or end it first."
                )
            time.sleep(0.2)
        return lock

    def _try_to_lock(self) -> BaseFileLock | None:
        try:
            return take_lock(self._lock_folder())
        except OSError as error:
            raise FrostlineError(
                f"{self._folder}: what {self._kind.name} is told cannot be kept there ({error.strerror or error}).",
                "Name another folder: frostline track RUN --to TRACKER --dir FOLDER.",
            ) from error

    def _name(self) -> str:
        try:
            recipe = yaml.safe_load((self._run_folder / RECIPE_FILE).read_bytes())
            return str(recipe["name"])
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
            return self._run_folder.absolute().name


def follow(telling: Telling, is_over: Callable[[], bool], wait: Callable[[], object]) -> None:
    """Tell what there is and what comes, until it `is_over`; `wait` is called before each further look."""
    while True:
        over = is_over()  # asked before the last look: what was written until then is read
        telling.tell_new()
        if over:
            break
        wait()
    telling.end()


def _name_of(arm: ArmRows) -> str:
    variant = _plain(arm.variant)
    if variant != arm.variant:
        variant += "-" + hashlib.sha256(arm.variant.encode(errors="backslashreplace")).hexdigest()[:4]
    return "-".join(filter(None, (arm.arm, f"seed{arm.seed}", variant)))


def _plain(text: str) -> str:
    """`text` in letters that every file system and every tracker takes."""
    kept = (letter if letter.isascii() and (letter.isalnum() or letter in "-_.=") else "-" for letter in text)
    return "".join(kept).strip("-.")
