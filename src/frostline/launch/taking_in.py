"""How does a run folder come to hold what other machines did? One process takes it in: the run's driver.

Each journal is put in place whole, the run's own file in the order in which one process would have written it. What is
taken in twice changes nothing; so the driver may be killed at any moment, and the next one does it again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from frostline.experiment import TRAINING_FOLDER, Part, Unit, origin_of, recorded_recipe, standing, tails_of, units_of
from frostline.launch.part_folder import Done, Lines, last_kind, numbered, part_folder, read_done, without_end
from frostline.recipe import Recipe, variants_of
from frostline.run_folder import (
    CHECKPOINT_FOLDER,
    FAILURE_FOLDER,
    JOURNAL_FOLDER,
    RUN_FILE,
    UNITS_FOLDER,
    WALL_CLOCK_FIELDS,
    WEIGHTS_FOLDER,
    ArmFailed,
    ArmFinished,
    ArmStarted,
    BaselineTimes,
    LayerFilled,
    PeakMemory,
    RunEnded,
    RunResumed,
    RunStarted,
    StepsSettled,
    StepTaken,
    UnitDone,
    UnitRecord,
    VariantPrepared,
    append_unit_record,
    line_bytes,
    name_of_arm,
    read_lines,
    read_unit_records,
    records_of,
    run_lock,
)
from frostline.storage import SealBrokenError, disk_trouble, open_sealed, replace_file

_ORDER = {RunStarted.__name__: 0, RunResumed.__name__: 1, RunEnded.__name__: 3}
"""The run's own file; what is of variants stands between, one variant after another."""
_ORDER_OF_VARIANT = {VariantPrepared.__name__: 0, StepsSettled.__name__: 1, PeakMemory.__name__: 3}
"""The same within a variant; fills and races, in their own order, stand between."""
_ENDS = (ArmFinished.__name__, ArmFailed.__name__)


@dataclass(frozen=True)
class TakenIn:
    """A part that is in the run folder now."""

    done: Done
    differs: tuple[str, ...]
    """Journals that the run had already, with other bits: those stay."""


def take_in_units(run_folder: Path, say: Callable[[str], None]) -> None:
    """Take in what other machines have done for the run in `run_folder`, where a driver ended before it did.

    What they have half done stays, until `forget_units`: the run may yet be refused here. Raises `RunFolderError` where
    a process is at work there.
    """
    if not (run_folder / UNITS_FOLDER).is_dir():
        return
    with run_lock(run_folder, say):
        if standing(run_folder) != "nothing":
            take_in_all(run_folder, recorded_recipe(run_folder), say)


def forget_units(run_folder: Path) -> None:
    """Remove what other machines have half done: the run goes on here. The lock is held."""
    shutil.rmtree(run_folder / UNITS_FOLDER, ignore_errors=True)


def take_in_all(run_folder: Path, recipe: Recipe, say: Callable[[str], None]) -> int:
    """Take in whatever units and tails are done; how many. The lock is held."""
    parts: list[Part] = [*units_of(recipe), *tails_of(recipe)]
    taken = [take_in(run_folder, recipe, part) for part in parts]
    count = sum(one is not None for one in taken)
    if count:
        say(f"{count} {'unit that was' if count == 1 else 'units that were'} done meanwhile: taken in")
    return count


def take_in(run_folder: Path, recipe: Recipe, part: Part, attempts: int = 1) -> TakenIn | None:
    """Put what came of `part` into the run folder and forget where it was done; None where it is not done.

    Raises `RunFolderError` where the disk does not take it; nothing is lost then.
    """
    folder = part_folder(run_folder, part.name)
    done = read_done(folder)
    if done is None:
        return None
    try:
        (run_folder / JOURNAL_FOLDER).mkdir(exist_ok=True)
        for path in _sealed_folders(done.attempt):
            _move(path, run_folder / path.relative_to(done.attempt))
        for path in sorted((done.attempt / FAILURE_FOLDER).glob("*.txt")):
            (run_folder / FAILURE_FOLDER).mkdir(exist_ok=True)
            replace_file(run_folder / FAILURE_FOLDER / path.name, path.read_bytes())
        taken = {name for name, content in done.journals.items() if _is_of_another_group(content, done, recipe)}
        put = {name: _put(run_folder, name, content, done, recipe) for name, content in done.journals.items()}
        add_to_run_file(run_folder, recipe, done.lines)
    except OSError as error:
        raise disk_trouble(error, run_folder) from error
    differs = [name for name, how in put.items() if how == "differs"]
    if isinstance(part, Unit):
        had = str(done.sealed.facts["had"]).split(" ")  # an arm's name has no blank
        arms = zip(part.arms, journals_of(part)[1:], strict=True)
        own = [arm for arm, name in arms if put.get(name) == "put" and name not in had and name not in taken]
        records = read_unit_records(run_folder)
        if own and not any(_tells_of(record, part, own) for record in records):
            append_unit_record(run_folder, _record(part, own, done, attempts))
        baseline = f"{name_of_arm(part.place[0], part.seed, recipe.baseline_arm)}.jsonl"
        if own and put.get(baseline) in ("kept", "differs") and baseline not in had:
            times = _times_of(part, done, baseline)
            if times is not None and times not in records:
                append_unit_record(run_folder, times)
    shutil.rmtree(folder, ignore_errors=True)
    return TakenIn(done, tuple(differs))


def _tells_of(record: UnitRecord, unit: Unit, arms: list[str]) -> bool:
    return isinstance(record, UnitDone) and record.unit == unit.name and record.arms == arms


def _times_of(unit: Unit, done: Done, baseline: str) -> BaselineTimes | None:
    """The times of the unit's own baseline; None where it took one that was trained before."""
    lines: Lines = [json.loads(line) for line in done.journals[baseline].splitlines()]
    if any(started.reused_from for started in records_of(lines, ArmStarted)):
        return None
    steps = records_of(lines, StepTaken)
    untimed = [step.step for step in steps if step.untimed]
    kind = str(done.sealed.facts["kind"])
    return BaselineTimes(unit.name, unit.variant, unit.seed, kind, [step.seconds for step in steps], untimed)


def _record(unit: Unit, arms: list[str], done: Done, attempts: int) -> UnitDone:
    facts = done.sealed.facts
    machine: dict[str, str] = {name: str(facts[name]) for name in ("processor", "gpu") if name in facts}
    return UnitDone(
        unit.name,
        unit.variant,
        unit.seed,
        arms,
        str(facts["kind"]),
        machine,
        str(facts["node"]),
        int(facts["milliseconds"]) / 1000,
        attempts,
    )


def _sealed_folders(attempt: Path) -> list[Path]:
    """Trained models, kept tensors, and checkpoints of arms that failed: sealed folders in an attempt."""
    folder = attempt / CHECKPOINT_FOLDER
    apart = (TRAINING_FOLDER, WEIGHTS_FOLDER)
    models = [path for path in folder.glob("[!.]*") if path.is_dir() and path.name not in apart]
    return [*models, *(folder / WEIGHTS_FOLDER).glob("[!.]*"), *(folder / TRAINING_FOLDER).glob("*/[0-9]*")]


def _move(source: Path, target: Path) -> None:
    """Put a sealed folder in place; a whole one that is there gives way to the newer one, a damaged one is left out."""
    try:
        open_sealed(source.parent, source.name)
    except SealBrokenError:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    shutil.move(source, target)


def _is_of_another_group(journal: bytes, done: Done, recipe: Recipe) -> bool:
    """Whether the arm was taken from another group of this run, by way of the cache."""
    kind = f'"{ArmStarted.__name__}"'.encode()
    whole = (line for line in journal.splitlines(keepends=True) if kind in line and line.endswith(b"\n"))
    begun = records_of([json.loads(line) for line in whole], ArmStarted)
    groups = tuple(f"{origin_of(recipe, run.at)}, " for run in records_of(done.lines, RunStarted))
    return any(arm.reused_from.startswith(groups) for arm in begun)


def _put(run_folder: Path, name: str, content: bytes, done: Done, recipe: Recipe) -> Literal["put", "kept", "differs"]:
    """Put a journal in place; a whole one that is there stays, whether it says the same, the clock aside, or differs.

    Only one that was taken by way of the cache gives way to that of the group which has trained it. One that is there
    to the byte was put by a driver that ended before it could say so.
    """
    path = run_folder / JOURNAL_FOLDER / name
    before = path.read_bytes() if path.exists() else b""
    if before == content:
        return "put"
    gives_way = _is_of_another_group(before, done, recipe) and not _is_of_another_group(content, done, recipe)
    if not gives_way and _is_whole(before, content):
        return "kept" if without_clock(before) == without_clock(content) else "differs"
    replace_file(path, content)
    return "put"


def _is_whole(journal: bytes, other: bytes) -> bool:
    """Whether an arm has finished there; of the untouched model no line says so: it has as many lines as `other`."""
    last = last_kind(journal)
    if last_kind(other) in _ENDS:
        return last == ArmFinished.__name__
    return bool(last) and journal.count(b"\n") == other.count(b"\n")


def without_clock(journal: bytes) -> list[dict[str, object]]:
    """The lines of a journal without what depends on the clock."""
    lines = [json.loads(line) for line in journal.splitlines()]
    return [{key: value for key, value in line.items() if key not in WALL_CLOCK_FIELDS} for line in lines]


def is_complete(run_folder: Path, recipe: Recipe, unit: Unit, *, retry_failed: bool) -> bool:
    """Whether nothing of `unit` is left to do."""
    ends = _ENDS[:1] if retry_failed else _ENDS
    folder = run_folder / JOURNAL_FOLDER
    for name in journals_of(unit):
        path = folder / name
        if name == journals_of(unit)[0]:  # the untouched model
            if recipe.measures.sampling.prompts and not path.exists():
                return False
        elif not path.exists() or last_kind(path.read_bytes()) not in ends:
            return False
    return True


def journals_of(unit: Unit) -> list[str]:
    """Names of the journals of `unit`: the untouched model's, and one for each arm."""
    return [f"{name_of_arm(unit.place[0], unit.seed, arm)}.jsonl" for arm in ("", *unit.arms)]


def memory_known(run_folder: Path, recipe: Recipe, variant: str) -> bool:
    """Whether the memory of each arm of `variant` was measured."""
    lines, _ = read_lines(run_folder, RUN_FILE)
    known = {line["arm"] for line in lines if line["kind"] == PeakMemory.__name__ and line["variant"] == variant}
    return known >= set(recipe.arms)


def add_to_run_file(run_folder: Path, recipe: Recipe, lines: Sequence[dict[str, object]]) -> None:
    """Add `lines` to the run's own file where one process would have written them; those it has already are left out.

    Raises `RunFolderError` where it is damaged, `OSError` where the disk does not take it.
    """
    known, _ = read_lines(run_folder, RUN_FILE)
    kept = without_end(known)
    seen = {_identity(line) for line in kept}
    for line in lines:
        if _identity(line) not in seen:
            kept.append(line)
            seen.add(_identity(line))
    ordered = in_order(kept, recipe)
    if ordered != known:
        replace_file(run_folder / JOURNAL_FOLDER / RUN_FILE, b"".join(map(line_bytes, ordered)))


def in_order(lines: Lines, recipe: Recipe) -> Lines:
    """The lines of the run's own file in the order in which one process writes them."""
    labels = [variant.label for variant in variants_of(recipe)]
    arms = list(recipe.arms)

    def rank(line: dict[str, object]) -> tuple[int, ...]:
        kind = str(line["kind"])
        if kind in _ORDER:
            return (_ORDER[kind],)
        arm = arms.index(str(line["arm"])) if kind in (PeakMemory.__name__, StepsSettled.__name__) else 0
        return (2, labels.index(str(line.get("variant", ""))), _ORDER_OF_VARIANT.get(kind, 2), arm)

    return numbered(sorted(lines, key=rank))


def _identity(line: dict[str, object]) -> str:
    """What makes two lines of the run's own file the same: fills and memory are measured by several machines."""
    kind = str(line["kind"])
    names = {
        RunStarted.__name__: (),
        VariantPrepared.__name__: ("variant",),
        LayerFilled.__name__: ("variant", "layer"),
        PeakMemory.__name__: ("variant", "arm"),
        StepsSettled.__name__: ("variant", "arm"),
    }.get(kind)
    if names is None:
        values = {key: value for key, value in line.items() if key != "sequence"}
        return json.dumps(values, sort_keys=True)
    return json.dumps([kind, *(line[name] for name in names)])
