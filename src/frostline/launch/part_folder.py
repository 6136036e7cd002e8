"""What does whoever does a part of an experiment work in? A folder like a run folder, and beside it what came of it.

`RUN/units/NAME/attempt-K` is the run folder of the K-th process that was to do the part NAME: a copy of the run's
beginning, then the part's own journals, checkpoints and models. Each attempt has a folder of its own, since a machine
that was given up may still be writing; once the next one on a machine of that kind has taken over what it had, it goes.
When the part is done, its journals are sealed in `RUN/units/NAME/done-K`: each
file with its size and SHA-256, the whole thing there or not. What is large (models, tensors) is sealed already, where
it lies. A machine that does not see the run folder works in a temporary one, and gives the files back.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from frostline.errors import RunFolderError
from frostline.run_folder import (
    CHECKPOINT_FOLDER,
    FAILURE_FOLDER,
    JOURNAL_FOLDER,
    RECIPE_FILE,
    RUN_FILE,
    UNITS_FOLDER,
    ArmFailed,
    ArmFinished,
    RunEnded,
    RunResumed,
    RunStarted,
    kind_of_machine,
    line_bytes,
    read_lines,
)
from frostline.storage import SealBrokenError, Sealed, disk_trouble, open_sealed, seal, write_file

ATTEMPT, DONE = "attempt-", "done-"
AT_WORK_FILE = "at_work.json"
Lines = list[dict[str, object]]


@dataclass(frozen=True)
class Beginning:
    """What all parts of a run go on from."""

    recipe: bytes
    """Content of the recipe file."""
    lines: Lines
    """The run's own file of the journal, without its end."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The machine on which the run was begun."""
        return environment_of(self.lines)


@dataclass(frozen=True)
class Done:
    """A part that was done, as it lies in its folder; every byte of `sealed` is checked."""

    sealed: Sealed
    attempt: Path
    """The run folder of whoever did it."""
    journals: dict[str, bytes] = field(default_factory=dict)
    """Content of the journals, by name of file, without the run's own file."""
    lines: Lines = field(default_factory=list)
    """The run's own file, without its end."""


def part_folder(run_folder: Path, name: str) -> Path:
    """Where the part `name` of the run is done."""
    return run_folder / UNITS_FOLDER / name


def attempts_in(folder: Path) -> list[int]:
    """Numbers of the attempts at a part, ascending."""
    found = [path.name.removeprefix(ATTEMPT) for path in folder.glob(f"{ATTEMPT}*")] if folder.is_dir() else []
    return sorted(int(number) for number in found if number.isdigit())


def reached(folder: Path, *, retry_failed: bool) -> dict[str, int]:
    """How far the attempts at a part have come, whichever of them did: numbers by name, of which one grows where any
    has come further than all before it.

    An arm has come as far as its newest checkpoint, or to its end (a failure is none where it is tried again); what
    comes before and after the arms, as far as it is recorded. Steps that no checkpoint holds are no gain: the next
    attempt takes them again.
    """
    ends = (ArmFinished.__name__,) if retry_failed else (ArmFinished.__name__, ArmFailed.__name__)
    found: dict[str, int] = {}

    def note(name: str, count: int) -> None:
        found[name] = max(count, found.get(name, 0))

    for number in attempts_in(folder):
        attempt = folder / f"{ATTEMPT}{number}"
        for path in attempt.glob(f"{CHECKPOINT_FOLDER}/{_TRAINING}/*/*"):
            if path.name.isdecimal():
                note(f"steps of {path.parent.name}", int(path.name))
        with suppress(RunFolderError, OSError):
            kinds = [line["kind"] for line in read_lines(attempt, RUN_FILE)[0]]
            note("lines of the run", sum(kind not in _FRAME for kind in kinds))
        for path in attempt.glob(f"{JOURNAL_FOLDER}/*.jsonl"):
            with suppress(OSError, ValueError):
                if path.name != RUN_FILE and last_kind(path.read_bytes()) in ends:
                    note(f"end of {path.stem}", 1)
    return found


_FRAME = (RunStarted.__name__, RunResumed.__name__, RunEnded.__name__)
"""Lines of the run's own file that each attempt may add: they tell of no work."""


def begin_attempt(
    folder: Path,
    number: int,
    beginning: Beginning | None,
    journals: Mapping[str, bytes],
    machine: Mapping[str, str],
    *,
    own_machine: bool,
    earlier: Sequence[Path] = (),
) -> Path:
    """Make the run folder of an attempt: from the newest of `earlier` ones on a machine of this kind, else anew.

    An attempt that the new one has taken over, or that had begun nothing, is gone afterwards: another kind's stays.
    `journals` are what the run has of the part already. With `own_machine` the journal names `machine` as the one that
    the run was begun on: to go on elsewhere would mix bits. Without a `beginning` the folder may stay empty. Raises
    `RunFolderError` where the disk does not take it.
    """
    attempt = folder / f"{ATTEMPT}{number}"
    try:
        shutil.rmtree(attempt, ignore_errors=True)
        (attempt / JOURNAL_FOLDER).mkdir(parents=True)
        source = next((one for one in reversed(earlier) if _can_be_gone_on_with(one, machine)), None)
        if source is not None:
            _copy_attempt(source, attempt, None if beginning is None else set(journals))
        recipe, lines = _begun(source, attempt, beginning)
        for name, content in journals.items():
            if not (attempt / JOURNAL_FOLDER / name).exists():
                write_file(attempt / JOURNAL_FOLDER / name, content)
        if recipe is None:
            shutil.rmtree(attempt)  # nothing was begun: the experiment begins here
            return attempt
        if own_machine:
            lines = [
                {**line, "environment": dict(machine)} if line["kind"] == RunStarted.__name__ else line
                for line in lines
            ]
        (attempt / JOURNAL_FOLDER / RUN_FILE).unlink(missing_ok=True)
        write_file(attempt / JOURNAL_FOLDER / RUN_FILE, b"".join(map(line_bytes, numbered(lines))))
        write_file(attempt / RECIPE_FILE, recipe)  # the last one: with it the run is begun
    except OSError as error:
        raise disk_trouble(error, attempt) from error
    for one in earlier:
        if _is_superseded(one, attempt, machine):
            shutil.rmtree(one, ignore_errors=True)
    return attempt


def _is_superseded(earlier: Path, attempt: Path, machine: Mapping[str, str]) -> bool:
    """Whether nobody will ask for what is in `earlier`: `attempt` has it, and it was not sealed meanwhile."""
    if not _is_beside(earlier, attempt) or (earlier.parent / f"{DONE}{earlier.name.removeprefix(ATTEMPT)}").exists():
        return False
    return not (earlier / RECIPE_FILE).is_file() or _can_be_gone_on_with(earlier, machine)


def _is_beside(source: Path, attempt: Path) -> bool:
    """Whether `source` is an attempt at the same part; else it is the run folder."""
    return source.parent == attempt.parent


def _begun(source: Path | None, attempt: Path, beginning: Beginning | None) -> tuple[bytes | None, Lines]:
    """The recipe and the run's own file to go on with; what an earlier attempt has added counts."""
    if source is not None and _is_beside(source, attempt):
        return (source / RECIPE_FILE).read_bytes(), without_end(read_lines(source, RUN_FILE)[0])
    return (None, []) if beginning is None else (beginning.recipe, beginning.lines)


def _can_be_gone_on_with(source: Path, machine: Mapping[str, str]) -> bool:
    if not (source / RECIPE_FILE).is_file():
        return False
    with suppress(RunFolderError, OSError):
        environment = environment_of(read_lines(source, RUN_FILE)[0])
        return bool(environment) and kind_of_machine(environment) == kind_of_machine(machine)
    return False


def _copy_attempt(source: Path, attempt: Path, journals: set[str] | None) -> None:
    """Take over what `source` has: journals (those named, of a run folder), checkpoints, what it was at when it died.

    Sealed files never change, so they are linked where that is possible. What vanishes meanwhile, because the former
    process is not quite dead, is told by its seal later.
    """
    of_run = not _is_beside(source, attempt)
    names = journals if of_run and journals is not None else None
    for path in (source / JOURNAL_FOLDER).glob("*.jsonl"):
        if path.name != RUN_FILE and (names is None or path.name in names):
            with suppress(FileNotFoundError):
                shutil.copyfile(path, attempt / JOURNAL_FOLDER / path.name)
    folders = [CHECKPOINT_FOLDER, FAILURE_FOLDER]
    if of_run:
        kept = {name.removesuffix(".jsonl") for name in names or ()}
        folders = [f"{CHECKPOINT_FOLDER}/{_TRAINING}/{name}" for name in kept]
    else:
        with suppress(FileNotFoundError):
            shutil.copyfile(source / AT_WORK_FILE, attempt / AT_WORK_FILE)
    for name in folders:
        if (source / name).is_dir():
            link_tree(source / name, attempt / name)


_TRAINING = "_training"
"""Below the folder of checkpoints: those of arms in training."""


def link_tree(source: Path, target: Path) -> None:
    """Have `target` hold what `source` holds: by links where the file system has them, else by copies."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        with suppress(FileNotFoundError):
            if path.is_dir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, place)
            except FileNotFoundError:
                raise
            except OSError:
                shutil.copyfile(path, place)


def seal_done(attempt: Path, names: Sequence[str] | None, facts: Mapping[str, int | str]) -> str:
    """Seal the journals of an attempt that has come to its end, those of `names` (None: all); what the seal is called.

    Raises `RunFolderError` where the disk does not take it.
    """
    name = f"{DONE}{attempt.name.removeprefix(ATTEMPT)}"
    journals = [path for path in (attempt / JOURNAL_FOLDER).glob("*.jsonl") if names is None or path.name in names]

    def write(folder: Path) -> dict[str, int | str]:
        for path in (*journals, attempt / JOURNAL_FOLDER / RUN_FILE):
            if not (folder / path.name).exists():
                write_file(folder / path.name, path.read_bytes())
        return dict(facts)

    try:
        seal(attempt.parent, name, write)
    except OSError as error:
        raise disk_trouble(error, attempt.parent) from error
    return name


def read_done(folder: Path) -> Done | None:
    """What came of the part whose folder this is; None where it is not done. What is damaged counts as not done."""
    for path in sorted(folder.glob(f"{DONE}*"), reverse=True) if folder.is_dir() else []:
        try:
            sealed = open_sealed(folder, path.name)
            journals = {name: (path / name).read_bytes() for name in sealed.sha256 if name != RUN_FILE}
            lines = without_end([json.loads(line) for line in (path / RUN_FILE).read_bytes().splitlines()])
        except (SealBrokenError, OSError, ValueError):
            shutil.rmtree(path, ignore_errors=True)
            continue
        return Done(sealed, folder / f"{ATTEMPT}{path.name.removeprefix(DONE)}", journals, lines)
    return None


def pack(folder: Path, attempt: Path, done: str) -> dict[str, bytes]:
    """The files of a part that is done, by their place in its folder, for a machine that cannot see it."""
    places = [folder / done, attempt / CHECKPOINT_FOLDER, attempt / FAILURE_FOLDER]
    files = [path for place in places if place.is_dir() for path in sorted(place.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def unpack(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of a part that is done into its folder, the sealed journals last.

    Raises `RunFolderError` where the disk does not take them, or a name leads elsewhere.
    """
    try:
        for name, content in sorted(files.items(), key=lambda item: item[0].startswith(DONE)):
            path = folder / name
            if not path.resolve().is_relative_to(folder.resolve()):
                raise RunFolderError(f"{folder}: a machine has given back a file of another place: '{name}'.")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            write_file(path, content)
    except OSError as error:
        raise disk_trouble(error, folder) from error


def environment_of(lines: Lines) -> dict[str, str]:
    """The machine that the run's own file names; {} where the run has not begun."""
    found = next((line.get("environment") for line in lines if line["kind"] == RunStarted.__name__), None)
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def without_end(lines: Lines) -> Lines:
    """The run's own file without its end: a run that goes on has not ended."""
    return [line for line in lines if line["kind"] != RunEnded.__name__]


def numbered(lines: Lines) -> Lines:
    """The lines as they stand in one file: numbered from 0."""
    return [
        {"sequence": index, **{key: value for key, value in line.items() if key != "sequence"}}
        for index, line in enumerate(lines)
    ]


def last_kind(journal: bytes) -> str:
    """What the last line of a journal records; '' where there is none, or it is torn."""
    lines = journal.splitlines(keepends=True)
    if not lines or not lines[-1].endswith(b"\n"):
        return ""
    return str(json.loads(lines[-1])["kind"])
