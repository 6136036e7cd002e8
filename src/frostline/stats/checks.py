"""What does a run prove about itself? That its arms were paired, and that what was frozen did not move."""

from __future__ import annotations

from dataclasses import dataclass

from frostline.readable import count, plural
from frostline.stats.arm_run import ArmRun
from frostline.stats.arms import failure, failure_of
from frostline.stats.runs import VariantRun


@dataclass(frozen=True)
class Checks:
    """What the run proves about itself."""

    pairing_holds: bool
    """False if any hash of weights or windows differs between arms."""
    pairing: str
    """One sentence: what was compared and what was found."""
    frozen_holds: bool
    """False if any frozen weight moved."""
    frozen: str
    """One sentence: how much was compared and what was found."""
    failed: list[str]
    """One sentence for each arm and replicate that failed."""


def check(variant: VariantRun) -> Checks:
    """Compare the recorded hashes of all arms of each replicate, and collect what was found about frozen weights."""
    pairing_holds, pairing = _pairing(variant)
    frozen_holds, frozen = _frozen(variant)
    failed = [failure(run) for arm in variant.arms for run in variant.of(arm) if run.failed is not None]
    failed += [failure_of(record) for record in variant.failed_to_begin]
    return Checks(pairing_holds, pairing, frozen_holds, frozen, failed)


def _pairing(variant: VariantRun) -> tuple[bool, str]:
    replicates = 0
    steps = 0
    for seed in variant.seeds:
        runs = [variant.runs[seed, arm] for arm in variant.arms if (seed, arm) in variant.runs]
        if len(runs) < 2:
            continue
        first = runs[0]
        for other in runs[1:]:
            problem = _differs(first, other)
            if problem:
                return False, f"Pairing is broken in seed {seed}: {problem}."
            steps += min(len(first.steps), len(other.steps))
        replicates += 1
    if not replicates:
        return True, "There is one arm, so that there was nothing to compare."
    return True, (
        f"In {plural(replicates, 'replicate')} all arms began from byte-identical weights and read identical "
        f"windows: {plural(steps, 'pair')} of steps compared by their hashes."
    )


def _differs(first: ArmRun, other: ArmRun) -> str:
    if first.started.initial_sha256 != other.started.initial_sha256:
        return f"{first.name} and {other.name} began from different weights"
    for own, others in zip(first.steps, other.steps, strict=False):
        if own.windows_sha256 != others.windows_sha256:
            return f"{first.name} and {other.name} read different windows at step {own.step}"
    return ""


def _frozen(variant: VariantRun) -> tuple[bool, str]:
    checked = [run for arm in variant.arms for run in variant.of(arm) if run.frozen is not None]
    unchecked = sum(len(variant.of(arm)) for arm in variant.arms) - len(checked)
    values = 0
    for run in checked:
        assert run.frozen is not None
        values += run.frozen.checked_values
        if run.frozen.moved:
            names = ", ".join(run.frozen.moved[:3]) + (", ..." if len(run.frozen.moved) > 3 else "")
            return False, f"Frozen weights moved in {run.name}, seed {run.seed}: {names}."
    rest = f" Not checked: {plural(unchecked, 'arm')} that did not finish." if unchecked else ""
    if not values:
        found = "No finished arm froze anything, so that there was nothing to check."
    else:
        found = f"Nothing frozen moved: {count(values)} values compared byte for byte with the start."
    return True, found + rest
