"""How are numbers and plans put into sentences? Few digits, plain units, intervals in brackets."""

from __future__ import annotations

import math
import re
from dataclasses import replace

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
_SELECTOR = re.compile(r"(?P<role>[a-z.]+)(@(?P<layers>[-0-9.%:]+))?")
_LORA = re.compile(r"lora: rank (?P<rank>[0-9]+)(, alpha [^,]*)?, targets \[(?P<selectors>[^\[\]\"]*)\]")
_PLAN = re.compile(r"(?P<verb>train|freeze): \[(?P<selectors>[^\[\]\"]*)\]")


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
    first, *changes = plan.split("; ")
    later = f", with {plural(len(changes), 'change')} over time" if changes else ""
    adapters = _LORA.fullmatch(first)
    if adapters is not None:
        first = f"train: [{adapters['selectors']}]"
    match = _PLAN.fullmatch(first)
    if match is None:
        return f"Training by the plan '{plan}'"
    phrases = [_selector(text.strip(), layers) for text in match["selectors"].split(",")]
    if any(phrase is None for phrase in phrases):
        return f"Training by the plan '{plan}'"
    named = _listed([phrase for phrase in phrases if phrase is not None])
    if adapters is not None:
        return f"Training adapters of rank {adapters['rank']} on {named}"
    if match["verb"] == "freeze":
        return f"Training everything except {named}{later}"
    return (f"Training {'everything' if named == 'all weights' else 'only ' + named}") + later


def _selector(text: str, layers: int) -> str | None:
    match = _SELECTOR.fullmatch(text)
    if match is None or match["role"] not in ROLE_WORDS:
        return None
    words = ROLE_WORDS[match["role"]]
    if match["layers"] is None:
        return words
    chosen = _layers(match["layers"], layers)
    return f"{words} of {chosen}" if chosen else None


def _layers(text: str, layers: int) -> str | None:
    """`layers 15-29` for a slice; the same arithmetic as the selector language (percent round down)."""
    parts = text.split(":")
    bounds: list[int | None] = []
    for part in parts[:2]:
        if not part:
            bounds.append(None)
        elif part.endswith("%"):
            bounds.append(int(float(part[:-1]) * layers // 100))
        elif re.fullmatch(r"-?[0-9]+", part):
            bounds.append(int(part))
        else:
            return None
    if len(parts) == 1:
        return f"layer {bounds[0] % layers}" if bounds[0] is not None else None
    step = int(parts[2]) if len(parts) == 3 and parts[2] else 1
    chosen = range(layers)[bounds[0] : bounds[1] : step]
    if not chosen:
        return None
    if len(chosen) == 1:
        return f"layer {chosen[0]}"
    return f"layers {chosen[0]}-{chosen[-1]}" if step == 1 else f"layers {chosen[0]}, {chosen[1]}, ..., {chosen[-1]}"


def _listed(phrases: list[str]) -> str:
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]


def _plain(value: float) -> str:
    """`value` with one decimal."""
    return f"{value + 0.0:.1f}"
