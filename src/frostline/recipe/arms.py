"""What is an arm's own? What trains in it, how that changes, and where it departs from the training of all."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from frostline.recipe.base import Settings
from frostline.recipe.fields import (
    LearningRate,
    NonNegativeNumber,
    PositiveCount,
    PositiveNumber,
    Selectors,
    SomeSelectors,
    mistake,
)
from frostline.recipe.grammar import one_of


class LoraSettings(Settings):
    """Low-rank adapters beside frozen matrices (extra `lora`)."""

    rank: PositiveCount = 8
    """Rank of the adapter."""
    alpha: PositiveNumber | None = None
    """Scale of the adapter; `2 * rank` unless set."""
    targets: SomeSelectors = ("attn.qkv",)
    """Selectors of the matrices that get an adapter."""


class ChangeSettings(Settings):
    """From step `at` on (counted from 0), `thaw` trains further selectors or `freeze` stops training some."""

    model_config = ConfigDict(json_schema_extra=one_of("thaw", "freeze"))

    at: Annotated[int, Field(json_schema_extra={"minimum": 1})]
    """Step before which the change is made, 1 or later."""
    thaw: Selectors = ()
    """Selectors of what trains from then on."""
    freeze: Selectors = ()
    """Selectors of what is frozen from then on."""

    @field_validator("at")
    @classmethod
    def _comes_later(cls, at: int) -> int:
        if at < 1:
            raise mistake("a change comes at step 1 or later; at step 0 the plan itself begins.")
        return at

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if bool(self.thaw) == bool(self.freeze):
            raise ValueError("a change names either 'thaw' or 'freeze'")
        return self


class ArmSettings(Settings):
    """One way to train: exactly one of `train`, `freeze` and `lora` says what trains."""

    model_config = ConfigDict(json_schema_extra=one_of("train", "freeze", "lora"))

    train: SomeSelectors | None = None
    """Selectors of what trains; everything else is frozen."""
    freeze: SomeSelectors | None = None
    """Selectors of what is frozen; everything else trains."""
    changes: tuple[ChangeSettings, ...] = ()
    """Plans that change over time."""
    lora: LoraSettings | None = None
    """Train low-rank adapters only (extra `lora`)."""
    learning_rate: LearningRate | None = None
    """This arm's own learning rate: a frozen arm's best rate differs. `best` finds it, as in `training`."""
    weight_decay: NonNegativeNumber | None = None
    """This arm's own weight decay; that of `training` unless set."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        given = [key for key in ("train", "freeze", "lora") if getattr(self, key) is not None]
        if len(given) != 1:
            found = " and ".join(f"'{key}'" for key in given) or "none of them"
            raise ValueError(f"an arm names exactly one of 'train', 'freeze' and 'lora'; found {found}")
        if self.lora is not None and self.changes:
            raise mistake("'changes' does not apply to an arm with 'lora'.", "", "changes")
        return self
