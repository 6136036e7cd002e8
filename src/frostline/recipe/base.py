"""What is true of all settings? They cannot be changed, and nothing is taken for something else.

Settings that name files keep the paths as they were written, and know beside that what these are relative to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, PrivateAttr, model_validator

from frostline.recipe.place import Place


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys refused, no value taken for one of another kind."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, values: object) -> object:
        """What YAML gives as a list is kept as a tuple, which nobody can change."""
        return {key: _frozen(value) for key, value in values.items()} if isinstance(values, Mapping) else values


def _frozen(value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(_frozen(inner) for inner in value)
    if isinstance(value, Mapping):
        return {key: _frozen(inner) for key, inner in value.items()}
    return value


class PlacedSettings(Settings):
    """Settings that name files, relative to a place that is no part of them."""

    _place: Place = PrivateAttr(default=Place())

    @property
    def place(self) -> Place:
        """What paths are relative to: part of no hash, no dump and no comparison."""
        return self._place

    def placed(self, place: Place) -> Self:
        """The same, with paths relative to `place`."""
        placed = self.model_copy()
        placed._place = place
        return placed
