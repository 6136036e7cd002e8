"""Which kind of machine did which unit? What a run on a cluster adds to its folder, in a file of its own.

Machines are of one kind where all that may decide a bit of a result is the same, versions and threads aside, which are
the same in a whole run. Nothing follows from the file but what the report says of machines, and which times compare. Of
the baselines that several units of a replicate have trained, one is in the journal, and the times of the others here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from frostline.run_folder.folder import UNITS_FILE
from frostline.storage import disk_trouble

KIND_FACTS = ("processor", "blas", "arithmetic", "gpu")
"""What of `machine.describe_machine` tells kinds of machine apart."""


@dataclass(frozen=True)
class UnitDone:
    """A unit that a machine has done."""

    unit: str
    """Name of the unit."""
    variant: str
    seed: int
    arms: list[str]
    kind: str
    """Kind of the machine: a hash of what tells kinds apart."""
    machine: dict[str, str]
    """Processor and graphics processor, for people."""
    node: str
    """The cluster's name for the machine, which says nothing outside of it."""
    seconds: float
    attempts: int
    """How often it was begun: more than once where machines were lost."""


@dataclass(frozen=True)
class SameBits:
    """A short unit was computed twice on machines of one kind."""

    kind: str
    nodes: list[str]
    """The cluster's names for the machines; one name twice where there was one machine of a kind."""
    same: bool
    """Whether weights and records were the same, to the bit."""


@dataclass(frozen=True)
class BaselineTimes:
    """The steps of the baseline that a unit has trained beside its arms, where the journal has that of another unit."""

    unit: str
    variant: str
    seed: int
    kind: str
    """Kind of the machine."""
    seconds: list[float]
    """Of each step, from step 0 on; NaN where it was not finite."""
    untimed: list[int]
    """Steps whose time does not count: warm-up of the machine."""


UnitRecord = UnitDone | SameBits | BaselineTimes
_KINDS: dict[str, TypeAdapter[UnitRecord]] = {
    kind.__name__: TypeAdapter(kind) for kind in (UnitDone, SameBits, BaselineTimes)
}


def kind_of_machine(facts: Mapping[str, str]) -> str:
    """The kind of a machine that `machine.describe_machine` has described."""
    told = json.dumps([facts.get(name, "") for name in KIND_FACTS])
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def append_unit_record(run_folder: Path, record: UnitRecord) -> None:
    """Write `record` at the end of the file. Raises `RunFolderError`."""
    path = run_folder / UNITS_FILE
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"record": type(record).__name__, **asdict(record)}) + "\n")
    except OSError as error:
        raise disk_trouble(error, path) from error


def read_unit_records(run_folder: Path) -> list[UnitRecord]:
    """What the file says, the newest of each unit; lines that a full disk or a kill cut short are passed over."""
    path = run_folder / UNITS_FILE
    found: dict[object, UnitRecord] = {}
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            values = json.loads(text)
            record = _KINDS[values.pop("record")].validate_python(values)
        except (ValueError, KeyError, TypeError, AttributeError, ValidationError):
            continue
        found[type(record), "" if isinstance(record, SameBits) else record.unit] = record
    return list(found.values())
