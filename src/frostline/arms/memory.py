"""How much memory will an arm take, alone in a process? Sizes of what a step holds at its fullest, added up."""

from __future__ import annotations

from frostline.arms.memory_facts import MemoryFacts, vocabulary_of
from frostline.arms.trained import FP32_BYTES, trained_values
from frostline.engine import CHUNK_BYTES, NF4_BYTES, moments_bytes, trained_parameters
from frostline.plans import Portion, ResolvedPlan
from frostline.storage import mapped_bytes

BF16_BYTES = 2
PACKED_BYTES = {"int8": 1.0, "nf4": NF4_BYTES}
LOSS_BUFFERS = 8
"""Memory of the loss over a chunk in multiples of its logits: in fp32 and bf16, their softmax, their gradients."""
PLAIN_LOSS_BUFFERS = 3
"""Memory of the plain loss in multiples of a batch's logits, beside those that it keeps."""
HOLES_FOR_SAVED, HOLES_FOR_GRADIENTS = 0.3, 0.6
"""Share by which the heap on CPU outgrows what a forward pass keeps, and the gradients that come into its place: they
do not fit into the holes that are left. Fitted to peaks of the embedded model; `bench/estimate.py` checks it."""


def tensor_bytes(facts: MemoryFacts, resolved: ResolvedPlan, saved_bytes: int) -> int:
    """Peak of all tensors of an arm alone: at the end of the forward pass, or once all gradients are there."""
    moments = moments_bytes(facts.recipe.training, trained_values(resolved))
    return _weight_bytes(facts, resolved) + moments + step_bytes(facts, resolved, saved_bytes)


def step_bytes(facts: MemoryFacts, resolved: ResolvedPlan, saved_bytes: int, *, holes: bool = True) -> int:
    """What a step holds at its fullest beside weights and moments; with `holes` what the heap outgrows it by, too."""
    gradients = FP32_BYTES * trained_values(resolved)
    cast = cast_bytes(facts, trained_parameters(resolved))
    training = facts.recipe.training
    logits = FP32_BYTES * training.batch * facts.recipe.windows.length * vocabulary_of(facts.model)
    on_cpu = facts.device.type == "cpu"
    if training.engine == "fast":
        loss = LOSS_BUFFERS * min(logits, CHUNK_BYTES["cpu" if on_cpu else "cuda"])
    else:
        loss = PLAIN_LOSS_BUFFERS * logits
    outgrown = HOLES_FOR_SAVED * saved_bytes + HOLES_FOR_GRADIENTS * gradients if on_cpu and holes else 0
    return round(max(saved_bytes + loss + cast, gradients) + outgrown)


def cast_bytes(facts: MemoryFacts, trained: frozenset[str] = frozenset()) -> int:
    """The largest fp32 copy of a frozen 16-bit matrix, which lasts while it is used; 0 where bf16 is used as it is."""
    if facts.precision != "fp32":
        return 0
    filed = [
        own.numel() for name, own in facts.model.named_parameters() if name not in trained and own.element_size() == 2
    ]
    return FP32_BYTES * max(filed, default=0)


def mapped_weight_bytes(facts: MemoryFacts, resolved: ResolvedPlan) -> int:
    """Pages of the model's file among the weights of an arm alone."""
    if facts.device.type != "cpu":
        return 0
    return mapped_bytes(facts.model.get_parameter(name) for name in pages_of_steps(facts, resolved))


def pages_of_steps(facts: MemoryFacts, resolved: ResolvedPlan) -> set[str]:
    """Names of the parameters that a step uses as the file has them: frozen, not copied, there after a fill too."""
    copied = trained_parameters(resolved)
    frozen = [own for own in resolved.portions if own.parameter not in copied]
    frozen = [own for own in frozen if not _has_left(facts, resolved, own)]
    if _converts(facts):
        frozen = [own for own in frozen if not (_is_matrix(own) and _copy_bytes(facts, resolved, own))]
    return {own.parameter for own in frozen}


def _has_left(facts: MemoryFacts, resolved: ResolvedPlan, portion: Portion) -> bool:
    """Whether a weight is in memory only while rows are filled."""
    return facts.fills_rows and portion.layer is not None and portion.layer < resolved.prefix_layers


def held_bytes(facts: MemoryFacts, resolved: ResolvedPlan) -> int:
    """Bytes of frozen matrices that an arm holds once more beside the base, in the precision of their use."""
    if not _converts(facts):
        return 0
    return sum(_copy_bytes(facts, resolved, portion) for portion in resolved.portions)


def _converts(facts: MemoryFacts) -> bool:
    """Whether arms hold frozen matrices in another precision than fp32."""
    training = facts.recipe.training
    return training.engine == "fast" and (facts.precision == "bf16" or training.frozen_weights != "exact")


def _copy_bytes(facts: MemoryFacts, resolved: ResolvedPlan, portion: Portion) -> int:
    """Bytes of the copy of a frozen matrix in the precision of its use; 0 where it has none."""
    if portion.parameter in trained_parameters(resolved):
        return 0
    held = PACKED_BYTES.get(facts.recipe.training.frozen_weights, float(BF16_BYTES))
    is_head = resolved.map.head_name in portion.aliases
    if not _is_matrix(portion) and not (is_head and facts.precision == "bf16"):
        return 0
    if facts.model.get_parameter(portion.parameter).element_size() <= held:
        return 0  # the file has it so
    return round(portion.values * (BF16_BYTES if is_head else held))


def _is_matrix(portion: Portion) -> bool:
    return portion.role not in ("embed", "norm", "bias") and len(portion.shape) == 2


def _weight_bytes(facts: MemoryFacts, resolved: ResolvedPlan) -> int:
    """Weights of an arm alone: those that train in fp32, frozen matrices as they are used, the rest as loaded."""
    converts, ever_trained = _converts(facts), trained_parameters(resolved)
    total = 0
    for portion in resolved.portions:
        loaded = portion.values * facts.model.get_parameter(portion.parameter).element_size()
        if portion.parameter in ever_trained:
            total += FP32_BYTES * portion.values
            continue
        if _has_left(facts, resolved, portion):
            continue
        copied = _copy_bytes(facts, resolved, portion) if converts else 0
        # A frozen head that is tied to the embeddings has a copy of its own; of other matrices the copy alone stays.
        total += copied if copied and _is_matrix(portion) else loaded + copied
    return total + (FP32_BYTES * resolved.trained_values if resolved.lora is not None else 0)
