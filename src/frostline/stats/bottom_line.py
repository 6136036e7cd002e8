"""What does it all come to, for someone who pays in seconds and gigabytes? Sentences, the first of which says most.

What is said of two arms holds as far as the evaluations allow: where a curve is read off between two of them, and the
answer would turn with what it does in between, the sentence says that it is open.
"""

from __future__ import annotations

from collections.abc import Sequence

from frostline.readable import gigabytes, learning_rate, loss, percent, seconds
from frostline.stats.arms import ArmSummary
from frostline.stats.estimate import Estimate
from frostline.stats.significance import ALPHA, MINIMUM_REPLICATES, guarded_p
from frostline.stats.trade import SEEDS_SHOWN, AtEqualCost
from frostline.stats.wording import interval, listed

AHEAD, BEHIND, LEVEL, OPEN = "ahead", "behind", "level", "open"
_FURTHER = {
    AHEAD: "{arm} got further than {base} (by {apart})",
    BEHIND: "{base} got further than {arm} (by {apart})",
    LEVEL: "{arm} and {base} are not told apart",
}
COINCIDE = 0.05
"""Curves that are never farther apart than this share of the baseline's gain are said to coincide."""


def bottom_line(arms: dict[str, ArmSummary], baseline: str) -> list[str]:
    """Who got further in equal time, what is kept step for step, what it took, at which learning rates.

    None where there are no two arms to compare.
    """
    if baseline not in arms or len(arms) < 2:
        return []
    base = arms[baseline]
    others = [arm for name, arm in arms.items() if name != baseline]
    found = [_lead(others, base), _kept(others, base), _needed([*others, base])]
    told = [sentence for sentence in found if sentence]
    return [*told, _rates(list(arms.values()))] if told else []


def cost_details(arms: dict[str, ArmSummary], baseline: str) -> list[str]:
    """Each arm beside the baseline at equal time, down to an equal loss, and whether their curves coincide."""
    if baseline not in arms:
        return []
    sentences = []
    for name, arm in arms.items():
        if name != baseline:
            found = [_at_equal_time(arm, arms[baseline]), _to_loss(arm, arms[baseline])]
            sentences += [sentence for sentence in [*found, _coinciding(arm, arms[baseline])] if sentence]
    return sentences


def standing(found: AtEqualCost) -> str:
    """Whether the arm is `ahead` of the baseline there, `behind`, `level`, or `open`: evaluations too far apart.

    From six replicates on the test of the claims decides. Fewer must all point the same way (more than `SEEDS_SHOWN`
    significantly so), and what is said then speaks of these runs alone.
    """
    difference = found.difference
    values = list(found.by_seed)
    if difference.n > SEEDS_SHOWN:
        values += [difference.low or 0.0, difference.high or 0.0]
    if difference.n >= MINIMUM_REPLICATES:
        p = guarded_p(found.by_seed)
        values = [difference.value or 0.0] if p is not None and p < ALPHA else [0.0]
    if max(values) < 0:
        return AHEAD if found.most < 0 else OPEN
    if min(values) > 0:
        return BEHIND if found.least > 0 else OPEN
    return LEVEL


def with_seeds(found: Estimate, by_seed: Sequence[float], *, as_percent: bool = False) -> str:
    """` [low, high]`, or what each seed gave where those are few: ` (seeds: 0.141, 0.133)`; '' for one."""
    if found.n > SEEDS_SHOWN:
        return interval(found, as_percent=as_percent, decimals=None if as_percent else 3)
    if found.n < 2:
        return ""
    return f" (seeds: {', '.join(percent(value) if as_percent else loss(value) for value in by_seed)})"


def words_for(baseline: ArmSummary) -> str:
    """`full training`, or the arm's name where it does not train everything."""
    return "full training" if baseline.trained_parameters == baseline.parameters else baseline.arm


def _lead(others: Sequence[ArmSummary], base: ArmSummary) -> str:
    """All arms in one sentence: the details of one, or who was ahead of whom."""
    timed = [arm for arm in others if arm.at_equal_time is not None]
    if len(timed) < 2:
        return _at_equal_time(timed[0], base) if timed else ""
    parts = []
    for where, words in _FURTHER.items():
        for arm in timed:
            assert arm.at_equal_time is not None
            if standing(arm.at_equal_time) == where:
                apart = loss(abs(arm.at_equal_time.difference.value or 0.0))
                parts.append(words.format(arm=arm.arm, base=words_for(base), apart=apart))
    if still_open := [_as_read(arm.arm, arm.at_equal_time) for arm in timed if _is_open(arm.at_equal_time)]:
        parts.append(f"it is open for {listed(still_open)}, read off between evaluations that lie too far apart")
    return f"Given the same time{_where(timed)}, in held-out loss (nats a token): {'; '.join(parts)}."


def _is_open(found: AtEqualCost | None) -> bool:
    return found is not None and standing(found) == OPEN


def _as_read(arm: str, found: AtEqualCost | None) -> str:
    """`freeze (0.064 behind)`."""
    apart = 0.0 if found is None else found.difference.value or 0.0
    return f"{arm} ({loss(abs(apart))} {'behind' if apart > 0 else 'ahead'})"


def _where(arms: Sequence[ArmSummary]) -> str:
    """Of which runs alone it is said, where they are too few to say more."""
    replicates = min(arm.at_equal_time.difference.n for arm in arms if arm.at_equal_time is not None)
    if replicates >= MINIMUM_REPLICATES:
        return ""
    return " in this one run" if replicates == 1 else f" in these {replicates} runs"


def _at_equal_time(arm: ArmSummary, base: ArmSummary) -> str:
    """In the time that the shorter one took, where did both stand?"""
    found = arm.at_equal_time
    if found is None:
        return ""
    other = words_for(base)
    shorter = other if found.shorter == base.arm else arm.arm
    reached = (
        f"in the {seconds(found.cost)} that {shorter} took, {arm.arm} reached a held-out loss of {loss(found.loss)} "
        f"nats a token and {other} {loss(found.baseline_loss)}"
    )
    where, same = standing(found), f"Given the same time{_where([arm])}"
    if where == LEVEL:
        return f"{same}, {arm.arm} and {other} are not told apart: {reached}{_differing(found)}."
    if where == OPEN:
        return (
            f"{same}, it is open whether {arm.arm} or {other} got further: {reached}, read off between "
            "evaluations that lie too far apart (measures.evaluate_every)."
        )
    first, second = (arm.arm, other) if where == AHEAD else (other, arm.arm)
    return f"{same}, {first} got further than {second}: {reached}{_differing(found)}."


def _differing(found: AtEqualCost) -> str:
    if found.difference.n == 1:
        return ""
    return f", a difference of {loss(found.difference.value)}{with_seeds(found.difference, found.by_seed)}"


def _kept(others: Sequence[ArmSummary], base: ArmSummary) -> str:
    """What each arm keeps of the gain over the same steps, and in what share of the time."""
    parts = []
    for arm in others:
        kept = arm.share_of_gain_kept
        if kept is None or kept.value is None:
            continue
        known = [one.share_of_gain_kept for one in arm.by_seed if one.share_of_gain_kept is not None]
        timed = arm.saving is not None and arm.saving.value is not None
        time = f" in {percent(1 - (arm.saving.value or 0.0))} of the time" if timed and arm.saving is not None else ""
        word = "keeps" if kept.value <= 1 else "gains"
        parts.append(f"{arm.arm} {word} {percent(kept.value)}{with_seeds(kept, known, as_percent=True)}{time}")
    if not parts:
        return ""
    return f"Step for step, of what {words_for(base)} gains in held-out loss, {listed(parts)}."


def _to_loss(arm: ArmSummary, base: ArmSummary) -> str:
    found = arm.seconds_to_loss
    if found is None:
        return ""
    return (
        f"To get down to a held-out loss of {loss(found.loss)}, {arm.arm} took {seconds(found.seconds)} and "
        f"{words_for(base)} {seconds(found.baseline_seconds)}."
    )


def _coinciding(arm: ArmSummary, base: ArmSummary) -> str:
    gap, before, after = arm.widest_gap, base.held_out_before.value, base.held_out_after.value
    if gap is None or gap.value is None or before is None or after is None or before <= after:
        return ""
    reach = gap.value if gap.high is None else gap.high
    if reach > COINCIDE * (before - after):
        return ""
    sure = "in these runs" if gap.high is None else "with the spread of the seeds"
    return (
        f"Step for step, the held-out curves of {arm.arm} and {words_for(base)} coincide: they never lay more than "
        f"{loss(reach)} nats apart, {percent(reach / (before - after))} of the gain, {sure}."
    )


def _needed(arms: Sequence[ArmSummary]) -> str:
    """Memory and time on this machine: what decides where either is short."""
    parts, timed = [], any(arm.training_seconds.value is not None for arm in arms)
    aside = ", the machine's warm-up aside" if timed else ""
    for arm in arms:
        needs = [] if arm.peak_bytes is None else [gigabytes(arm.peak_bytes)]
        needs += [] if arm.training_seconds.value is None else [seconds(arm.training_seconds.value)]
        if needs:
            parts.append(f"{' and '.join(needs)} in {arm.arm}")
    return f"On this machine the training took {listed(parts)}{aside}." if len(parts) > 1 else ""


def _rates(arms: Sequence[ArmSummary]) -> str:
    rates = {arm.arm: learning_rate(arm.learning_rate) for arm in arms}
    told = ", ".join(f"{rate} in {name}" for name, rate in rates.items())
    if len(set(rates.values())) == 1:
        told = next(iter(rates.values()))
    if all(arm.rate_chosen for arm in arms):
        return f"Each arm trained at the best of the learning rates that were tried for it ({told})."
    return f"All of this is at the learning rates that the recipe gives ({told}); at others the order may turn."
