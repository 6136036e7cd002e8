"""What `frostline time` shows: each arm's step beside the baseline's, and where its time goes."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from frostline.arms import Speed
from frostline.forecast import ArmTiming, Timing
from frostline.report import MISSING, numbers
from frostline.terminal.tables import at_most, empty_table
from frostline.text import one_line


def draw_timing(timing: Timing) -> RenderableType:
    """A renderable for a rich console."""
    heading = f"Time of a step of {timing.tokens:,} tokens, {timing.precision} on {timing.device}"
    if timing.variant:
        heading += f", {one_line(timing.variant)}"
    order = "in turns" if timing.interleaved else "one arm after another"
    stored = any(arm.first_visit_seconds is not None for arm in timing.arms)
    sure = all(arm.step_seconds.low is not None for arm in timing.arms)
    notes = [
        f"{timing.rounds} timed steps of each arm, {order}"
        + (", on windows whose prefix is stored" if stored else "")
        + ("; in brackets 95 % intervals." if sure else "; too few for intervals: use more --rounds."),
        "r: time saved against the baseline. at most: what the needed matrix products allow (in brackets with a "
        "stored prefix); r can pass it where other work, such as the optimizer's, is saved too.",
        f"of peak: needed products over time, as a share of {timing.peak_flops_per_second / 1e9:,.0f} GFLOP/s, "
        "the best product of two large matrices measured here.",
    ]
    if timing.device.startswith("cuda"):
        notes += [f"{one_line(arm.arm)}: {told}" for arm in timing.arms if (told := _speed(timing, arm))]
    if stored:
        notes.append("first visit: a step on windows whose prefix is not stored yet.")
    return Padding(
        Group(
            Text(f"\n{heading}", style="bold"),
            _table(timing),
            Text("\nWhere it goes", style="bold"),
            _phases(timing),
            Text(""),
            *(Text(note, style="dim") for note in notes),
        ),
        (0, 1),
    )


def _speed(timing: Timing, arm: ArmTiming) -> str:
    """What a GPU makes of its time, which a CPU always makes full use of."""
    seconds = arm.step_seconds.value
    return Speed(timing.tokens / seconds, arm.share_of_peak).sentence if seconds else ""


def _table(timing: Timing) -> Table:
    table = empty_table("arm", "step", "r", "at most", "of peak", "peak memory")
    for arm in timing.arms:
        is_baseline = arm.arm == timing.baseline
        table.add_row(
            Text(one_line(arm.arm) + ("\nbaseline" if is_baseline else "")),
            _two_lines(numbers.estimate(arm.step_seconds)),
            MISSING if arm.saving is None else _two_lines(numbers.estimate(arm.saving)),
            at_most(arm.ceiling, arm.ceiling_cached),
            numbers.share(arm.share_of_peak),
            numbers.size(arm.peak_bytes),
        )
    return table


def _phases(timing: Timing) -> Table:
    phases = ["data", "prefix", "forward", "backward", "optimizer"]
    if any(arm.phases.exchange for arm in timing.arms):  # several processes compute them together
        phases.insert(4, "exchange")
    table = empty_table("arm", *phases, "first visit")
    for arm in timing.arms:
        table.add_row(
            Text(one_line(arm.arm)),
            *(numbers.seconds(getattr(arm.phases, phase) or None) for phase in phases),
            numbers.seconds(arm.first_visit_seconds),
        )
    return table


def _two_lines(text: str) -> str:
    """The value above its interval."""
    return "\n".join(text.split(" ", 1))
