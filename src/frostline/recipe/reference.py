"""Which keys has a recipe? A page of all of them, by section, made from the schema.

python -m frostline.recipe.reference > docs/recipe.md
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast

from frostline.recipe.fields import LARGEST_COUNT, LARGEST_SEED, as_yaml
from frostline.recipe.grammar import Schema
from frostline.recipe.schema import DEFINITIONS, made_schema

INTRODUCTION = """\
# The recipe

One YAML file is one experiment. Every key, with its type and its default; only `arms` must be there, and an unknown key
is an error. `--set training.steps=40` sets a key beside the file and wins. Paths are relative to the recipe's folder.
This page is made from the code by `python -m frostline.recipe.reference`.

**In an editor.** `frostline init NAME` copies a recipe whose first line names a JSON Schema, and puts the schema beside
it (`.frostline.schema.json`). An editor with a YAML language server completes keys by it, shows what they mean and
marks mistakes, without a network. Nothing else reads it. For a recipe of your own, `frostline init --schema >
.frostline.schema.json`, and `# yaml-language-server: $schema=.frostline.schema.json` as the first line.

**Selectors** say which weights: a role (`attn.qkv`, `mlp`, `norm`, `all`, ...), a role at some layers (`mlp@-4:`,
`attn@50%:`, `all@:4`, `attn@::2`, `mlp@3`), rows of the vocabulary (`embed[added]`), parameters by name
(`name:*k_proj*`, `re:layers\\.[0-9]+\\.mlp`), or what a signal of the model ranks highest (`top:25% by gradient-norm`).
One may stand alone, several in a list. Quotes spare surprises: `["attn@50%:"]`. The roles stand in the
[README](../README.md#plans), the signals under [advice](advise.md).
"""
_WORDS = {"string": "text", "boolean": "`true` or `false`", "null": "`null`", "integer": "whole number"}
_PLURAL = re.compile(r"(?<=\bnumber)\b|(?<=\btext)\b")
_UNMET = (LARGEST_COUNT, LARGEST_SEED)
"""Bounds that nobody meets."""


def reference_page() -> str:
    """The page in Markdown."""
    schema = made_schema()
    settings = cast("dict[str, Schema]", schema[DEFINITIONS])
    places: dict[str, str] = {}
    for name, place in _places(schema, "", settings):
        places.setdefault(name, place)
    meanings = {name: str(one["description"]) for name, one in settings.items()}
    parts = [INTRODUCTION, f"## Sections and keys\n\n{_table(schema, '', places, meanings)}"]
    for name, place in places.items():
        level = "##" if place.partition(".")[2] in ("", "NAME") else "###"
        parts.append(f"{level} {place}\n\n{meanings[name]}\n\n{_table(settings[name], place, places, meanings)}")
    return "\n".join(parts)


def _places(section: Schema, path: str, settings: dict[str, Schema]) -> Iterator[tuple[str, str]]:
    """Each kind of settings below `section` that has keys, and where it is met; some are met twice."""
    for key, value in _properties(section).items():
        for name in _referred(value):
            if "properties" in settings[name]:
                place = f"{_joined(path, key)}{'.NAME' if 'additionalProperties' in value else ''}"
                yield name, place
                yield from _places(settings[name], place, settings)


def _table(section: Schema, path: str, places: dict[str, str], meanings: dict[str, str]) -> str:
    needed = cast("list[str]", section.get("required", []))
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for key, value in _properties(section).items():
        default = "needed" if key in needed else f"`{as_yaml(value['default'])}`" if "default" in value else ""
        meaning = str(value["description"]) if "description" in value else meanings[_reference(value)]
        cells = (f"`{_joined(path, key)}`", _type(value, places), default, meaning)
        rows.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def _type(schema: Schema, places: dict[str, str]) -> str:
    """What belongs behind a key, in words."""
    if name := _reference(schema):
        return f"[{places[name]}](#{places[name].lower().replace('.', '')})" if name in places else name
    members = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if isinstance(members, list):
        if any(_reference(cast("Schema", member)) == "selector" for member in members):
            return "selectors"
        return " or ".join(dict.fromkeys(_type(cast("Schema", member), places) for member in members))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in cast("list[object]", schema["enum"]))
    kind = schema["type"]
    if isinstance(kind, list):
        return " or ".join(_WORDS.get(str(one), str(one)) for one in kind)
    if kind == "array":
        return f"list of {_PLURAL.sub('s', _type(cast('Schema', schema['items']), places))}"
    if kind == "object":
        return f"names, each with {_type(cast('Schema', schema['additionalProperties']), places)}"
    return _WORDS.get(str(kind), str(kind)) + _bounds(schema)


def _bounds(schema: Schema) -> str:
    least, above, most = (schema.get(key) for key in ("minimum", "exclusiveMinimum", "maximum"))
    lower = f" ≥ {least}" if least is not None else f" > {above}" if above is not None else ""
    return lower + (f", ≤ {most}" if most is not None and most not in _UNMET else "")


def _properties(section: Schema) -> dict[str, Schema]:
    return cast("dict[str, Schema]", section["properties"])


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _reference(schema: Schema) -> str:
    """Name of what `schema` is by reference; empty where it says itself what it is."""
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _referred(value: object) -> Iterator[str]:
    """Names that `value` refers to, however deep."""
    if isinstance(value, dict):
        if name := _reference(cast("Schema", value)):
            yield name
        for below in value.values():
            yield from _referred(below)
    elif isinstance(value, list):
        for below in value:
            yield from _referred(below)


if __name__ == "__main__":
    print(reference_page(), end="")
