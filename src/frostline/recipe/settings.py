"""What did the user ask for? The recipe as frozen pydantic models: every key, its default and its unit.

Unknown keys are errors. Paths in a recipe are relative to the folder of the recipe file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from frostline.errors import FrostlineError, nearest
from frostline.recipe.base import PlacedSettings, Settings
from frostline.recipe.explain import sentence_of
from frostline.recipe.fields import (
    BEST,
    LARGEST_COUNT,
    Best,
    Count,
    LearningRate,
    NonNegativeNumber,
    PositiveCount,
    PositiveNumber,
    RateGrid,
    Seed,
    Selectors,
    Share,
    SomeSelectors,
    VariedValue,
    WatchedSelectors,
    as_found,
    as_yaml,
    mistake,
)
from frostline.recipe.place import Place
from frostline.recipe.primary import Primary, PrimaryComparison
from frostline.recipe.source import RecipeSource
from frostline.recipe.sources import CorpusSettings, ModelSettings


class WindowSettings(Settings):
    length: Annotated[int, Field(ge=2, le=LARGEST_COUNT)] = 256
    """Tokens of a window, its beginning included; each predicts `length - 1` next tokens."""
    held_out: PositiveCount = 16
    """Windows kept for evaluation, spread over the corpus, never trained on."""
    race: PositiveCount = 16
    """Windows on which learning rates are raced, set apart where one is `best`: neither trained on nor held out."""
    order: Literal["epochs", "random"] = "epochs"
    """`epochs`: each window once an epoch, shuffled; `random`: offsets drawn anew each step (the original study)."""
    beginning: Literal["auto", "none"] = "auto"
    """`auto` begins each window of running text as the model's tokenizer begins a text (`<bos>`); `none` never does."""


class PrefixCacheSettings(Settings):
    """The stored output of the layers below the lowest one that trains."""

    use: Literal["auto", "always", "never"] = "auto"
    """`auto` weighs what storing costs against what recomputing costs; same results either way."""
    memory_mb: Count | None = None
    """Largest size in memory, in MB; a quarter of the free memory unless set."""
    disk_mb: Count | None = None
    """Largest size in the cache folder, in MB, from where later runs start; a tenth of the free disk unless set."""


class TrainingSettings(Settings):
    steps: PositiveCount = 40
    """Optimizer steps of every arm."""
    seconds: PositiveNumber | None = None
    """Instead of `steps`: seconds of step time for every arm; the steps of each follow from timing it once."""
    batch: PositiveCount = 2
    """Windows of one forward pass."""
    accumulation: PositiveCount = 1
    """Forward and backward passes before each optimizer step: a step reads `batch * accumulation` windows."""
    learning_rate: LearningRate = 5e-4
    """Peak learning rate; an arm may set its own. `best` races several for each arm before the run, and takes one."""
    rates: RateGrid | None = None
    """Rates that are raced where one is `best`, ascending; null takes three around what the share that trains asks."""
    warmup: Count = 0
    """Steps in which the learning rate climbs linearly to its peak."""
    decay: Literal["constant", "linear", "cosine"] = "constant"
    """What the learning rate does after the warm-up, ending at zero after the last step."""
    weight_decay: NonNegativeNumber = 0.01
    betas: tuple[Share, Share] = (0.9, 0.999)
    epsilon: PositiveNumber = 1e-8
    gradient_clipping: PositiveNumber | None = 1.0
    """Largest norm of the gradient; null leaves it alone."""
    dropout: Share | None = None
    """Sets every dropout rate of the model, that of whole layers where it drops any; null keeps the model's own."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`bf16` is autocast with fp32 weights; `auto` takes it where the machine computes it natively."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    engine: Literal["fast", "reference"] = "fast"
    """`fast` turns what is frozen into saved time and memory; `reference` is the plain loop it is tested against."""
    prefix_cache: PrefixCacheSettings = PrefixCacheSettings()
    frozen_weights: Literal["exact", "int8"] = "exact"
    """`int8` keeps frozen matrices in a quarter of the memory: inexact, for models that would not fit."""
    checkpointing: bool = False
    """Recompute the activations of the layers that train instead of keeping them: less memory, more time."""
    compile: bool = False
    """Compile the layers that train (a minute of warm-up, then somewhat less time); rounding differs."""
    schedule: Literal["auto", "lock-step", "one-by-one"] = "auto"
    """All arms at once in alternating order, or one after another; `auto` goes by free memory. Same results."""
    untimed_steps: Count = 3
    """First steps marked as warm-up of the machine and left out of the timing."""

    @model_validator(mode="before")
    @classmethod
    def _steps_or_seconds(cls, values: object) -> object:
        if not isinstance(values, Mapping) or values.get("seconds") is None:
            return values
        if values.get("steps") is not None:
            raise mistake(
                "'steps' and 'seconds' both say how long training lasts: name one.",
                "Set training.steps=null to train for a time.",
                "seconds",
            )
        return {key: value for key, value in values.items() if key != "steps"}

    @model_serializer(mode="wrap")
    def _what_was_asked_for(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        written: dict[str, object] = write(self)
        written.pop("seconds" if self.seconds is None else "steps", None)
        return written

    def of_steps(self, steps: int) -> TrainingSettings:
        """The same, for so many steps."""
        return self.model_copy(update={"steps": steps, "seconds": None})


class SamplingSettings(Settings):
    prompts: Count = 10
    """Number of prompts drawn by seed from the held-out windows; 0 samples nothing."""
    prompt_tokens: PositiveCount = 16
    new_tokens: PositiveCount = 100
    temperature: PositiveNumber = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    draws: PositiveCount = 1
    """Texts that each trained model writes to each prompt, every one with dice of its own."""


class MeasureSettings(Settings):
    evaluate_every: Count = 10
    """Steps between evaluations on the held-out windows; 0 evaluates before and after training only."""
    weight_change_every: Count = 1
    """Steps between measurements of the weight change; 0 measures the final drift only."""
    watch: WatchedSelectors = ("attn",)
    """Selectors of the matrices whose change is measured."""
    common_tokens: PositiveCount = 100
    """Size of S, the corpus's most frequent tokens."""
    sampling: SamplingSettings = SamplingSettings()
    judge: ModelSettings | None = None
    """A model, no relative of the one that is trained, that judges generated text by its loss; null leaves that out."""
    memory: bool = True
    """Measure each arm's peak memory alone, in a process of its own."""


class CheckpointSettings(Settings):
    """When the state of training is saved, so that a run that is killed goes on from there."""

    every_seconds: NonNegativeNumber | None = 60
    """Seconds between checkpoints; null saves only when the run is asked to stop."""
    every_steps: PositiveCount | None = None
    """Save at each so many steps instead."""
    keep: PositiveCount = 2
    """Newest checkpoints of each arm that are kept while it trains."""
    largest_share: Annotated[float, Field(gt=0, le=1)] = 0.02
    """Largest share of the time that saving may take: where it would take more, it is done less often."""


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


VARIABLE_KEYS = ("corpus.tokens", "corpus.source", "model.source", "training.learning_rate")
RATE_KEY = "training.learning_rate"
_ARM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}")


class Recipe(Settings):
    """One experiment: one model, one corpus, some arms, some replicates."""

    name: Annotated[str, Field(min_length=1, max_length=80)] = "experiment"
    question: str = ""
    """What the experiment asks, in the reader's words; the report opens with it."""
    model: ModelSettings = ModelSettings()
    corpus: CorpusSettings = CorpusSettings()
    retention: CorpusSettings | Literal["samples", "none"] | None = None
    """What forgetting is measured on: a second, general corpus, or `samples`, what the untouched model itself writes,
    which serve where nothing is named; `none` measures none."""
    windows: WindowSettings = WindowSettings()
    training: TrainingSettings = TrainingSettings()
    arms: dict[str, ArmSettings] = Field(min_length=1)
    """Arms by name. The same arm entered twice under two names gives a difference of exactly 0."""
    baseline: str | None = None
    """The arm that others are compared with; the first one unless named."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    """One replicate each."""
    measures: MeasureSettings = MeasureSettings()
    checkpoints: CheckpointSettings = CheckpointSettings()
    vary: dict[str, tuple[VariedValue, ...]] = Field(default={})
    """Repeat the experiment over the values of one key.

    `corpus.tokens`, `corpus.source`, `model.source` or `training.learning_rate`.
    """
    save: tuple[str, ...] = ()
    """Arms whose trained model (first replicate) is kept in the run folder, to load with `from_pretrained`."""
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
