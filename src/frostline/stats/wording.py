"""How are plans and estimates put into sentences? Plain words, intervals in brackets."""

from __future__ import annotations

import math
from dataclasses import replace

from frostline.errors import PlanError
from frostline.readable import decimal, p_value, plural, significant
from frostline.recipe import Selector, WrittenPlan
from frostline.stats.estimate import Estimate
from frostline.stats.intervals import LEVEL, OVER_REPLICATES
from frostline.stats.summary import ClaimResult

ROLE_WORDS = {
    "all": "all weights",
    "embed": "the embeddings",
    "attn": "the attention",
    "attn.q": "the query matrices",
    "attn.k": "the key matrices",
    "attn.v": "the value matrices",
    "attn.qkv": "the query, key and value matrices",
    "attn.o": "the attention's output matrices",
    "mlp": "the MLPs",
    "mlp.gate": "the MLPs' gate matrices",
    "mlp.up": "the MLPs' up matrices",
    "mlp.down": "the MLPs' down matrices",
    "norm": "the norms",
    "bias": "the biases",
    "head": "the output head",
}


def interval(estimate: Estimate, *, as_percent: bool = False, negate: bool = False, decimals: int | None = None) -> str:
    """` [low, high]` with a leading blank, or '' where there is none; `negate` turns the sign.

    Of two replicates their own values stand there: ` (2 replicates: 0.141 and 0.133)`.
    """
    if estimate.low is None or estimate.high is None:
        return ""
    two = estimate.n == 2 and estimate.method == OVER_REPLICATES
    low, high = _values_of_two(estimate) if two else (estimate.low, estimate.high)
    low, high = (-high, -low) if negate else (low, high)
    if as_percent:
        written = [decimal(100 * end) for end in (low, high)]
    else:
        written = [significant(end) if decimals is None else decimal(end, decimals) for end in (low, high)]
    return f" (2 replicates: {' and '.join(written)})" if two else f" [{', '.join(written)}]"


def _values_of_two(estimate: Estimate) -> tuple[float, float]:
    """The two values that have this t interval, 12.7 times as wide as they lie apart; of a ratio, of its logarithm."""
    assert estimate.low is not None
    assert estimate.high is not None
    is_ratio = estimate.unit == "ratio"
    low, high = (math.log(end) if is_ratio else end for end in (estimate.low, estimate.high))
    middle, apart = (low + high) / 2, (high - low) / (2 * math.tan(math.pi * LEVEL / 2))
    low, high = (0.0 if abs(end) < 1e-9 * apart else end for end in (middle - apart, middle + apart))
    return (math.exp(low), math.exp(high)) if is_ratio else (low, high)


def scaled(estimate: Estimate, factor: float) -> Estimate:
    """The estimate in another unit."""
    ends = [None if end is None else factor * end for end in (estimate.value, estimate.low, estimate.high)]
    return replace(estimate, value=ends[0], low=ends[1], high=ends[2])


def p_text(p: float | None) -> str:
    """`p = 0.031`, or '' where there is none."""
    written = "" if p is None else p_value(p)
    return f"p {written if written[0] == '<' else f'= {written}'}" if written else ""


def with_p(p: float | None) -> str:
    """` (p = 0.031)` with a leading blank, or '' where there is none."""
    return f" ({p_text(p)})" if p is not None else ""


SYMBOLS = {"supported": "✓", "refuted": "✗", "undecided": "?"}
_QUALIFIED = {"supported": "+", "refuted": "−"}


def verdict_label(claim: ClaimResult) -> str:
    """`supported`, with what it is restricted to: `supported in these runs, at these rates (exploratory)`."""
    told = claim.verdict
    if claim.verdict != "undecided":
        told += " in these runs" if claim.scope == "in these runs" else ""
        told += " at these rates" if claim.at_rates == "the given rates" else ""
    return f"{told} (exploratory)" if claim.exploratory else told


def verdict_symbol(claim: ClaimResult) -> str:
    """A tick or a cross only for what holds over replicates and at each arm's best rate; plus or minus for less."""
    restricted = claim.scope == "in these runs" or claim.at_rates == "the given rates"
    return (_QUALIFIED if restricted else SYMBOLS).get(claim.verdict, "?")


def describe_plan(plan: str, layers: int) -> str:
    """A plan as the beginning of a sentence: 'Training only the query matrices of layers 15-29'."""
    try:
        written = WrittenPlan.parse(plan)
        selectors = written.train or written.freeze or written.targets
        named = listed([_selector(selector, layers) for selector in selectors])
    except (PlanError, KeyError):
        return f"Training by the plan '{plan}'"
    changes = len(written.changes)
    later = f", with {plural(changes, 'change')} over time" if changes else ""
    if written.lora is not None:
        return f"Training adapters of rank {written.lora.rank} on {named}"
    if written.freeze is not None:
        return f"Training everything except {named}{later}"
    return (f"Training {'everything' if named == 'all weights' else 'only ' + named}") + later


def _selector(selector: Selector, layers: int) -> str:
    """`the attention of layers 15-29`. Raises `KeyError` for a pattern, which has no words of its own."""
    words = ROLE_WORDS[selector.pattern if selector.kind == "role" else selector.text]
    if selector.layers is None:
        return words
    chosen = selector.layers.of(layers)
    if len(chosen) == 1:
        return f"{words} of layer {chosen[0]}"
    if chosen.step == 1:
        return f"{words} of layers {chosen[0]}-{chosen[-1]}"
    return f"{words} of layers {chosen[0]}, {chosen[1]}, ..., {chosen[-1]}"


def listed(phrases: list[str]) -> str:
    """`one`, `one and two`, `one, two and three`."""
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]
