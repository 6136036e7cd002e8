"""Are the conditions those under which a run or an advice was begun? Machine, model, corpora, precision, device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

from frostline.errors import RunFolderError
from frostline.run_folder.records import CorpusFacts, VariantPrepared

DECIDING_FACTS = (
    "frostline", "frostline code", "python", "torch", "transformers", "tokenizers", "numpy", "peft", "processor",
    "torch threads", "blas", "arithmetic", "gpu",
)  # fmt: skip
"""What of `machine.describe_machine` may decide a bit of a result."""
MAY_DIFFER = frozenset({"model", "schedule", "judge"})
"""What a model is called, and what `auto` settles by free memory; neither changes a result."""
IN_WORDS = {
    "model_sha256": "the model's weights",
    "configuration_sha256": "the model's configuration",
    "tokenizer_sha256": "the tokenizer",
    "corpus": "the corpus",
    "retention": "the retention corpus",
    "judge_sha256": "the judge of generated text",
}
"""Facts whose names and values would tell a reader nothing."""
FOLLOWING = frozenset({"configuration_sha256", "tokenizer_sha256"})
"""Facts that may be others because versions are: a new one adds a key to a configuration, with its default."""


def changes_of_machine(then: Mapping[str, str], machine: Mapping[str, str]) -> list[str]:
    """What may decide a bit and differs, in phrases; a fact that an earlier version did not record is left out."""
    return [
        f"{name} was {then[name]} and is {machine[name]}"
        for name in DECIDING_FACTS
        if name in then and then[name] != machine[name]
    ]


def require_same_facts(
    run_folder: Path, then: VariantPrepared, now: VariantPrepared, *, accepted: bool = False
) -> list[str]:
    """Raise `RunFolderError` unless model, corpora, precision and device are what they were when the run was begun.

    Corpora are compared by what they hold, not by what they are called. Where the user has `accepted` another machine
    or other versions, what may follow from those is returned, in phrases.
    """
    followed = []
    if is_of_first_version(then):
        raise RunFolderError(
            f"{run_folder}: it was begun by an earlier Frostline, which did not record the model's configuration and "
            "tokenizer: it cannot be told whether it would go on with the same bits.",
            "Finish it with the version that began it, or begin anew with another --out.",
        )
    for name in (field.name for field in fields(VariantPrepared)):
        before, after = getattr(then, name), getattr(now, name)
        if name in MAY_DIFFER or _content(before) == _content(after):
            continue
        place = f" of {then.variant}" if then.variant else ""
        if accepted and name in FOLLOWING:
            followed.append(f"{IN_WORDS[name]}{place} changed")
            continue
        shown = isinstance(before, str | int | float) and name not in IN_WORDS
        found = f": '{before}' then, '{after}' now" if shown else ""
        what = IN_WORDS.get(name, name.replace("_", " "))
        raise RunFolderError(
            f"{run_folder}: since it was begun, {what}{place} changed{found}.",
            "Bring back what there was, or begin anew with another --out.",
        )
    return followed


def is_of_first_version(facts: VariantPrepared) -> bool:
    """Whether Frostline 0.1.0 recorded `facts`: without configuration and tokenizer, the weights hashed otherwise."""
    return not facts.configuration_sha256


def _content(fact: object) -> object:
    return replace(fact, description="", held_out_files=[]) if isinstance(fact, CorpusFacts) else fact
