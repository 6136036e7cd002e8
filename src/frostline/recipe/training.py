"""How is every arm trained and measured? What is the same for all arms, which makes them comparable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from frostline.recipe.base import Settings
from frostline.recipe.fields import (
    LARGEST_COUNT,
    Count,
    Device,
    LearningRate,
    NonNegativeNumber,
    PositiveCount,
    PositiveNumber,
    RateGrid,
    Share,
    WatchedSelectors,
    mistake,
)
from frostline.recipe.grammar import BETAS, not_both
from frostline.recipe.sources import ModelSettings


class WindowSettings(Settings):
    """How the text is cut, and what of it is kept from training."""

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
    fill: Literal["auto", "always", "never"] = "auto"
    """Make all of it before training, layer by layer, so that each layer is read once; `auto` does so for a model that
    does not fit into memory. Same results either way."""
    memory_mb: Count | None = None
    """Largest size in memory, in MB; a quarter of the free memory unless set."""
    disk_mb: Count | None = None
    """Largest size in the cache folder, in MB, from where later runs start; a tenth of the free disk unless set, or
    half of it where `fill` makes it before training."""

    @model_validator(mode="after")
    def _filled_to_be_used(self) -> PrefixCacheSettings:
        if self.fill == "always" and self.use == "never":
            raise mistake(
                "'fill: always' makes what 'use: never' does not read.", "Set use=auto, or fill=auto.", "fill"
            )
        return self


class TrainingSettings(Settings):
    """How every arm is trained."""

    model_config = ConfigDict(json_schema_extra=not_both("steps", "seconds"))

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
    """Weight decay of AdamW, of every weight that trains, norms and biases among them."""
    betas: Annotated[tuple[Share, Share], WithJsonSchema(BETAS)] = (0.9, 0.999)
    """AdamW's two rates of forgetting, for the mean of the gradient and of its square."""
    epsilon: PositiveNumber = 1e-8
    """What AdamW adds to the denominator of a step."""
    gradient_clipping: PositiveNumber | None = 1.0
    """Largest norm of the gradient; null leaves it alone."""
    dropout: Share | None = None
    """Sets every dropout rate of the model, that of whole layers where it drops any; null keeps the model's own."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`bf16` is autocast with fp32 weights; `auto` takes it where the machine computes it natively."""
    device: Device = "auto"
    """Where arms are trained; `auto` takes a GPU where there is one, `cuda:1` the second of several. Same results on
    any GPU of one kind."""
    engine: Literal["fast", "reference"] = "fast"
    """`fast` turns what is frozen into saved time and memory; `reference` is the plain loop it is tested against."""
    prefix_cache: PrefixCacheSettings = PrefixCacheSettings()
    """The stored output of the layers below the lowest one that trains."""
    frozen_weights: Literal["exact", "int8", "nf4"] = "exact"
    """`int8`, `nf4`: frozen matrices in a quarter, or a seventh, of the memory; inexact, for what would not fit."""
    optimizer: Literal["adamw", "adamw-8bit"] = "adamw"
    """`adamw-8bit`: its two moments in a quarter of the memory; inexact, for what would not fit."""
    checkpointing: bool = False
    """Recompute the activations of the layers that train instead of keeping them: less memory, more time."""
    compile: bool = False
    """Compile the layers that train (a minute of warm-up, then somewhat less time); rounding differs."""
    sharding: Literal["auto", "none", "full"] = "auto"
    """With several devices: each holds its rows of the layers that train (`full`), or all of them (`none`); `auto`
    shards where an arm fits on no single one. The number of devices decides the last bits of an arm that is sharded.
    """
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

    @model_validator(mode="after")
    def _sharded_as_it_is(self) -> TrainingSettings:
        if self.sharding == "full" and self.compile:
            raise mistake(
                "'sharding: full' and 'compile: true' do not go together.",
                "Set training.compile=false.",
                "sharding",
            )
        return self

    @model_serializer(mode="wrap")
    def _what_was_asked_for(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        written: dict[str, object] = write(self)
        written.pop("seconds" if self.seconds is None else "steps", None)
        return written

    @property
    def inexact(self) -> tuple[str, ...]:
        """What of it is inexact, in phrases; it is the same for all arms."""
        phrases = []
        if self.frozen_weights != "exact" and self.engine == "fast":
            phrases.append(f"frozen matrices in {self.frozen_weights}")
        if self.optimizer == "adamw-8bit":
            phrases.append("AdamW with its moments in 8 bits")
        return tuple(phrases)

    def of_steps(self, steps: int) -> TrainingSettings:
        """The same, for so many steps."""
        return self.model_copy(update={"steps": steps, "seconds": None})


class SamplingSettings(Settings):
    """The texts that each trained model writes."""

    prompts: Count = 10
    """Number of prompts drawn by seed from the held-out windows; 0 samples nothing."""
    prompt_tokens: PositiveCount = 16
    """Tokens of text in a prompt; of a conversation the last before an answer: a question may have more."""
    new_tokens: PositiveCount = 100
    """Tokens that are written after it."""
    temperature: PositiveNumber = 1.0
    """Temperature of sampling; 1 draws as the model says."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the probability, the likeliest tokens first, that tokens are drawn from."""
    draws: PositiveCount = 1
    """Texts that each trained model writes to each prompt, every one with dice of its own."""


class MeasureSettings(Settings):
    """What is recorded, and how often."""

    evaluate_every: Count = 10
    """Steps between evaluations on the held-out windows; 0 evaluates before and after training only."""
    weight_change_every: Count = 1
    """Steps between measurements of the weight change; 0 measures the final drift only."""
    watch: WatchedSelectors = ("attn",)
    """Selectors of the matrices whose change is measured."""
    common_tokens: PositiveCount = 100
    """Size of S, the corpus's most frequent tokens."""
    sampling: SamplingSettings = SamplingSettings()
    """The texts that each trained model writes."""
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


class ResourceSettings(Settings):
    """What each unit of the experiment, or trial of an advice, takes of a cluster where it runs on one (`--on ray`)."""

    cpus: PositiveCount | None = None
    """Cores, and with them threads, of a unit; as many as this machine computes with unless set."""
    gpus: NonNegativeNumber | None = None
    """GPUs of a unit; one where `training.device` allows it and the cluster has any, unless set."""
    memory_gb: Annotated[float, Field(gt=0, le=LARGEST_COUNT, allow_inf_nan=False)] | None = None
    """Memory of a unit in GB, which a node must have free before the unit starts there; unless set, what it is counted
    to take, or none beside a GPU."""
    arms: PositiveCount | None = None
    """Largest number of arms of a unit beside the baseline; all arms of a replicate are one unit unless set."""

    @model_validator(mode="after")
    def _several_gpus_are_whole(self) -> ResourceSettings:
        if self.gpus is not None and self.gpus > 1 and self.gpus % 1:
            raise mistake("a unit has a part of one GPU, or whole ones.", "Such as 0.5, 1 or 2.", "gpus")
        return self
