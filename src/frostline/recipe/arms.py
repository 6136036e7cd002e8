"""What is an arm's own? What trains in it, how that changes, and where it departs from the training of all."""

from __future__ import annotations

from typing import Self

from pydantic import field_validator, model_validator

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


class LoraSettings(Settings):
    rank: PositiveCount = 8
    alpha: PositiveNumber | None = None
    """Scale of the adapter; `2 * rank` unless set."""
    targets: SomeSelectors = ("attn.qkv",)
    """Selectors of the matrices that get an adapter."""


class ChangeSettings(Settings):
    """From step `at` on (counted from 0), `thaw` trains further selectors or `freeze` stops training some."""

    at: int
    thaw: Selectors = ()
    freeze: Selectors = ()

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

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        given = [key for key in ("train", "freeze", "lora") if getattr(self, key) is not None]
        if len(given) != 1:
            found = " and ".join(f"'{key}'" for key in given) or "none of them"
            raise ValueError(f"an arm names exactly one of 'train', 'freeze' and 'lora'; found {found}")
        if self.lora is not None and self.changes:
            raise mistake("'changes' does not apply to an arm with 'lora'.", "", "changes")
        return self
