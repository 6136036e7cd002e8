"""What can a JSON Schema say of what stands behind a key? Patterns of selectors, rates and names, for editors.

A schema that an editor reads knows no more of a selector than its letters. What these patterns refuse, reading a recipe
refuses too; reading refuses more, such as slices that are no layers of any model.
"""

from __future__ import annotations

import re

from pydantic.config import JsonDict

from frostline.recipe.roles import LAYERED_ROLES, ROLES
from frostline.recipe.signal_names import CHOOSING_SIGNALS, RANDOM
from frostline.recipe.token_rows import ROW_ROLES

Schema = JsonDict

ARM_NAME = "[A-Za-z0-9][A-Za-z0-9._+-]{0,39}"
_BOUND = r"(-?[0-9]{1,6}|[0-9]{1,3}(\.[0-9]{1,6})?%)"
_SLICE = rf"(-?[0-9]{{1,6}}|{_BOUND}?\s*:\s*{_BOUND}?(\s*:\s*[0-9]{{0,6}})?)"


def _any(words: tuple[str, ...]) -> str:
    return f"({'|'.join(re.escape(word) for word in words)})"


_SELECTOR = "|".join(
    (
        _any(ROLES),
        rf"{_any(LAYERED_ROLES)}\s*@\s*{_SLICE}",
        rf"{_any(ROW_ROLES)}\s*\[.+\]",
        "(name|re):.+",
        rf"(top|bottom):\s*[0-9]{{1,3}}(\.[0-9]{{1,6}})?\s*%\s+by\s+({_any(CHOOSING_SIGNALS)}|{RANDOM}(-[0-9]+)?)",
    )
)
SELECTOR: Schema = {
    "description": "ROLE, ROLE@LAYERS, embed[TOKENS], name:GLOB, re:REGEX or top:SHARE% by SIGNAL.",
    "anyOf": [
        {"enum": list(ROLES)},  # editors offer these
        {"type": "string", "pattern": rf"^\s*({_SELECTOR})\s*$"},
    ],
}
UNQUOTED: Schema = {
    "description": "A selector that ends with a colon, such as attn@50%: without quotes; YAML makes a key of it.",
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "propertyNames": {"pattern": rf"^\s*{_any(LAYERED_ROLES)}\s*@\s*({_BOUND}(\s*:\s*{_BOUND}?)?|:\s*{_BOUND}?)\s*$"},
    "additionalProperties": {"type": "null"},
}
_SELECTOR_LIST: Schema = {"type": "array", "items": {"anyOf": [SELECTOR, UNQUOTED]}}
SELECTORS: Schema = {"anyOf": [SELECTOR, UNQUOTED, _SELECTOR_LIST]}
SOME_SELECTORS: Schema = {"anyOf": [SELECTOR, UNQUOTED, {**_SELECTOR_LIST, "minItems": 1}]}
RATE: Schema = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"enum": ["best"]}]}
RATES: Schema = {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}, "minItems": 2}
BETAS: Schema = {
    "type": "array",
    "items": {"type": "number", "minimum": 0, "maximum": 1},
    "minItems": 2,
    "maxItems": 2,
}
VARIED: Schema = {"type": ["string", "number"]}
DEVICES = ("auto", "cpu", "cuda")
GPU_BY_NUMBER = "cuda:(0|[1-9][0-9]{0,2})"
DEVICE: Schema = {"anyOf": [{"enum": list(DEVICES)}, {"type": "string", "pattern": f"^{GPU_BY_NUMBER}$"}]}


def varied_keys(keys: tuple[str, ...]) -> Schema:
    """That at most one key is varied, one of `keys`, over two or more values."""
    values: Schema = {"type": "array", "items": VARIED, "minItems": 2, "uniqueItems": True}
    return {"propertyNames": {"enum": list(keys)}, "maxProperties": 1, "additionalProperties": values}


def given(*keys: str) -> Schema:
    """That every one of `keys` has a value, which null and an empty list are not."""
    return {"required": list(keys), "properties": {key: {"not": {"enum": [None, []]}} for key in keys}}


def one_of(*keys: str) -> Schema:
    """That exactly one of `keys` has a value."""
    return {"oneOf": [given(key) for key in keys]}


def not_both(*keys: str) -> Schema:
    """That one of `keys` at least has no value."""
    return {"not": given(*keys)}


_FETCHED: Schema = {"required": ["source"], "properties": {"source": {"type": "string", "pattern": "^https://"}}}
CORPUS_RULES: Schema = {
    "allOf": [
        {"if": given("prompt"), "then": given("response")},
        {"if": given("response"), "then": given("prompt")},
        {"if": _FETCHED, "then": given("sha256")},
        {"properties": {"source": {"not": {"type": "string", "pattern": "^http://"}}}},
        not_both("prompt", "messages"),
    ]
}
"""What must hold between the keys of a corpus."""
