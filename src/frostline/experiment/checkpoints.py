"""Where does an arm go on from? Its checkpoints in the run folder: sealed, the newest whole one counts.

`RUN/checkpoints/_training/VARIANT-SEED-ARM/STEPS` is a sealed folder with the arm's state and its place in the journal.
It is accepted once it bears its final name; older ones are removed only then. Of an arm that several processes hold
together it has the list of what each of them sealed below `shards/` (`engine.sharded_checkpoint`).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from frostline.engine import ArmState, is_sharded, read_state, remove_shards, require_shards, write_list, write_state
from frostline.errors import RunFolderError
from frostline.recipe import CheckpointSettings
from frostline.run_folder import CHECKPOINT_FOLDER, JournalPosition
from frostline.storage import (
    Facts,
    SealBrokenError,
    disk_trouble,
    open_sealed,
    remove_abandoned,
    require_room,
    seal,
    write_file,
)

TRAINING_FOLDER = "_training"
"""Below the folder of checkpoints, beside trained models, which bear the names of arms."""
SAMPLE_FOLDER = "sample"
SAMPLE_BYTES = 16_000_000
PLACE_FILE = "place.json"
ROOM_BYTES = 1_000_000
"""Beside the tensors: manifests, and what the file system needs itself."""


class _Place(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    evaluated: bool
    lines: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Checkpoint:
    """An arm as it was between two steps, and what its journal held then."""

    state: ArmState
    evaluated: bool
    """Whether the journal holds the evaluation that is due after these steps."""
    position: JournalPosition
    shards: Sequence[str] | None = None
    """Where several processes hold the arm together, SHA-256 of what each has sealed, by rank; `state` has no tensors
    then."""

    @property
    def name(self) -> str:
        """Name that sorts in the order of time: steps, then whether their evaluation was done."""
        return checkpoint_name(self.state.steps, self.evaluated)


@dataclass(frozen=True)
class ArmCheckpoints:
    """The checkpoints of one arm of one replicate."""

    folder: Path
    keep: int

    def save(self, checkpoint: Checkpoint) -> None:
        """Seal `checkpoint`, then remove what is older than the newest `keep`.

        Raises `RunFolderError` where the disk does not take it; those accepted before stay.
        """
        require_room(self.folder, checkpoint.state.bytes + ROOM_BYTES, "the next checkpoint")

        def write(folder: Path) -> Facts:
            if checkpoint.shards is None:
                write_state(checkpoint.state, folder)
            else:
                write_list(folder, checkpoint.shards)
            place = _Place(evaluated=checkpoint.evaluated, **asdict(checkpoint.position))
            write_file(folder / PLACE_FILE, place.model_dump_json(indent=1).encode())
            return {"steps": checkpoint.state.steps}

        try:
            seal(self.folder, checkpoint.name, write)
        except OSError as error:
            raise disk_trouble(error, self.folder, checkpoint.state.bytes + ROOM_BYTES) from error
        for old in self._names()[: -self.keep]:
            shutil.rmtree(self.folder / old, ignore_errors=True)  # what stays goes next time
        remove_shards(self.folder, self._names())

    def newest(self, rewind: Callable[[JournalPosition], None], say: Callable[[str], None]) -> Checkpoint | None:
        """The newest checkpoint that is whole, the journal cut back to it; `say` is told which ones are not.

        Damaged ones are removed, so that their steps can be saved again.
        """
        if not self.folder.is_dir():
            return None
        remove_abandoned(self.folder, alone=True)  # the run folder is locked; it may have been begun elsewhere
        remove_shards(self.folder, self._names())
        for name in reversed(self._names()):
            try:
                sealed = open_sealed(self.folder, name)
                place = _Place.model_validate_json((sealed.folder / PLACE_FILE).read_bytes())
                sharded = is_sharded(self.folder, name)
                sums = require_shards(self.folder, name) if sharded else None
                state = ArmState(_steps(name), {}, {}, []) if sharded else read_state(sealed.folder)
                position = JournalPosition(place.lines, place.bytes, place.sha256)
                rewind(position)
            except (SealBrokenError, RunFolderError, ValidationError, OSError) as error:
                say(f"A damaged checkpoint is not used, the one before it is: {str(error).splitlines()[0]}.")
                shutil.rmtree(self.folder / name, ignore_errors=True)
                continue
            return Checkpoint(state, place.evaluated, position, sums)
        return None

    def newest_steps(self) -> int:
        """Steps that the newest checkpoint holds; 0 where there is none."""
        names = self._names()
        return _steps(names[-1]) if names else 0

    def remove(self) -> None:
        """Remove all of them: the arm has finished, or begins anew."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _names(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        return sorted(path.name for path in self.folder.iterdir() if path.name[:1].isdigit())


def arm_checkpoints(run_folder: Path, settings: CheckpointSettings, journal_file: str) -> ArmCheckpoints:
    """The checkpoints of the arm of a replicate whose journal is called `journal_file`."""
    name = journal_file.removesuffix(".jsonl")
    return ArmCheckpoints(run_folder / CHECKPOINT_FOLDER / TRAINING_FOLDER / name, settings.keep)


def expected_save_seconds(folder: Path, bytes_to_save: int) -> float:
    """How long a first save of `bytes_to_save` will take below `folder`, going by the better of two small ones.

    Raises `RunFolderError` where the disk takes not even those.
    """
    sample = os.urandom(min(bytes_to_save, SAMPLE_BYTES))
    if not sample:
        return 0.0

    def write(folder: Path) -> Facts:
        write_file(folder / "sample", sample)
        return {}

    seconds = []
    try:
        for _ in range(2):
            began = time.monotonic()
            seal(folder, SAMPLE_FOLDER, write)
            seconds.append(time.monotonic() - began)
            shutil.rmtree(folder / SAMPLE_FOLDER)
    except OSError as error:
        raise disk_trouble(error, folder, bytes_to_save) from error
    return min(seconds) * bytes_to_save / len(sample)


class Pace:
    """When is it time to save? Often enough by the recipe, seldom enough that saving stays a small share of the time.

    Durations are those of the monotonic clock: setting the machine's clock back changes nothing.
    """

    def __init__(self, settings: CheckpointSettings, cost_seconds: float, now: Callable[[], float] = time.monotonic):
        """`cost_seconds` is what a first save is expected to take."""
        self._settings = settings
        self._now = now
        self._cost = cost_seconds
        self._last = now()
        self.saves = 0
        self.seconds = 0.0
        """Spent on saving so far."""

    def is_due(self, steps: int) -> bool:
        """Whether to save now, after `steps` steps."""
        settings = self._settings
        waited = self._now() - self._last
        if waited < self._cost * (1 / settings.largest_share - 1):
            return False
        if settings.every_steps is not None:
            return steps % settings.every_steps == 0
        return settings.every_seconds is not None and waited >= settings.every_seconds

    def saved(self, seconds: float) -> None:
        """Saving took `seconds`, and has just ended."""
        self._cost = seconds
        self._last = self._now()
        self.saves += 1
        self.seconds += seconds


def checkpoint_name(steps: int, evaluated: bool) -> str:
    """What a checkpoint after so many steps is called."""
    return f"{steps:09}-{int(evaluated)}"


def _steps(name: str) -> int:
    return int(name.partition("-")[0])


@dataclass
class Saving:
    """What saving has cost this process."""

    checkpoints: int = 0
    seconds: float = 0.0

    def add(self, pace: Pace) -> None:
        """Count in what was saved at this pace."""
        self.checkpoints += pace.saves
        self.seconds += pace.seconds
