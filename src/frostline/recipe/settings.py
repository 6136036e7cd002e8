"""What did the user ask for? The recipe: one experiment, its sections, and what must hold between them.

Unknown keys are errors. Paths in a recipe are relative to the folder of the recipe file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Literal, Self, get_args

from pydantic import (
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from frostline.errors import FrostlineError, nearest
from frostline.recipe.arms import ArmSettings
from frostline.recipe.base import PlacedSettings, Settings
from frostline.recipe.explain import sentence_of
from frostline.recipe.fields import (
    BEST,
    Best,
    PositiveNumber,
    Seed,
    VariedValue,
    as_found,
    as_yaml,
    mistake,
)
from frostline.recipe.grammar import ARM_NAME, varied_keys
from frostline.recipe.place import Place
from frostline.recipe.primary import Primary, PrimaryComparison
from frostline.recipe.source import RecipeSource
from frostline.recipe.sources import CorpusSettings, ModelSettings
from frostline.recipe.training import (
    CheckpointSettings,
    MeasureSettings,
    ResourceSettings,
    TrainingSettings,
    WindowSettings,
)

VARIABLE_KEYS = ("corpus.tokens", "corpus.source", "model.source", "training.learning_rate")
RATE_KEY = "training.learning_rate"
_ARM_NAME = re.compile(ARM_NAME)
Saved = Literal["model", "all"]
"""What is kept of an arm: the model of its first replicate, or the trained tensors of all of them."""


class Recipe(Settings):
    """One experiment: one model, one corpus, some arms, some replicates."""

    name: Annotated[str, Field(min_length=1, max_length=80)] = "experiment"
    """Name of the experiment; its run folder is `runs/NAME` unless another one is asked for."""
    question: str = ""
    """What the experiment asks, in the reader's words; the report opens with it."""
    model: ModelSettings = ModelSettings()
    """Which model is trained."""
    corpus: CorpusSettings = CorpusSettings()
    """Which text is read, and how."""
    retention: CorpusSettings | Literal["samples", "none"] | None = None
    """What forgetting is measured on: a second, general corpus, or `samples`, what the untouched model itself writes,
    which serve where nothing is named; `none` measures none."""
    windows: WindowSettings = WindowSettings()
    """How the text is cut, and what of it is kept from training."""
    training: TrainingSettings = TrainingSettings()
    """How every arm is trained."""
    arms: dict[str, ArmSettings] = Field(
        min_length=1, json_schema_extra={"propertyNames": {"pattern": f"^{ARM_NAME}$"}}
    )
    """Arms by name. The same arm entered twice under two names gives a difference of exactly 0."""
    baseline: str | None = None
    """The arm that others are compared with; the first one unless named."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, json_schema_extra={"uniqueItems": True})] = (0,)
    """One replicate each."""
    measures: MeasureSettings = MeasureSettings()
    """What is recorded, and how often."""
    checkpoints: CheckpointSettings = CheckpointSettings()
    """When the state of training is saved, so that a run that is killed goes on from there."""
    resources: ResourceSettings = ResourceSettings()
    """What each unit of the experiment takes of a cluster, where it runs on one."""
    vary: dict[str, tuple[VariedValue, ...]] = Field(default={}, json_schema_extra=varied_keys(VARIABLE_KEYS))
    """Repeat the experiment over the values of one key.

    `corpus.tokens`, `corpus.source`, `model.source` or `training.learning_rate`.
    """
    save: tuple[str, ...] | dict[str, Saved] = ()
    """Arms whose training is kept in the run folder: a list of them, or a mapping such as `{freeze: all}`.

    A list keeps the trained model of the first replicate, to load with `from_pretrained`, and so does `model` in a
    mapping; `all` keeps the trained tensors of every replicate, of which `frostline export` makes a model.
    """
    margin_nats: PositiveNumber | None = None
    """Margin of equivalence between losses, nats a token (claim C8); 5 % of what full training gains unless set."""
    primary: Primary | None = None
    """What the experiment is to decide: a claim (`C8`), or an arm in a measure. All else is shown as exploratory."""
    _source: RecipeSource = PrivateAttr(default=RecipeSource())

    @field_validator("retention", mode="before")
    @classmethod
    def _retention_is_a_corpus_or_a_word(cls, retention: object) -> object:
        if isinstance(retention, Mapping | CorpusSettings) or retention in (None, "samples", "none"):
            return retention
        raise mistake(
            f"a corpus, 'samples' or 'none' belongs here{as_found(retention)}.",
            nearest(str(retention), ("samples", "none")) or "A corpus is named as {source: PATH}.",
        )

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        repeated = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if repeated:
            raise ValueError(f"seed {repeated[0]} is repeated: replicates need seeds of their own")
        return seeds

    @field_validator("save", mode="before")
    @classmethod
    def _save_is_a_list_or_says_what(cls, save: object) -> object:
        if isinstance(save, Mapping):
            for arm, what in save.items():
                if what not in get_args(Saved):
                    raise mistake(
                        f"'model' or 'all' belongs here{as_found(what)}.",
                        nearest(str(what), get_args(Saved)) or "'all' keeps the trained tensors of every seed.",
                        str(arm),
                    )
        elif not isinstance(save, list | tuple):
            hint = f"Write [{save}]." if isinstance(save, str) else "Such as [freeze], or {freeze: all}."
            raise mistake(f"a list belongs here{as_found(save)}.", hint)
        elif wrong := [index for index, arm in enumerate(save) if not isinstance(arm, str)]:
            raise mistake(f"an arm's name is a text{as_found(save[wrong[0]])}.", "Write it in quotes.", wrong[0])
        return save

    @field_validator("arms")
    @classmethod
    def _arm_names_are_safe(cls, arms: dict[str, ArmSettings]) -> dict[str, ArmSettings]:
        for name in arms:
            if not _ARM_NAME.fullmatch(name):
                raise ValueError(
                    f"arm name {name[:60]!r} does not work: up to 40 letters, digits, '.', '_', '+' and '-', "
                    "beginning with a letter or digit"
                )
        return arms

    @field_validator("vary")
    @classmethod
    def _vary_one_known_key(cls, vary: dict[str, tuple[VariedValue, ...]]) -> dict[str, tuple[VariedValue, ...]]:
        if len(vary) > 1:
            raise ValueError("only one key can be varied in one experiment")
        for key, values in vary.items():
            if key not in VARIABLE_KEYS:
                raise ValueError(
                    f"{key!r} cannot be varied: use {', '.join(VARIABLE_KEYS[:-1])} or {VARIABLE_KEYS[-1]}"
                )
            if len(set(values)) < len(values) or len(values) < 2:
                raise ValueError(f"'vary: {key}' needs two or more values, all different")
        return vary

    @model_validator(mode="after")
    def _names_refer_to_arms(self) -> Self:
        named = [("baseline", self.baseline)] if self.baseline is not None else []
        named += [("save", arm) for arm in self.save]
        if isinstance(self.primary, PrimaryComparison):
            named.append(("primary", self.primary.arm))
        for key, arm in named:
            if arm not in self.arms:
                raise mistake(
                    f"there is no arm '{arm}': the arms are {', '.join(self.arms)}.", nearest(arm, self.arms), key
                )
        return self

    @model_validator(mode="after")
    def _varied_values_fit(self) -> Self:
        for key, values in self.vary.items():
            for index, value in enumerate(values):
                try:
                    self.varied(key, value)
                except ValidationError as error:
                    first = error.errors(include_url=False)[0]
                    section, _ = key.split(".")
                    problem, _ = sentence_of(first, (section, *first["loc"]), Recipe)
                    found = f"{as_yaml(value)} does not work as {key}: {problem}"
                    raise mistake(found, "", "vary", key, index) from error
        return self

    @model_validator(mode="after")
    def _varied_rates_are_used(self) -> Self:
        rates = self.vary.get(RATE_KEY, ())
        if BEST in rates:
            raise mistake(
                "a rate that is varied is a number: best is a race of its own.",
                "Set training.learning_rate to best instead, without vary.",
                *("vary", RATE_KEY, rates.index(BEST)),
            )
        if rates and all(arm.learning_rate is not None for arm in self.arms.values()):
            raise mistake(
                "every arm has a learning rate of its own, so that varying that of training changes nothing.",
                "Leave learning_rate out of an arm.",
                *("vary", RATE_KEY),
            )
        return self

    @model_validator(mode="after")
    def _changes_come_in_time(self) -> Self:
        steps = self.training.steps
        if self.training.seconds is not None:
            return self  # the steps are not known yet: `arms.budget` looks when they are
        for name, arm in self.arms.items():
            for index, change in enumerate(arm.changes):
                if change.at >= steps:
                    raise mistake(
                        f"a change at step {change.at} never happens in {steps} steps.",
                        f"Steps are counted from 0: the last one is {steps - 1}.",
                        *("arms", name, "changes", index, "at"),
                    )
        return self

    @property
    def source(self) -> RecipeSource:
        """Where it was written: part of no hash, no dump and no comparison."""
        return self._source

    def written_in(self, source: RecipeSource) -> Recipe:
        """The same, as read from `source`."""
        written = self.model_copy()
        written._source = source
        return written

    @property
    def place(self) -> Place:
        """What its paths are relative to."""
        return self.model.place

    def placed(self, place: Place) -> Recipe:
        """The same, with paths relative to `place`."""
        corpus = self.retention_corpus
        retention = self.retention if corpus is None else corpus.placed(place)
        judge = None if self.measures.judge is None else self.measures.judge.placed(place)
        return self.model_copy(
            update={
                "model": self.model.placed(place),
                "corpus": self.corpus.placed(place),
                "retention": retention,
                "measures": self.measures.model_copy(update={"judge": judge}),
            }
        )

    @contextmanager
    def locating_errors(self) -> Iterator[None]:
        """Errors raised in the block, and said to be at a key of the recipe, are told its file and line."""
        try:
            yield
        except FrostlineError as error:
            self._source.locate(error)
            raise

    def varied(self, key: str, value: str | float) -> Recipe:
        """The recipe with one value of the key that it varies."""
        section, field = key.split(".")
        settings: Settings = getattr(self, section)
        changed = type(settings).model_validate({**settings.model_dump(), field: value})
        if isinstance(settings, ModelSettings) and isinstance(changed, ModelSettings):
            changed = changed.trusting(settings.trusted_code, one_of_several=True)
        elif isinstance(settings, CorpusSettings) and isinstance(changed, CorpusSettings):
            changed = changed.dated(settings.template_date)
        if isinstance(settings, PlacedSettings) and isinstance(changed, PlacedSettings):
            changed = changed.placed(settings.place)
        return self.model_copy(update={section: changed, "vary": {}})

    @property
    def retention_corpus(self) -> CorpusSettings | None:
        """The corpus on which forgetting is measured; None where it is the model's own text, or nothing."""
        return self.retention if isinstance(self.retention, CorpusSettings) else None

    @property
    def samples_retention(self) -> bool:
        """Whether forgetting is measured on what the untouched model itself writes."""
        return self.retention is None or self.retention == "samples"

    @property
    def baseline_arm(self) -> str:
        """Name of the arm that the others are compared with."""
        return self.baseline if self.baseline is not None else next(iter(self.arms))

    @property
    def saved_models(self) -> tuple[str, ...]:
        """Arms whose trained model, of the first replicate, is kept."""
        return tuple(arm for arm in self.save if not isinstance(self.save, dict) or self.save[arm] == "model")

    @property
    def kept_weights(self) -> tuple[str, ...]:
        """Arms of which every replicate's trained tensors are kept."""
        return tuple(arm for arm in self.save if isinstance(self.save, dict) and self.save[arm] == "all")

    def learning_rate_of(self, arm: str) -> float | Best:
        """Peak learning rate of `arm`; `best` where a race is to find it."""
        own = self.arms[arm].learning_rate
        return self.training.learning_rate if own is None else own

    @property
    def race_windows(self) -> int:
        """How many windows are set apart for races of learning rates: none where no rate is `best`."""
        return self.windows.race if any(self.learning_rate_of(arm) == BEST for arm in self.arms) else 0

    def weight_decay_of(self, arm: str) -> float:
        """Weight decay of `arm`."""
        own = self.arms[arm].weight_decay
        return self.training.weight_decay if own is None else own
