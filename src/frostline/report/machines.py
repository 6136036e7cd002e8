"""Which machines took part in a run on a cluster? How many of how many kinds, and whether they give the same bits."""

from __future__ import annotations

from collections.abc import Sequence

from frostline.readable import plural
from frostline.run_folder import BaselineTimes, SameBits, UnitDone, UnitRecord


def machines_of(records: Sequence[UnitRecord], baseline: str) -> str:
    """That in a few sentences; '' where no machine of a cluster took part."""
    units = [record for record in records if isinstance(record, UnitDone)]
    if not units:
        return ""
    kinds = list(dict.fromkeys(unit.kind for unit in units))
    nodes = len({unit.node for unit in units})
    sentences = [
        f"{plural(len(units), 'unit')} on {plural(nodes, 'machine')} of {plural(len(kinds), 'kind')}: "
        + "; ".join(_kind(kind, units) for kind in kinds)
        + "."
    ]
    if len(kinds) > 1:
        sentences.append("Times are compared within a unit, and averaged over machines of one kind, alone.")
    timed = {record.unit for record in records if isinstance(record, BaselineTimes)}
    if untimed := [unit for unit in units if baseline not in unit.arms and unit.unit not in timed]:
        arms = ", ".join(dict.fromkeys(arm for unit in untimed for arm in unit.arms))
        took = f"{plural(len(untimed), 'unit')} took a {baseline} that was trained before"
        sentences.append(f"{took}: there, times of {arms} are compared with nothing.")
    if begun_again := sum(unit.attempts > 1 for unit in units):
        sentences.append(f"{plural(begun_again, 'unit')} begun again after a machine was lost.")
    for check in (record for record in records if isinstance(record, SameBits)):
        places = "two machines of one kind" if len(set(check.nodes)) > 1 else "one machine"
        found = "gave the same bits" if check.same else "gave other bits each time: results depend on the machine"
        sentences.append(f"A short unit, computed twice on {places}, {found}.")
    return " ".join(sentences)


def _kind(kind: str, units: Sequence[UnitDone]) -> str:
    """What a kind of machine is, and how many units it did."""
    own = [unit for unit in units if unit.kind == kind]
    machine = own[0].machine
    gpu = machine.get("gpu", "none").partition(",")[0]
    name = machine.get("processor", "of no name") + (f" with {gpu}" if gpu != "none" else "")
    return f"{name} ({plural(len(own), 'unit')})"
