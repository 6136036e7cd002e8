"""Which parameters of this model does a selector name? What is wrong only for this model is found here."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

import regex

from frostline.errors import PlanError, at, nearest
from frostline.plans.token_rows import portions_of_rows
from frostline.plans.types import ModelMap, Portion
from frostline.recipe import GROUP_ROLES, ROLES, Selector

MATCHING_SECONDS = 0.2
"""Longest time to match one name: some patterns would take for ever."""


def portions_of(selector: Selector, model_map: ModelMap) -> tuple[Portion, ...]:
    """The portions selected, in the model's order. Raises `PlanError`, at the selector, where there is none."""
    with at(*selector.keys):
        if selector.choice is not None:
            raise PlanError(
                f"'{selector.text}' is computed from a corpus, and here there is none.",
                "Name it in an arm of a recipe: there it is computed from the recipe's corpus.",
            )
        if selector.rows is not None:
            found = portions_of_rows(selector, model_map)
        elif selector.kind == "role":
            found = _by_role(selector, model_map)
        else:
            found = tuple(
                portion
                for portion in model_map.portions
                if any(_matches_name(selector, name) for name in (portion.parameter, *portion.aliases))
            )
        if not found:
            raise PlanError(f"'{selector.text}' matches nothing in the model.", _nearest_hint(selector, model_map))
        return found


def names_in(selector: Selector, group: Sequence[str], model_map: ModelMap) -> list[str]:
    """Those names of one tied parameter that `selector` speaks of: `head` of one side, `embed` of the other.

    Rows are those of both sides: they train at both ends.
    """
    if selector.kind != "role":
        return [name for name in group if _matches_name(selector, name)]
    if selector.rows is not None:
        return list(group) if group[0] in {own.parameter for own in portions_of_rows(selector, model_map)} else []
    if group[0] not in {portion.parameter for portion in _by_role(selector, model_map)}:
        return []
    if selector.pattern == "head":
        return [name for name in group if name == model_map.head_name]
    if selector.pattern == "embed":
        return [name for name in group if name != model_map.head_name]
    return list(group)


def _matches_name(selector: Selector, name: str) -> bool:
    if selector.kind == "name":
        return fnmatch.fnmatchcase(name, selector.pattern)
    try:
        return regex.search(selector.pattern, name, timeout=MATCHING_SECONDS) is not None
    except TimeoutError as error:
        raise PlanError(f"'{selector.text}' takes too long to match '{name}'.", "Write a simpler REGEX.") from error


def _by_role(selector: Selector, model_map: ModelMap) -> tuple[Portion, ...]:
    leaves = GROUP_ROLES.get(selector.pattern, (selector.pattern,))
    layers = None if selector.layers is None else selector.layers.of(model_map.layers)
    found = [
        portion
        for portion in model_map.portions
        if portion.role in leaves and (layers is None or portion.layer in layers)
    ]
    if selector.pattern == "head":
        # A tied head has no weight of its own: the selector means the shared one.
        found += [portion for portion in model_map.portions if model_map.head_name in portion.aliases]
    return tuple(found)


def _nearest_hint(selector: Selector, model_map: ModelMap) -> str:
    if selector.kind == "role":
        present = {portion.role for portion in model_map.portions}
        roles = [role for role in ROLES if present & set(GROUP_ROLES.get(role, (role,)))]
        return f"{nearest(selector.pattern, roles)} This model has: {', '.join(roles)}.".strip()
    names = sorted({portion.parameter for portion in model_map.portions})
    return nearest(selector.pattern, names) or f"Its parameters have names such as '{names[0]}'."
