"""How are numbers and plans put into sentences? Few digits, plain units, intervals in brackets."""

from __future__ import annotations

import math
from dataclasses import replace

from frostline.errors import PlanError
from frostline.recipe import Selector, WrittenPlan
from frostline.stats.summary import Estimate

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


def number(value: float | None, digits: int = 3) -> str:
    """`value` with `digits` significant digits."""
    if value is None or not math.isfinite(value):
        return "unknown"
    if value == 0:
        return "0"
    size = abs(value)
    if 1e-4 <= size < 1e6:
        decimals = max(0, digits - 1 - math.floor(math.log10(size)))
        return f"{value:,.{decimals}f}"
    return f"{value:.{digits - 1}e}"


def percent(value: float | None) -> str:
    """A share in percent."""
    return "unknown" if value is None or not math.isfinite(value) else f"{_plain(100 * value)} %"


def points(value: float | None) -> str:
    """A difference of shares in percentage points."""
    return "unknown" if value is None or not math.isfinite(value) else f"{_plain(100 * value)} points"


def loss(value: float | None) -> str:
    """A loss in nats, three decimals."""
    return "unknown" if value is None or not math.isfinite(value) else f"{value:.3f}"


def count(value: int) -> str:
    """A large count: 134.5 M, 12,345."""
    for factor, letter in ((1e9, "G"), (1e6, "M")):
        if value >= factor:
            return f"{value / factor:.1f} {letter}"
    return f"{value:,}"


def gigabytes(value: float) -> str:
    """Bytes in powers of 1000."""
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def plural(amount: int, noun: str) -> str:
    """`3 replicates`, `1 replicate`."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def interval(estimate: Estimate, *, as_percent: bool = False, negate: bool = False, decimals: int | None = None) -> str:
    """` [low, high]` with a leading blank, or '' where there is none; `negate` turns the sign."""
    if estimate.low is None or estimate.high is None:
        return ""
    low, high = (-estimate.high, -estimate.low) if negate else (estimate.low, estimate.high)
    if as_percent:
        return f" [{_plain(100 * low)}, {_plain(100 * high)}]"
    if decimals is not None:
        return f" [{low + 0.0:.{decimals}f}, {high + 0.0:.{decimals}f}]"
    return f" [{number(low)}, {number(high)}]"


def scaled(estimate: Estimate, factor: float) -> Estimate:
    """The estimate in another unit."""
    ends = [None if end is None else factor * end for end in (estimate.value, estimate.low, estimate.high)]
    return replace(estimate, value=ends[0], low=ends[1], high=ends[2])


def p_text(p: float | None) -> str:
    """`p = 0.031`, or '' where there is none."""
    if p is None:
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def describe_plan(plan: str, layers: int) -> str:
    """A plan as the beginning of a sentence: 'Training only the query matrices of layers 15-29'."""
    try:
        written = WrittenPlan.parse(plan)
        selectors = written.train or written.freeze or written.targets
        named = _listed([_selector(selector, layers) for selector in selectors])
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


def _listed(phrases: list[str]) -> str:
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]


def _plain(value: float) -> str:
    """`value` with one decimal."""
    return f"{value + 0.0:.1f}"
