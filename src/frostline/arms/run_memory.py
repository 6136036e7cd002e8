"""How much memory will the process of a run take? Its untouched model, its arms, and all that is done beside the steps.

`memory` has what one arm takes alone. A run holds more: the base beside its arms, the watched weights of the step
before, stored rows of prefixes, and in turns what a step, an evaluation, a sampled text and a checkpoint need.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from frostline.arms.memory import (
    BF16_BYTES,
    cast_bytes,
    held_bytes,
    mapped_weight_bytes,
    step_bytes,
)
from frostline.arms.memory_facts import MemoryFacts, vocabulary_of
from frostline.arms.trained import FP32_BYTES, checkpoint_bytes, trained_values, watched_bytes
from frostline.engine import SHARD_BYTES, moments_bytes, trained_parameters
from frostline.loading import in_place_bytes
from frostline.measures import CHUNK_VALUES, MOST_TOKENS, prompts_at_once
from frostline.plans import ResolvedPlan, decoder_stack
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


def run_bytes(facts: MemoryFacts, saved: Mapping[str, int], rows: int) -> RunBytes:
    """The parts of a run's memory; `saved` is what a forward pass keeps for its backward pass, by arm.

    `rows`: bytes of stored rows that will lie in memory.
    """
    arms = facts.arms.values()
    own = [_standing(facts, resolved) for resolved in arms]
    measures = facts.recipe.measures
    watched = [watched_bytes(resolved, measures.watch) if measures.weight_change_every else 0 for resolved in arms]
    together = sum if facts.schedule == "lock-step" else max
    models = [facts.model] if facts.judge is None else [facts.model, facts.judge]
    on_cpu = facts.device.type == "cpu"
    mapped = sum(mapped_bytes(model.parameters()) for model in models) if on_cpu else 0
    return RunBytes(
        base=sum(map(in_place_bytes, models)) - mapped,
        mapped=mapped,
        mapped_in_steps=max(mapped_weight_bytes(facts, resolved) for resolved in arms) if facts.fills_rows else mapped,
        mapped_in_evaluation=_mapped_above_rows(facts) if facts.fills_rows and on_cpu else mapped,
        arms=together(own) + _converted(facts),
        watch=together(watched),
        rows=rows,
        step=max(step_bytes(facts, resolved, saved[name]) for name, resolved in facts.arms.items()),
        evaluation=evaluation_bytes(facts),
        text=text_bytes(facts),
        checkpoint=max(_saving(facts, resolved) for resolved in arms),
    )


def least_bytes(facts: MemoryFacts, resolved: ResolvedPlan, saved: int) -> int:
    """What a run of this arm alone holds at the least beside the base, where freed memory goes back at once.

    Raises `PlanError` for a selector of what is watched that matches nothing.
    """
    return _at_its_fullest(facts, resolved, saved, holes=False)


def alone_bytes(facts: MemoryFacts, resolved: ResolvedPlan, saved: int) -> int:
    """What a run of this arm alone is forecast to hold at its fullest beside libraries and pages of the model's file.

    A device holds the untouched model, too. Raises as `least_bytes`.
    """
    base = 0 if facts.device.type == "cpu" else in_place_bytes(facts.model)
    return base + held_bytes(facts, resolved) + _at_its_fullest(facts, resolved, saved, holes=True)


def _at_its_fullest(facts: MemoryFacts, resolved: ResolvedPlan, saved: int, *, holes: bool) -> int:
    measures = facts.recipe.measures
    watched = watched_bytes(resolved, measures.watch) if measures.weight_change_every else 0
    turns = (
        step_bytes(facts, resolved, saved, holes=holes),
        evaluation_bytes(facts),
        text_bytes(facts),
        _saving(facts, resolved),
    )
    return _standing(facts, resolved) + watched + max(turns)


def _mapped_above_rows(facts: MemoryFacts) -> int:
    """Pages of the untouched model that an evaluation uses which begins from the lowest rows."""
    lowest = min(resolved.prefix_layers for resolved in facts.arms.values())
    _, stack = decoder_stack(facts.model)
    below = {id(own) for layer in stack[:lowest] for own in layer.parameters()}
    return mapped_bytes(own for own in facts.model.parameters() if id(own) not in below)


def evaluation_bytes(facts: MemoryFacts) -> int:
    """What a forward pass over the windows of an evaluation holds, without gradients."""
    length = facts.recipe.windows.length
    tokens = min(max(length, MOST_TOKENS // length * length), length * facts.held_out_windows)
    config = facts.model.config.get_text_config()
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    layer: int = FP32_BYTES * tokens * (HIDDEN_COPIES * config.hidden_size + INNER_COPIES * inner)
    logits = FP32_BYTES * min(CHUNK_VALUES, tokens * vocabulary_of(facts.model))
    return layer + LOGIT_COPIES * logits + cast_bytes(facts)


def text_bytes(facts: MemoryFacts) -> int:
    """Keys and values of the prompts that go on at once, and the noise of one token of each."""
    sampling = facts.recipe.measures.sampling
    if not sampling.prompts:
        return 0
    config = facts.model.config.get_text_config()
    heads = config.num_attention_heads
    width = (getattr(config, "head_dim", None) or config.hidden_size // heads) * (
        getattr(config, "num_key_value_heads", None) or heads
    )
    prompts = min(sampling.prompts, prompts_at_once(sampling.prompt_tokens, sampling.new_tokens))
    tokens = prompts * (sampling.prompt_tokens + sampling.new_tokens)
    value_bytes = BF16_BYTES if facts.precision == "bf16" else FP32_BYTES
    cache: int = GROWING_CACHE * 2 * config.num_hidden_layers * width * tokens * value_bytes
    noise = 4 * 8 * prompts * vocabulary_of(facts.model)
    return cache + noise + cast_bytes(facts)


def _standing(facts: MemoryFacts, resolved: ResolvedPlan) -> int:
    """What an arm holds between two steps beside the base: its own weights, and moments."""
    if facts.recipe.training.engine == "fast":
        ever = frozenset().union(*(phase.trained for phase in resolved.phases))
        own = FP32_BYTES * sum(portion.values for portion in resolved.portions if portion.name in ever)
    else:
        own = FP32_BYTES * resolved.map.values
    adapters = FP32_BYTES * resolved.trained_values if resolved.lora is not None else 0
    return own + adapters + moments_bytes(facts.recipe.training, trained_values(resolved))


def _converted(facts: MemoryFacts) -> int:
    """Frozen matrices that are held once more, in the precision of their use, by all arms together."""
    return max((held_bytes(facts, resolved) for resolved in facts.arms.values()), default=0)


def _saving(facts: MemoryFacts, resolved: ResolvedPlan) -> int:
    trained = trained_parameters(resolved)
    written = [portion.values for portion in resolved.portions if portion.parameter in trained]
    largest = FP32_BYTES * max(written, default=0)
    return SAVED_COPIES * min(checkpoint_bytes(facts.recipe.training, resolved), SHARD_BYTES + largest)
