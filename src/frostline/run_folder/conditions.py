"""Are the conditions those under which a run or an advice was begun? Machine, model, corpora, precision, device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from frostline.errors import RunFolderError
from frostline.run_folder.records import VariantPrepared

DECIDING_FACTS = (
    "frostline", "python", "torch", "transformers", "tokenizers", "numpy", "peft", "processor", "torch threads", "blas",
    "gpu",
)  # fmt: skip
"""What of `machine.describe_machine` may decide a bit of a result."""
MAY_DIFFER = frozenset({"schedule"})
"""What `auto` settles by free memory, and what changes no result."""


def changes_of_machine(then: Mapping[str, str], machine: Mapping[str, str]) -> list[str]:
    """What may decide a bit and differs, in phrases."""
    return [
        f"{name} was {then.get(name, 'not known')} and is {machine[name]}"
        for name in DECIDING_FACTS
        if then.get(name) != machine[name]
    ]


def require_same_facts(run_folder: Path, then: VariantPrepared, now: VariantPrepared) -> None:
    """Raise `RunFolderError` unless model, corpora, precision and device are what they were when the run was begun."""
    for field in fields(VariantPrepared):
        before, after = getattr(then, field.name), getattr(now, field.name)
        if field.name not in MAY_DIFFER and before != after:
            place = f" of {then.variant}" if then.variant else ""
            found = f": '{before}' then, '{after}' now" if isinstance(before, str | int | float) else ""
            raise RunFolderError(
                f"{run_folder}: since it was begun, {field.name.replace('_', ' ')}{place} has changed{found}.",
                "Bring back what there was, or begin anew with another --out.",
            )
