"""What will a step keep for its backward pass? Counted before weights are loaded, where tensors have sizes alone.

On torch's meta device a forward pass takes no memory and next to no time, and autograd keeps what it would keep
elsewhere. `engine.saved_bytes` measures the same with weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from frostline.out_of_memory import is_out_of_memory
from frostline.plans import PROBE_ERRORS, ResolvedPlan
from frostline.recipe import TrainingSettings

LEAST_SHARE_IN_BF16 = 0.5
"""Of what is kept in fp32, at the least: norms keep more than half."""


def saved_without_memory(
    model: PreTrainedModel, resolved: ResolvedPlan, training: TrainingSettings, length: int, precision: str
) -> int:
    """Bytes that the decoder's layers keep in a step on whole windows of `length`, at the least.

    `model` has no memory (torch's meta device) and fp32 parameters; which of them require a gradient is changed. 0
    where its family cannot be asked so. What attention keeps beside its inputs is left out: kernels differ in it.
    """
    saved = max(_saved(model, resolved, phase.at, training.batch, length) for phase in resolved.phases)
    layers = resolved.layers - resolved.prefix_layers
    if training.checkpointing and layers:
        # A hidden state of each layer, and all of the one that is computed again.
        hidden = 4 * training.batch * length * model.config.get_text_config().hidden_size
        saved = min(saved, layers * hidden + saved // layers)
    return saved if precision == "fp32" else round(LEAST_SHARE_IN_BF16 * saved)


def _saved(model: PreTrainedModel, resolved: ResolvedPlan, step: int, windows: int, length: int) -> int:
    trains = resolved.targets if resolved.lora is not None else tuple(resolved.trained_at(step).values())
    names = {portion.parameter for portion in trains}
    for name, value in model.named_parameters():
        value.requires_grad_(name in names)
    weights = {value.untyped_storage()._cdata for value in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    below = any(portion.side == "below" for portion in trains)
    width = model.config.get_text_config().hidden_size
    hidden = torch.zeros((windows, length, width), device="meta", requires_grad=below)
    body: nn.Module = model.get_decoder()
    # Without a mask, or of one of tokens, some families look at values; others build theirs from one of tokens.
    for mask in (torch.zeros((windows, 1, length, length), device="meta"), torch.ones(windows, length, device="meta")):
        kept.clear()
        try:
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                body.train()(inputs_embeds=hidden, attention_mask=mask, use_cache=False)
        except PROBE_ERRORS as error:
            if is_out_of_memory(error):
                raise
            continue
        return sum(
            tensor.untyped_storage().nbytes()
            for place, tensor in kept.items()
            if place not in weights and tensor.shape[-2:] != (length, length)
        )
    return 0
