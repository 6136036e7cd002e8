"""What does a Trainer's checkpoint say of the plan that it was trained under?"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic wants it before Python 3.12

from frostline.errors import FrostlineError
from frostline.plans import Plan


class SavedPlan(TypedDict):
    """What `trainer_state.json` holds of a plan."""

    plan: str
    """The plan, in canonical form."""
    frozen_sha256: dict[str, str]
    """SHA-256 of each portion that was frozen then, as it was when it was frozen."""


_SAVED = TypeAdapter(SavedPlan)


def saved_in_folder(folder: Path, callback: str) -> SavedPlan | None:
    """What the checkpoint in `folder` says of the callback named `callback`; None where it says nothing.

    Raises `FrostlineError` where it cannot be read.
    """
    try:
        state: object = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FrostlineError(f"the checkpoint '{folder}' cannot be read: {error}.") from error
    return saved_in(state.get("stateful_callbacks") if isinstance(state, dict) else None, callback)


def saved_in(states: object, callback: str) -> SavedPlan | None:
    """The same, of the states of all callbacks by name."""
    found = states.get(callback) if isinstance(states, dict) else None
    if isinstance(found, list) and found:
        found = found[0]
    attributes = found.get("attributes") if isinstance(found, dict) else None
    try:
        return _SAVED.validate_python(attributes.get("saved") if isinstance(attributes, dict) else None, strict=True)
    except ValidationError:
        return None


def require_same_plan(plan: Plan, saved: SavedPlan | None, where: str) -> SavedPlan:
    """What was saved, if it is of `plan`. Raises `FrostlineError` otherwise."""
    if saved is None:
        raise FrostlineError(
            f"the checkpoint of {where} was written without a plan.",
            "What was frozen in it is not known: begin anew, or resume it without the plan.",
        )
    if saved["plan"] != plan.text:
        raise FrostlineError(
            f"the checkpoint of {where} is of another plan: '{saved['plan']}', not '{plan.text}'.",
            "Resume it with its own plan, or begin anew in another output_dir.",
        )
    return saved
