"""How much memory will an arm take, alone in a process? Sizes of what a step holds at its fullest, added up."""

from __future__ import annotations

from frostline.arms.prepared import Prepared
from frostline.arms.trained import FP32_BYTES, MOMENTS_BYTES, trained_values
from frostline.engine import CHUNK_BYTES, trained_parameters
from frostline.plans import ResolvedPlan

BF16_BYTES, INT8_BYTES = 2, 1
LOSS_BUFFERS = 8
"""Memory of the loss over a chunk in multiples of its logits: in fp32 and bf16, their softmax, their gradients."""
PLAIN_LOSS_BUFFERS = 3
"""Memory of the plain loss in multiples of a batch's logits, beside those that it keeps."""
HOLES_FOR_SAVED, HOLES_FOR_GRADIENTS = 0.3, 0.6
"""Share by which the heap on CPU outgrows what a forward pass keeps, and the gradients that come into its place: they
do not fit into the holes that are left. Fitted to peaks of the embedded model; `bench/estimate.py` checks it."""


def tensor_bytes(prepared: Prepared, resolved: ResolvedPlan, saved_bytes: int) -> int:
    """Peak of all tensors of a step: at the end of the forward pass, or once all gradients are there."""
    trained = trained_values(resolved)
    standing = _weight_bytes(prepared, resolved) + MOMENTS_BYTES * trained
    gradients = FP32_BYTES * trained
    training = prepared.recipe.training
    tokens = training.batch * prepared.recipe.windows.length
    vocabulary: int = prepared.model.get_output_embeddings().weight.shape[0]
    logits = FP32_BYTES * tokens * vocabulary
    on_cpu = prepared.device.type == "cpu"
    if training.engine == "fast":
        loss = LOSS_BUFFERS * min(logits, CHUNK_BYTES["cpu" if on_cpu else "cuda"])
    else:
        loss = PLAIN_LOSS_BUFFERS * logits
    holes = HOLES_FOR_SAVED * saved_bytes + HOLES_FOR_GRADIENTS * gradients if on_cpu else 0
    return round(standing + max(saved_bytes + loss, gradients) + holes)


def _weight_bytes(prepared: Prepared, resolved: ResolvedPlan) -> int:
    """Weights as the engine holds them: what trains in fp32, frozen matrices in the precision of their use."""
    training = prepared.recipe.training
    fast = training.engine == "fast"
    matrix_bytes = BF16_BYTES if prepared.precision == "bf16" else FP32_BYTES
    if training.frozen_weights == "int8":
        matrix_bytes = INT8_BYTES
    ever_trained = trained_parameters(resolved)
    head = resolved.map.head_name
    total = 0
    for portion in resolved.portions:
        frozen = fast and portion.parameter not in ever_trained
        is_matrix = portion.role not in ("embed", "norm", "bias") and len(portion.shape) == 2
        total += portion.values * (matrix_bytes if frozen and is_matrix else FP32_BYTES)
        if frozen and head in portion.aliases and prepared.precision == "bf16":
            total += portion.values * BF16_BYTES  # a frozen head that is tied to the embeddings has a copy of its own
    return total + (FP32_BYTES * resolved.trained_values if resolved.lora is not None else 0)
