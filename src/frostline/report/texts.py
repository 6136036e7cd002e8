"""What does the report show of the texts? A table of what each is like, and the texts themselves, prompt by prompt.

The first row, and the first column, are how the held-out text itself goes on: beside it the numbers have a meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from frostline.report import numbers
from frostline.report.opened import Run
from frostline.report.style import Style
from frostline.report.table import Table
from frostline.stats import Estimate, VariantSummary

CLIPPED_AT = 360
"""Characters of a sample shown before the rest is folded away."""
ITSELF = "what the text itself goes on with"
BEFORE = "before training"
COLUMNS = {
    "distance": "distance to the text",
    "common_share": "common tokens",
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "repetition": "repetition",
    "self_bleu": "self-BLEU",
    "copied_share": "copied",
    "length": "tokens",
    "from_untouched": "from the untouched, nats",
    "judge_loss": "judge's loss, nats a byte",
}
"""What the table tells, by key in the summary; a column that nothing has is left out."""


@dataclass(frozen=True)
class SampledText:
    who: str
    colour: str
    head: str
    rest: str


@dataclass(frozen=True)
class PromptSamples:
    prompt: str
    samples: list[SampledText]


def text_table(variant: VariantSummary, style: Style) -> Table | None:
    """What the texts of a variant are like; None where none was sampled."""
    if not variant.quality_before:
        return None
    first = next(iter(variant.arms.values()))
    told: list[tuple[str, str, Mapping[str, Estimate], Estimate | None]] = [
        (ITSELF, "ink", variant.quality_reference, variant.quality_reference.get("common_share")),
        (BEFORE, "muted", variant.quality_before, first.common_share_before),
    ]
    told += [(name, style.colour_name(name), arm.quality, arm.common_share_after) for name, arm in variant.arms.items()]
    rows = {
        (who, colour): {**values, **({} if share is None else {"common_share": share})}
        for who, colour, values, share in told
        if values
    }
    shown = [key for key in COLUMNS if any(_known(values.get(key)) for values in rows.values())]
    return Table(
        ("", *(COLUMNS[key] for key in shown)),
        tuple((who, *(_cell(values.get(key)) for key in shown)) for (who, _), values in rows.items()),
        _notes(variant),
        tuple(colour for _, colour in rows),
    )


def _notes(variant: VariantSummary) -> str:
    notes = ["A higher number is not better text: more varied than the text itself is as far from it as less varied."]
    if variant.quality_reference:
        notes.append("The distance is the mean of how far the six shares beside it are from the first row's.")
    else:
        notes.append("This run did not record how the held-out text itself goes on.")
    notes.append("How far a text is from what the untouched model expects is its loss there, and no fault.")
    if variant.judge:
        notes.append(f"The judge is {variant.judge}, which was not trained and reads the texts with its own tokenizer.")
    else:
        notes.append("No model of another origin has judged the texts (measures.judge).")
    return " ".join(notes)


def _known(found: Estimate | None) -> bool:
    return found is not None and found.value is not None


def _cell(found: Estimate | None) -> str:
    if found is None or found.value is None:
        return numbers.MISSING
    return numbers.share(found.value) if found.unit == "share" else numbers.number(found.value)


def samples_of(run: Run, variant: VariantSummary, style: Style) -> list[PromptSamples]:
    """The first replicate's first texts, prompt by prompt: the text itself, then before training, then each arm."""
    found = run.continuations().filter((pl.col("variant") == variant.variant) & (pl.col("draw").fill_null(0) == 0))
    if found.is_empty():
        return []
    seed = found.get_column("seed")[0]
    true = run.true_continuations().filter((pl.col("variant") == variant.variant) & (pl.col("seed") == seed))
    itself = dict(true.select("prompt_index", "text").iter_rows())
    found = found.filter(pl.col("seed") == seed).sort("prompt_index", maintain_order=True)
    prompts: dict[int, dict[str, tuple[str, str]]] = {}
    for index, arm, prompt, text in found.select("prompt_index", "arm", "prompt", "text").iter_rows():
        prompts.setdefault(index, {})[arm] = (prompt, text)
    samples = []
    for index, by_arm in prompts.items():
        first = [_clipped(ITSELF, "ink", itself[index])] if index in itself else []
        first += [_clipped(BEFORE, "muted", by_arm[""][1])] if "" in by_arm else []
        rest = [_clipped(arm, style.colour_name(arm), by_arm[arm][1]) for arm in style.arms if arm in by_arm]
        samples.append(PromptSamples(next(iter(by_arm.values()))[0], first + rest))
    return samples


def _clipped(who: str, colour: str, text: str) -> SampledText:
    cut = len(text)
    if cut > CLIPPED_AT:
        cut = text.rfind(" ", CLIPPED_AT // 2, CLIPPED_AT) + 1 or CLIPPED_AT
    return SampledText(who, colour, text[:cut], text[cut:])
