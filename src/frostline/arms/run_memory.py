"""How much memory will the process of a run take? Its untouched model, its arms, and all that is done beside the steps.

`memory` has what one arm takes alone. A run holds more: the base beside its arms, the watched weights of the step
before, stored rows of prefixes, and in turns what a step, an evaluation, a sampled text and a checkpoint need.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from frostline.arms.disk import checkpoint_bytes
from frostline.arms.memory import (
    BF16_BYTES,
    cast_bytes,
    held_bytes,
    mapped_weight_bytes,
    step_bytes,
    vocabulary_of,
)
from frostline.arms.prepared import PlannedArm, Prepared
from frostline.arms.trained import FP32_BYTES, trained_values, watched_bytes
from frostline.engine import SHARD_BYTES, moments_bytes, trained_parameters
from frostline.loading import in_place_bytes
from frostline.measures import CHUNK_VALUES, MOST_TOKENS, prompts_at_once
from frostline.plans import decoder_stack
from frostline.storage import mapped_bytes

LOGIT_COPIES = 3
"""Logits of a chunk, in fp32, and their softmax."""
HIDDEN_COPIES, INNER_COPIES = 6, 3
"""Tensors of a layer's width, and of its MLP's, that a forward pass without gradients holds at its fullest."""
GROWING_CACHE = 2
"""Memory of keys and values in multiples of them: each token moves them into a longer tensor."""
SAVED_COPIES = 2
"""What a file of a checkpoint is while it is written, in multiples of its tensors."""


@dataclass(frozen=True)
class RunBytes:
    """Bytes of one variant's process at its fullest, besides libraries and tokenizer."""

    base: int
    """What the untouched model and its judge hold beside pages of their files."""
    mapped: int
    """Pages of these files, once all of them were used: the system may take them back."""
    mapped_in_steps: int
    """Those of them that a step uses."""
    mapped_in_evaluation: int
    """Those that an evaluation uses: of the untouched model, too, what is not stood in for by stored rows."""
    arms: int
    """Own weights, converted frozen ones and moments of all arms that train at once."""
    watch: int
    """Watched weights as they were before the step."""
    rows: int
    """Stored rows of prefixes in memory."""
    step: int
    """What the largest step holds, gradients included."""
    evaluation: int
    text: int
    """Sampling, and the keys and values that it keeps."""
    checkpoint: int

    @property
    def total(self) -> int:
        """All that stands, and the largest of what comes in turns."""
        turns = max(
            max(self.step, self.checkpoint) + self.mapped_in_steps,
            self.evaluation + self.mapped_in_evaluation,
            self.text + self.mapped if self.text else 0,
        )
        return self.base + self.arms + self.watch + self.rows + turns

    @property
    def resident(self) -> int:
        """The same without pages of files."""
        turns = max(self.step, self.evaluation, self.text, self.checkpoint)
        return self.base + self.arms + self.watch + self.rows + turns


def run_bytes(prepared: Prepared, saved: Mapping[str, int], rows: int) -> RunBytes:
    """The parts of a run's memory; `saved` is what a forward pass keeps for its backward pass, by arm.

    `rows`: bytes of stored rows that will lie in memory.
    """
    arms = prepared.arms.values()
    own = [_standing(prepared, arm) for arm in arms]
    measures = prepared.recipe.measures
    watched = [watched_bytes(arm.resolved, measures.watch) if measures.weight_change_every else 0 for arm in arms]
    together = sum if prepared.schedule == "lock-step" else max
    models = [prepared.model] if prepared.judge is None else [prepared.model, prepared.judge.model]
    on_cpu = prepared.device.type == "cpu"
    mapped = sum(mapped_bytes(model.parameters()) for model in models) if on_cpu else 0
    return RunBytes(
        base=sum(map(in_place_bytes, models)) - mapped,
        mapped=mapped,
        mapped_in_steps=max(mapped_weight_bytes(prepared, arm.resolved) for arm in arms)
        if prepared.fills_rows
        else mapped,
        mapped_in_evaluation=_mapped_above_rows(prepared) if prepared.fills_rows and on_cpu else mapped,
        arms=together(own) + _converted(prepared),
        watch=together(watched),
        rows=rows,
        step=max(step_bytes(prepared, arm.resolved, saved[arm.name]) for arm in arms),
        evaluation=evaluation_bytes(prepared),
        text=text_bytes(prepared),
        checkpoint=max(_saving(prepared, arm) for arm in arms),
    )


def _mapped_above_rows(prepared: Prepared) -> int:
    """Pages of the untouched model that an evaluation uses which begins from the lowest rows."""
    lowest = min(arm.resolved.prefix_layers for arm in prepared.arms.values())
    _, stack = decoder_stack(prepared.model)
    below = {id(own) for layer in stack[:lowest] for own in layer.parameters()}
    return mapped_bytes(own for own in prepared.model.parameters() if id(own) not in below)


def evaluation_bytes(prepared: Prepared) -> int:
    """What a forward pass over the windows of an evaluation holds, without gradients."""
    length = prepared.recipe.windows.length
    tokens = min(max(length, MOST_TOKENS // length * length), length * prepared.corpus.held_out_windows)
    config = prepared.model.config.get_text_config()
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    layer: int = FP32_BYTES * tokens * (HIDDEN_COPIES * config.hidden_size + INNER_COPIES * inner)
    logits = FP32_BYTES * min(CHUNK_VALUES, tokens * vocabulary_of(prepared))
    return layer + LOGIT_COPIES * logits + cast_bytes(prepared)


def text_bytes(prepared: Prepared) -> int:
    """Keys and values of the prompts that go on at once, and the noise of one token of each."""
    sampling = prepared.recipe.measures.sampling
    if not sampling.prompts:
        return 0
    config = prepared.model.config.get_text_config()
    heads = config.num_attention_heads
    width = (getattr(config, "head_dim", None) or config.hidden_size // heads) * (
        getattr(config, "num_key_value_heads", None) or heads
    )
    prompts = min(sampling.prompts, prompts_at_once(sampling.prompt_tokens, sampling.new_tokens))
    tokens = prompts * (sampling.prompt_tokens + sampling.new_tokens)
    value_bytes = BF16_BYTES if prepared.precision == "bf16" else FP32_BYTES
    cache: int = GROWING_CACHE * 2 * config.num_hidden_layers * width * tokens * value_bytes
    noise = 4 * 8 * prompts * vocabulary_of(prepared)
    return cache + noise + cast_bytes(prepared)


def _standing(prepared: Prepared, arm: PlannedArm) -> int:
    """What an arm holds between two steps beside the base: its own weights, and moments."""
    resolved = arm.resolved
    if prepared.recipe.training.engine == "fast":
        ever = frozenset().union(*(phase.trained for phase in resolved.phases))
        own = FP32_BYTES * sum(portion.values for portion in resolved.portions if portion.name in ever)
    else:
        own = FP32_BYTES * resolved.map.values
    adapters = FP32_BYTES * resolved.trained_values if resolved.lora is not None else 0
    return own + adapters + moments_bytes(prepared.recipe.training, trained_values(resolved))


def _converted(prepared: Prepared) -> int:
    """Frozen matrices that are held once more, in the precision of their use, by all arms together."""
    return max((held_bytes(prepared, arm.resolved) for arm in prepared.arms.values()), default=0)


def _saving(prepared: Prepared, arm: PlannedArm) -> int:
    trained = trained_parameters(arm.resolved)
    written = [portion.values for portion in arm.resolved.portions if portion.parameter in trained]
    largest = FP32_BYTES * max(written, default=0)
    return SAVED_COPIES * min(checkpoint_bytes(prepared.recipe.training, arm.resolved), SHARD_BYTES + largest)
