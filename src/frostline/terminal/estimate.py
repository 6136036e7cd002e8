"""What `frostline estimate` shows: each arm's time and memory before anything runs, and what the whole run takes."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from frostline.forecast import RunEstimate
from frostline.report import MISSING, numbers
from frostline.terminal.tables import at_most, empty_table
from frostline.text import one_line


def draw_estimate(estimate: RunEstimate) -> RenderableType:
    """A renderable for a rich console."""
    heading = f"Estimate, {estimate.precision} on {estimate.device}"
    if estimate.variant:
        heading += f", {one_line(estimate.variant)}"
    table = empty_table("arm", "steps", "a step", "first\nvisit", "T", "r", "at most", "peak\nmemory", "optimizer")
    for arm in estimate.arms:
        table.add_row(
            Text(one_line(arm.arm) + ("\nbaseline" if arm.arm == estimate.baseline else "")),
            numbers.count(arm.steps),
            numbers.seconds(arm.step_seconds),
            numbers.seconds(arm.first_visit_seconds),
            numbers.seconds(arm.total_seconds),
            MISSING if arm.saving is None else numbers.share(arm.saving),
            at_most(arm.ceiling, arm.ceiling_cached),
            numbers.size(arm.peak_bytes),
            numbers.size(arm.optimizer_bytes),
        )
    prefixes = estimate.prefix_disk_bytes
    stored = f", of it {numbers.size(prefixes)} stored prefixes" if prefixes else ""
    fill = estimate.fill
    if fill.windows:
        stored += f", and up to {numbers.size(fill.passing_bytes)} while they are filled"
    filling = f", {numbers.seconds(fill.seconds)} filling rows" if fill.windows else ""
    race = f", and {numbers.seconds(estimate.race_seconds)} racing learning rates" if estimate.race_seconds else ""
    told = [
        f"The run takes about {numbers.seconds(estimate.seconds)}, of it {numbers.seconds(estimate.training_seconds)} "
        f"training{filling}{race}.",
        _memory(estimate),
        f"Disk: up to {numbers.size(estimate.disk_bytes)}{stored}.",
    ]
    if estimate.budget_seconds is not None:
        told.append(
            f"Steps are about as many as {numbers.seconds(estimate.budget_seconds)} allow; the run times its arms anew."
        )
    notes = [
        "T: all steps of a replicate. first visit: a step whose prefix is not stored yet. peak memory: the arm alone.",
        estimate.timed,
    ]
    return Padding(
        Group(
            Text(f"\n{heading}", style="bold"),
            table,
            Text(""),
            *(Text(sentence) for sentence in told),
            *(Text(f"! {one_line(warning)}", style="bold red") for warning in estimate.warnings),
            Text(""),
            *(Text(note, style="dim") for note in notes),
        ),
        (0, 1),
    )


def _memory(estimate: RunEstimate) -> str:
    """How much memory, and what of it is not held fast."""
    sizes = numbers.size(estimate.memory_bytes), numbers.size(estimate.free_memory_bytes)
    told = f"Memory: up to {sizes[0]}, {sizes[1]} are free."
    if not estimate.mapped_bytes:
        return told
    pages = numbers.size(estimate.mapped_bytes)
    held = numbers.size(estimate.held_bytes)
    return f"{told} {held} must be there; {pages} are pages of the model's file, which may go."
