"""What stands on the card of an arm? Its loss, what it keeps and costs, each with what is known of its spread.

Beside the baseline the paired difference says more than either loss: its interval stands there, or the seeds
themselves where they are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frostline.readable import learning_rate
from frostline.report import numbers
from frostline.report.style import Style
from frostline.stats import SEEDS_SHOWN, ArmSummary, Estimate


@dataclass(frozen=True)
class Fact:
    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class ArmCard:
    name: str
    colour: str
    """Name of the CSS variable of its colour."""
    is_baseline: bool
    plan: str
    facts: list[Fact]


def card(arm: ArmSummary, style: Style) -> ArmCard:
    """The card of `arm`."""
    facts = [*_loss(arm, style.baseline), *_cost(arm), *_stability(arm)]
    return ArmCard(arm.arm, style.colour_name(arm.arm), arm.arm == style.baseline, arm.plan, facts)


def spread_note(found: Estimate | None, by_seed: Sequence[float | None] = ()) -> str:
    """The interval, or the value of each seed where those are few; never a t interval of two or three."""
    if found is None:
        return ""
    if (found.n > SEEDS_SHOWN or not found.method.startswith("t over")) and (interval := numbers.interval(found)):
        return interval
    known = [value for value in by_seed if value is not None]
    return f"seeds {', '.join(numbers.in_unit(value, _bare(found.unit)) for value in known)}" if len(known) > 1 else ""


def _bare(unit: str) -> str:
    return unit if unit in ("share", "seconds") else ""


def _loss(arm: ArmSummary, baseline: str) -> list[Fact]:
    seeds = spread_note(arm.held_out_after, [one.held_out_after for one in arm.by_seed])
    start = f"from {numbers.number(arm.held_out_before.value)}"
    facts = [Fact("held-out loss", numbers.number(arm.held_out_after.value), "\n".join(filter(None, [start, seeds])))]
    kept, equal = arm.share_of_gain_kept, arm.at_equal_time
    if kept is not None and kept.value is not None:
        note = spread_note(kept, [one.share_of_gain_kept for one in arm.by_seed])
        facts.append(Fact(f"of {baseline}'s gain", numbers.share(kept.value), note))
    if equal is not None:
        written = numbers.number(equal.difference.value)
        sign = "+" if (equal.difference.value or 0.0) > 0 else ""
        place = f"against {baseline}, at {numbers.seconds(equal.cost)}"
        note = "\n".join(filter(None, [spread_note(equal.difference, equal.by_seed), place]))
        facts.append(Fact("at equal time", f"{sign}{written}", note))
    return facts


def _cost(arm: ArmSummary) -> list[Fact]:
    facts = [Fact("time a step", numbers.seconds(arm.step_seconds.value), numbers.interval(arm.step_seconds))]
    if arm.saving is not None:
        note = "\n".join(filter(None, [numbers.interval(arm.saving), _by_arithmetic(arm)]))
        facts.append(Fact("saving r", numbers.share(arm.saving.value), note))
    filled = f",\n{numbers.seconds(arm.fill_seconds)} of it for filling stored rows" if arm.fill_seconds else ""
    all_steps = f"all steps of a replicate,\nthe warm-up at the others' mean{filled}"
    facts.append(Fact("time in all", numbers.seconds(arm.training_seconds.value), all_steps))
    if arm.reused_from:
        facts.append(Fact("taken from", "an earlier run", "\n".join(arm.reused_from)))
    if arm.peak_bytes is not None:
        facts.append(Fact("peak memory", numbers.size(arm.peak_bytes)))
    facts.append(Fact("trained", numbers.count(arm.trained_parameters), f"of {numbers.count(arm.parameters)}"))
    return facts


def _by_arithmetic(arm: ArmSummary) -> str:
    """What the products of matrices alone would save, without stored rows and with them, where that is not the same."""
    plain, cached = numbers.share(arm.ceiling), numbers.share(arm.ceiling_cached)
    told = plain if plain == cached else f"{plain}, or\n{cached} from stored rows"
    passed = arm.saving is not None and arm.saving.value is not None and arm.saving.value > arm.ceiling_cached
    return f"by matrix products alone {told}" + "\n(other work is saved, too)" * passed


def _stability(arm: ArmSummary) -> list[Fact]:
    facts = [Fact("learning rate", learning_rate(arm.learning_rate), arm.rate_chosen or "as given")]
    if arm.clipped_share is not None:
        facts.append(Fact("clipped steps", numbers.share(arm.clipped_share.value)))
    if arm.seed_spread.value is not None:
        facts.append(Fact("spread of seeds", numbers.number(arm.seed_spread.value), "SD of the held-out loss"))
    if arm.diverged:
        facts.append(Fact("diverged", f"seed {', '.join(map(str, arm.diverged))}"))
    return facts
