"""What does a person read who got a value wrong? Errors of validation as sentences, in the words of YAML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from frostline.errors import Key, RecipeError, nearest
from frostline.recipe.fields import as_found, as_yaml
from frostline.recipe.source import RecipeSource

_KINDS = {
    "bool_type": "true or false",
    "dict_type": "a mapping of keys",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of {ge} or more",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number of {le} or less",
    "literal_error": "{expected}",
    "model_type": "a mapping of keys",
    "string_too_long": "a text of at most {max_length} characters",
    "string_too_short": "a text of at least {min_length} characters",
    "string_type": "a text",
    "string_unicode": "a text of whole characters",
    "too_long": "a list of at most {max_length} values",
    "too_short": "at least {min_length} of them",
    "tuple_type": "a list",
}
"""What belongs where another kind of value stands, by pydantic's name of the error."""
_MEMBERS = ("CorpusSettings", "PrimaryClaim", "PrimaryComparison")
"""What pydantic puts into a place to say which of several types it means, and no one has written."""
_LISTED_KEYS = 12
_YES, _NO = ("yes", "on", "y", "True", "1"), ("no", "off", "n", "False", "none", "None", "false", "0")


def explain(error: ErrorDetails, settings: type[BaseModel], source: RecipeSource) -> RecipeError:
    """The sentence for an error of validating `settings`, with the place of its key in `source`."""
    written = tuple(key for key in error["loc"] if not any(member in str(key) for member in _MEMBERS))
    keys: tuple[Key, ...] = (*written, *error.get("ctx", {}).get("keys", ()))
    message, hint = sentence_of(error, keys, settings)
    if keys[-1:] == ("[key]",):  # pydantic's way to speak of the key itself
        keys = keys[:-2]
        message, hint = f"a name is a text{as_found(error['input'])}.", "Write it in quotes."
    explained = RecipeError(message, hint).at(*keys)
    explained.place = source.place(keys)
    return explained


def sentence_of(error: ErrorDetails, keys: Sequence[Key], settings: type[BaseModel]) -> tuple[str, str]:
    """What was found at `keys` of `settings`, and what would work."""
    if error["type"] == "extra_forbidden":
        choices = _fields_at(keys[:-1], settings)
        return "unknown key.", nearest(str(keys[-1]), choices) or _known(choices)
    if error["type"] == "missing":
        return ("a value is missing from this list.", "") if isinstance(keys[-1], int) else ("this key is missing.", "")
    if error["type"] == "mistake":
        return error["ctx"]["message"], error["ctx"]["hint"]
    if error["type"] == "value_error":
        return f"{error['msg'].removeprefix('Value error, ')}.", ""
    value: object = error["input"]
    if error["type"] not in _KINDS:
        return f"{error['msg'][:1].lower()}{error['msg'][1:]}{as_found(value)}.", ""
    kind = _KINDS[error["type"]].format(**error.get("ctx", {}))
    return f"{kind} belongs here{as_found(value)}.", _way_out(error["type"], value, keys, settings)


def _way_out(kind: str, value: object, keys: Sequence[Key], settings: type[BaseModel]) -> str:
    written = as_yaml(value).strip("'")
    if kind == "model_type":
        return _known(_fields_at(keys, settings))
    if kind == "bool_type" and written in (*_YES, *_NO):
        return f"Write {'true' if written in _YES else 'false'}."
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f"Write it in quotes: '{written}'." if not isinstance(value, float) else "Write it in quotes."
    if kind == "tuple_type" and isinstance(value, str | int | float):
        return f"Write [{written}]."
    if written in _NO and value != 0 and _may_be_null(keys, settings):
        return "Write null for none."
    return ""


def _may_be_null(keys: Sequence[Key], settings: type[BaseModel]) -> bool:
    section = _settings_at(keys[:-1], settings)
    field = None if section is None else section.model_fields.get(str(keys[-1]))
    return field is not None and type(None) in get_args(field.annotation)


def _known(choices: Sequence[str]) -> str:
    if not choices:
        return ""
    more = f" and {len(choices) - _LISTED_KEYS} more" if len(choices) > _LISTED_KEYS else ""
    return f"Known keys: {', '.join(choices[:_LISTED_KEYS])}{more}."


def _fields_at(keys: Sequence[Key], settings: type[BaseModel]) -> list[str]:
    section = _settings_at(keys, settings)
    return [] if section is None else list(section.model_fields)


def _settings_at(keys: Sequence[Key], settings: type[BaseModel]) -> type[BaseModel] | None:
    """The settings at `keys` of `settings`, following their types."""
    kind = settings
    for index, key in enumerate(keys):
        if (index > 0 and keys[index - 1] == "arms") or isinstance(key, int):
            continue  # an arm's name, or a place in a list: the type was found at the key before
        field = kind.model_fields.get(str(key))
        inner = _settings_in(field.annotation) if field is not None else None
        if inner is None:
            return None
        kind = inner
    return kind


def _settings_in(annotation: object) -> type[BaseModel] | None:
    """The first settings class inside an annotation such as `dict[str, ArmSettings]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        found = _settings_in(part)
        if found is not None:
            return found
    return None
