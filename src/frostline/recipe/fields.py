"""What may stand behind a key of a recipe? Types of values, and how a value that does not fit is told.

Selectors are checked where they are read, so that a mistyped one is told before any model is loaded; what is kept is
the text as it was written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from frostline.errors import Key, PlanError
from frostline.recipe.grammar import (
    DEVICE,
    DEVICES,
    GPU_BY_NUMBER,
    RATE,
    RATES,
    SELECTORS,
    SOME_SELECTORS,
    VARIED,
)
from frostline.recipe.selectors import parse_selector


def mistake(message: str, hint: str = "", *keys: Key) -> PydanticCustomError:
    """What a validator raises: the sentence of a `RecipeError`, at `keys` below what is validated."""
    return PydanticCustomError("mistake", "{message}", {"message": message, "hint": hint, "keys": keys})


def as_found(value: object) -> str:
    """`, found VALUE`, as YAML has it; nothing where that would be long."""
    phrase = f", found {'nothing' if value is None else as_yaml(value)}"
    return phrase if len(phrase) < 100 else ""


def as_yaml(value: object) -> str:
    """`value` as it is written in a recipe, texts in quotes."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    if isinstance(value, list | tuple):
        return f"[{', '.join(as_yaml(inner) for inner in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {as_yaml(inner)}' for key, inner in value.items())}}}"
    return repr(value)


def _text_or_number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise mistake(f"a text or a number belongs here{as_found(value)}.")
    return value


def _rate(value: object) -> object:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value != BEST and not (number and 0 < float(str(value)) < math.inf):
        raise mistake(f"a number greater than 0 or the word best belongs here{as_found(value)}.")
    return value


def _device(value: object) -> object:
    if not isinstance(value, str) or not (value in DEVICES or re.fullmatch(GPU_BY_NUMBER, value)):
        raise mistake(f"auto, cpu, cuda or cuda:N, such as cuda:1, belongs here{as_found(value)}.")
    return value


def _grid(rates: tuple[float, ...]) -> tuple[float, ...]:
    """Rates to race, as they are if they can be: a single one leaves nothing to choose."""
    if len(rates) < 2:
        raise mistake(f"a race needs two rates or more, found {as_yaml(list(rates))}.", "Leave the key out for a grid.")
    if any(later <= earlier for earlier, later in pairwise(rates)):
        raise mistake(f"rates stand in ascending order, each once, found {as_yaml(list(rates))}.")
    return rates


def _as_tuple(value: object) -> object:
    """One selector may be written without the brackets of a list.

    YAML reads the selector `attn@50%:` in a list as a mapping with an empty value; it is the selector again here.
    """
    items = value if isinstance(value, list | tuple) else (value,)
    return tuple(_selector_from_mapping(item) if isinstance(item, dict) else item for item in items)


def _selector_from_mapping(item: dict[object, object]) -> object:
    if len(item) != 1:
        return item
    ((key, value),) = item.items()
    return f"{key}:" if value is None else item


def _readable(item: object) -> object:
    """`item` as it is, if it is a selector."""
    if not isinstance(item, str):
        raise mistake(f"a selector is a word such as attn.qkv or mlp@50%:{as_found(item)}.")
    try:
        parse_selector(item)
    except PlanError as error:
        raise mistake(error.message, error.hint) from error
    return item


def _some(selectors: tuple[str, ...]) -> tuple[str, ...]:
    if not selectors:
        raise mistake("it names no selector.", "Name some, such as attn.qkv, or leave the key out.")
    return selectors


def _not_computed(selectors: tuple[str, ...]) -> tuple[str, ...]:
    for index, text in enumerate(selectors):
        if parse_selector(text).choice is not None:
            raise mistake(f"'{text}' is computed for arms alone.", "Name the matrices, such as attn.q.", index)
    return selectors


Selectors = Annotated[
    tuple[Annotated[str, BeforeValidator(_readable)], ...], BeforeValidator(_as_tuple), WithJsonSchema(SELECTORS)
]
"""Selectors as they were written; each can be read."""
SomeSelectors = Annotated[Selectors, AfterValidator(_some), WithJsonSchema(SOME_SELECTORS)]
WatchedSelectors = Annotated[Selectors, AfterValidator(_not_computed)]
LARGEST_COUNT = 10**12
"""More of anything than there will ever be; products of a few counts stay far below what overflows."""
LARGEST_SEED = 2**63 - 1
"""Largest number that every part of an experiment keeps whole: generators, journal and tables."""
PositiveCount = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
Count = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
VariedValue = Annotated[str | int | float, BeforeValidator(_text_or_number), WithJsonSchema(VARIED)]
PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Best = Literal["best"]
BEST: Best = "best"
"""In place of a learning rate: the one that a race finds."""
Device = Annotated[str, BeforeValidator(_device), WithJsonSchema(DEVICE)]
"""A word, or a GPU by its number."""
LearningRate = Annotated[float | Best, BeforeValidator(_rate), WithJsonSchema(RATE)]
RateGrid = Annotated[tuple[PositiveNumber, ...], AfterValidator(_grid), WithJsonSchema(RATES)]
NonNegativeNumber = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
