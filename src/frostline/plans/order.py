"""In which order does the forward pass meet the parameters? The backward pass goes the same way back.

Within a layer the order is: norms -> query, key and value -> attention's output -> gate and up -> down. Families that
compute attention and MLP side by side (GPT-NeoX, GPT-J, Falcon, Phi, Cohere) have two branches instead, neither of
which sends a gradient through the other; which it is, two short passes through the first layer tell.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from frostline.plans.calls import record_calls, undisturbed
from frostline.plans.types import ResolvedPlan

NORMS, FIRST, ATTENTION_OUTPUT, MLP_FIRST, MLP_OUTPUT = 0.0, 1.0, 2.0, 3.0, 4.0
STAGES = {
    "attn.q": FIRST,
    "attn.k": FIRST,
    "attn.v": FIRST,
    "attn.o": ATTENTION_OUTPUT,
    "mlp.gate": MLP_FIRST,
    "mlp.up": MLP_FIRST,
    "mlp": MLP_FIRST,  # a router works beside gate and up
    "mlp.down": MLP_OUTPUT,
}
"""Stage of each role within its layer; every other one counts as standing at its beginning, with the norms."""


class PlaceInOrder(NamedTuple):
    """Where a parameter works."""

    layer: int
    """-1 below the decoder layers, their number above them."""
    stage: float
    branch: str
    """`attn` or `mlp` where the two run side by side; empty where one follows the other."""

    def comes_before(self, other: PlaceInOrder) -> bool:
        """Whether a gradient for this place passes through what stands at the other."""
        if self.layer != other.layer:
            return self.layer < other.layer
        return self.stage < other.stage and self.branch in ("", other.branch)


BOTTOM = PlaceInOrder(-1, NORMS, "")
"""The embeddings."""


def places_of(
    model: PreTrainedModel, resolved: ResolvedPlan, tried: PreTrainedModel | None = None
) -> dict[str, PlaceInOrder]:
    """The place of every portion, by its name, whatever the plan. Takes two short passes through the first layer.

    They are those of `tried`, if given: a shorter model that begins with the same layer.
    """
    side_by_side = attention_and_mlp_side_by_side(tried or model, resolved)
    role_of = {portion.parameter: portion.role for portion in resolved.portions}
    places = {}
    for portion in resolved.portions:
        if portion.side == "below":
            owner = model.get_submodule(portion.parameter.rpartition(".")[0])
            # A projection of the embeddings stands after the look-up.
            places[portion.name] = BOTTOM._replace(stage=FIRST) if isinstance(owner, nn.Linear) else BOTTOM
        elif portion.layer is None:
            places[portion.name] = PlaceInOrder(resolved.layers, FIRST if portion.role == "head" else NORMS, "")
        else:
            # A bias is added to what the matrix beside it gives; that of a norm stands where norms stand.
            matrix = f"{portion.parameter.rpartition('.')[0]}.weight"
            role = role_of.get(matrix, "bias") if portion.role == "bias" else portion.role
            branch = role.partition(".")[0] if side_by_side and role in STAGES else ""
            places[portion.name] = PlaceInOrder(portion.layer, STAGES.get(role, NORMS), branch)
    return places


def attention_and_mlp_side_by_side(model: PreTrainedModel, resolved: ResolvedPlan) -> bool:
    """Whether the MLP of the first layer reads the same, whatever the attention beside it gives."""
    owners: dict[str, nn.Module] = {}
    for portion in resolved.portions:
        if portion.layer == 0 and portion.role in ("attn.o", "mlp.up"):
            owners.setdefault(portion.role, model.get_submodule(portion.parameter.rpartition(".")[0]))
    if len(owners) < 2:
        return False

    def disturb(module: nn.Module, args: object, output: Tensor) -> Tensor:
        # A ramp: a constant would be taken out again by a norm.
        return output + torch.linspace(0, 1, output.shape[-1], dtype=output.dtype, device=output.device)

    mlp = owners["mlp.up"]
    with undisturbed(model):
        plain = record_calls(model, [mlp], most=1)
        handle = owners["attn.o"].register_forward_hook(disturb)
        try:
            disturbed = record_calls(model, [mlp], most=1)
        finally:
            handle.remove()
    if mlp not in plain or not plain[mlp].args:
        return False
    before, after = plain[mlp].args[0], disturbed[mlp].args[0]
    return isinstance(before, Tensor) and isinstance(after, Tensor) and torch.equal(before, after)
