"""What is the answer, in plain words? The sentences with which a report opens: failures first, then each arm."""

from __future__ import annotations

from frostline.readable import count, gigabytes, learning_rate, loss, percent, plural
from frostline.stats.arms import ArmSummary
from frostline.stats.comparisons import MEASURES, Comparison, difference
from frostline.stats.estimate import Estimate
from frostline.stats.pairs import Pairs, all_pairs
from frostline.stats.runs import RecordedRun, VariantRun
from frostline.stats.significance import replicates_needed
from frostline.stats.summary import VariantSummary
from frostline.stats.trade import SEEDS_SHOWN
from frostline.stats.wording import describe_plan, interval


def answer(run: RecordedRun, variants: list[VariantSummary]) -> list[str]:
    """One sentence each."""
    sentences = _trouble(run, variants)
    for variant, summary in zip(run.variants, variants, strict=True):
        found = _of_variant(variant, summary)
        sentences += [f"{variant.label}: {sentence}" if variant.label else sentence for sentence in found]
    if variants:
        sentences += _how_sure(run.variants[0], variants)
    return sentences or ["The run ended before any arm began: there is nothing to answer from."]


def _trouble(run: RecordedRun, variants: list[VariantSummary]) -> list[str]:
    sentences = []
    for variant in variants:
        prefix = f"{variant.variant}: " if variant.variant else ""
        going_on = " The others went on." if any(arm.replicates for arm in variant.arms.values()) else ""
        sentences += [f"{prefix}{sentence}{going_on}" for sentence in variant.checks.failed]
        if not variant.checks.pairing_holds:
            sentences.append(f"{prefix}{variant.checks.pairing} Its comparisons mean nothing.")
        if not variant.checks.frozen_holds:
            sentences.append(f"{prefix}{variant.checks.frozen}")
    if run.changes:
        sentences.append(f"The run went on under other conditions after it was stopped: {'; '.join(run.changes)}.")
    if run.ended is None or run.ended.status != "finished":
        sentences.append("The run was interrupted: what follows is from the part that is there.")
    return sentences


def _of_variant(variant: VariantRun, summary: VariantSummary) -> list[str]:
    sentences = []
    for pairs in all_pairs(variant):
        left_out = f" Left out: {', '.join(pairs.left_out)}." if pairs.left_out and pairs.pairs else ""
        if pairs.pairs:
            sentences.append(_arm_sentence(summary, pairs) + left_out)
        else:
            sentences.append(f"{pairs.arm} cannot be compared with {pairs.baseline}: no replicate has both to the end.")
    if len(summary.arms) == 1:
        sentences.append(_single(summary, next(iter(summary.arms.values()))))
    return sentences + _reused(summary) + _shared(variant) + _forgetting(summary) + _style(summary)


def _reused(summary: VariantSummary) -> list[str]:
    """Which arms this run did not train, and what that means for their times."""
    found = {name: arm.reused_from for name, arm in summary.arms.items() if arm.reused_from}
    if not found:
        return []
    runs = sorted({run for origins in found.values() for run in origins})
    rest = (
        ""
        if len(runs) == 1 and len(found) == len(summary.arms)
        else " Times of different runs are not compared: for r, run again with --fresh, or see 'frostline time'."
    )
    return [f"Not trained again, but taken from an earlier run ({'; '.join(runs)}): {', '.join(found)}.{rest}"]


def _shared(variant: VariantRun) -> list[str]:
    """Which arms were computed by which numbers of processes, where times do not compare for that."""
    if all(pair.alike or not pair.in_one_run for pairs in all_pairs(variant) for pair in pairs.pairs):
        return []
    found = {arm: sorted({one for run in variant.counting(arm) for one in run.processes}) for arm in variant.arms}
    told = ", ".join(f"{arm} by {' and '.join(map(str, numbers))}" for arm, numbers in found.items())
    return [
        f"Numbers of processes computed the arms that were not the same throughout ({told}): their times are not "
        "compared. For r, run again with --fresh on one number of them, or see 'frostline time'."
    ]


def _arm_sentence(summary: VariantSummary, pairs: Pairs) -> str:
    """An arm against the baseline in loss, time and memory."""
    arm, baseline = summary.arms[pairs.arm], summary.arms[pairs.baseline]
    start = (
        f"{describe_plan(arm.plan, summary.layers)} ({pairs.arm}: {count(arm.trained_parameters)} of "
        f"{count(arm.parameters)} parameters)"
    )
    other = _baseline_words(baseline)
    # The bottom line tells the learning rates and the memory of all arms, once.
    told = bool(summary.bottom_line)
    loss_part = _loss_part(pairs, arm, baseline, other, with_rates=not told)
    parts = [part for part in (loss_part, _time_part(arm, other)) if part]
    memory = "" if told else _memory_part(arm, baseline)
    return f"{start} {', and '.join(parts) or 'was not measured'}{memory}."


def _loss_part(pairs: Pairs, arm: ArmSummary, baseline: ArmSummary, other: str, *, with_rates: bool) -> str:
    held_out = difference(pairs, MEASURES["held_out_after"])
    measure, kind = ("held_out_after", "held-out") if held_out.value is not None else ("loss_last", "training")
    found = difference(pairs, MEASURES[measure])
    if found.value is None:
        return ""
    compared = MEASURES[measure].measure
    values = [(compared(pair.arm), compared(pair.baseline)) for pair in pairs.pairs]
    own = sum(first for first, _ in values) / len(values)
    theirs = sum(second for _, second in values) / len(values)
    rates = (f" at {learning_rate(arm.learning_rate)}", f" at {learning_rate(baseline.learning_rate)}")
    if arm.rate_chosen and baseline.rate_chosen:
        best = learning_rate(arm.learning_rate), learning_rate(baseline.learning_rate)
        rates = (f" at its best rate, {best[0]},", f" at its own, {best[1]}")
    rates = rates if with_rates else ("", "")
    losses = f"{loss(own)} nats a token against {loss(theirs)} for {other}{rates[1]}"
    reached = f"reached{_by_then(pairs)}{rates[0]} a {kind} loss of {losses}"
    if found.value == 0 and not any(first != second for first, second in values):
        return f"{reached}: no difference at all"
    word, apart = "worse" if found.value > 0 else "better", [first - second for first, second in values]
    if 1 < len(apart) <= SEEDS_SHOWN:  # a t interval of so few would say nothing
        sign = 1 if found.value > 0 else -1
        return f"{reached}: {loss(abs(found.value))} {word} (seeds: {', '.join(loss(sign * one) for one in apart)})"
    return f"{reached}: {loss(abs(found.value))} {word}{interval(found, decimals=3, negate=found.value < 0)}"


def _by_then(pairs: Pairs) -> str:
    """After how many steps arms are compared of which one was interrupted; '' where all have finished."""
    if not any(pair.interrupted for pair in pairs.pairs):
        return ""
    steps = {pair.steps for pair in pairs.pairs}
    return f" in {plural(steps.pop(), 'step')}" if len(steps) == 1 else " in the steps that both took"


def _time_part(arm: ArmSummary, other: str) -> str:
    saving = arm.saving
    if saving is None or saving.value is None:
        return ""
    if saving.value >= 0:
        return f"took {percent(saving.value)} less time a step{interval(saving, as_percent=True)}"
    return f"took {percent(-saving.value)} more time a step{interval(saving, as_percent=True, negate=True)}"


def _memory_part(arm: ArmSummary, baseline: ArmSummary) -> str:
    if arm.peak_bytes is None or baseline.peak_bytes is None:
        return ""
    return f"; its memory peaked at {gigabytes(arm.peak_bytes)} against {gigabytes(baseline.peak_bytes)}"


def _single(summary: VariantSummary, arm: ArmSummary) -> str:
    before, after = arm.held_out_before, arm.held_out_after
    found = f"took the held-out loss from {loss(before.value)} to {loss(after.value)} nats a token"
    if after.value is None:
        found = f"ended at a training loss of {loss(arm.loss_last.value)} nats a token"
    return f"{describe_plan(arm.plan, summary.layers)} ({arm.arm}) {found}; there is no other arm to compare it with."


def _forgetting(summary: VariantSummary) -> list[str]:
    known = {name: arm.forgetting for name, arm in summary.arms.items() if arm.forgetting is not None}
    if not known:
        return []
    parts = [f"{_signed(found)}{interval(found, decimals=3)} in {name}" for name, found in known.items()]
    text = summary.retention if summary.retention.startswith("the untouched") else "the retention corpus"
    return [f"Forgetting: the loss on {text} changed by {', '.join(parts)}, in nats a token."]


def _style(summary: VariantSummary) -> list[str]:
    known = {name: arm for name, arm in summary.arms.items() if arm.common_share_change is not None}
    if not known:
        return []
    first = next(iter(known.values()))
    before = "unknown" if first.common_share_before is None else percent(first.common_share_before.value)
    parts = [
        f"{percent(arm.common_share_after.value)} in {name}"
        for name, arm in known.items()
        if arm.common_share_after is not None
    ]
    return [f"The share of common tokens in the generated text went from {before} to {', '.join(parts)}."]


def _how_sure(variant: VariantRun, variants: list[VariantSummary]) -> list[str]:
    """What the number of replicates allows to say."""
    arms = len(variant.arms) - 1
    if arms < 1:
        return []
    replicates = max((len(pairs.pairs) for pairs in all_pairs(variant)), default=0)
    needed = replicates_needed(arms)
    if replicates < needed:
        corrected = f", with {arms} arms compared," if arms > 1 else ""
        return [
            f"With {plural(replicates, 'replicate')} no difference can be called significant beyond these runs; "
            f"{needed} would be enough{corrected} for the exact test to reach p < 0.05."
        ]
    named = [(one, found) for one in variants for found in one.comparisons if found.measure == "held_out_after"]
    return [_verdict(one.variant, found, variant.baseline) for one, found in named]


def _verdict(label: str, found: Comparison, baseline: str) -> str:
    prefix = f"{label}: " if label else ""
    replicates = plural(found.difference.n, "replicate")
    p = "unknown" if found.p_holm is None else f"{found.p_holm:.3f}"
    word = "not told from" if found.verdict == "undecided" else f"{found.verdict} than"
    exploratory = ", exploratory" if found.exploratory else ""
    return (
        f"{prefix}The held-out loss of {found.arm} is {word} that of {baseline} (p = {p}, {replicates}{exploratory})."
    )


def _baseline_words(baseline: ArmSummary) -> str:
    return "full training" if baseline.trained_parameters == baseline.parameters else baseline.arm


def _signed(found: Estimate) -> str:
    return "unknown" if found.value is None else f"{round(found.value, 3) + 0.0:+.3f}"
