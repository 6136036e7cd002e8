"""What may be written in a recipe? Its JSON Schema, made from the settings and their docstrings, for editors.

python -m frostline.recipe.schema > src/frostline/recipe/recipe.schema.json

It is draft 7, the newest one that editors of YAML read. The file ships with the package (`shipped` hands it out), so
that it is the same with every version of pydantic. What a schema cannot say, such as that a baseline is one of the
arms, reading a recipe says.
"""

from __future__ import annotations

import json
from typing import cast

from frostline.recipe.grammar import SELECTOR, UNQUOTED, Schema
from frostline.recipe.settings import Recipe

DEFINITIONS = "definitions"
SHARED: dict[str, Schema] = {"selector": SELECTOR, "unquoted-selector": UNQUOTED}
"""Schemas that stand in many places, by the name that they are referred to by."""
_OF_NAMES = ("properties", DEFINITIONS)
"""Keys of a schema below which names stand, and schemas behind them."""
_OF_VALUES = ("default", "enum", "required")
"""Keys of a schema behind which no schemas stand."""


def made_schema() -> Schema:
    """The schema of a recipe, as the settings are now."""
    made = cast("Schema", Recipe.model_json_schema(ref_template=f"#/{DEFINITIONS}/{{model}}"))
    made[DEFINITIONS] = made.pop("$defs")
    tidy = _tidied(made)
    settings = cast("Schema", tidy.pop(DEFINITIONS))
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A recipe of Frostline",
        **tidy,
        DEFINITIONS: {**settings, **SHARED},
    }


def as_text(schema: Schema) -> str:
    """`schema` as it is kept in a file."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _tidied(schema: Schema) -> Schema:
    """The same without what tells a reader nothing: titles, and defaults of whole sections."""
    for name, shared in SHARED.items():
        if schema == shared:
            return {"$ref": f"#/{DEFINITIONS}/{name}"}
    tidy: Schema = {}
    for key, value in schema.items():
        if key == "title" or (key == "default" and isinstance(value, dict)):
            continue
        if key in _OF_VALUES:
            tidy[key] = value
        elif key == "description":
            tidy[key] = " ".join(str(value).split())
        elif isinstance(value, dict) and key in _OF_NAMES:
            tidy[key] = {name: _tidied(cast("Schema", below)) for name, below in value.items()}
        elif isinstance(value, dict):
            tidy[key] = _tidied(value)
        elif isinstance(value, list):
            tidy[key] = [_tidied(below) if isinstance(below, dict) else below for below in value]
        else:
            tidy[key] = value
    if "$ref" in tidy and len(tidy) > 1:  # draft 7 reads nothing beside a reference
        tidy["allOf"] = [{"$ref": tidy.pop("$ref")}]
    return tidy


if __name__ == "__main__":
    print(as_text(made_schema()), end="")
