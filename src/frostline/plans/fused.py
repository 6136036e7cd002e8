"""How can a few rows of a matrix train while the others are frozen? By making them parameters of their own.

A fused matrix that a plan treats in parts is put together from one parameter a portion each time it is used
(`torch.nn.utils.parametrize`). Frozen rows are then in no optimizer, so neither weight decay nor momentum can move
them, in whatever loop. Joining copies bits: the forward pass is exactly that of the whole matrix.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from frostline.plans.types import Portion

FROZEN_SCALE = "frozen_scale"
"""Buffer of a module whose frozen matrix is held in integers (the engine's choice): the matrix is both multiplied."""


class JoinedPortions(nn.Module):
    """Puts a matrix together from its portions, in the places that they had."""

    places: Tensor | None

    def __init__(self, portions: Sequence[Portion], owner: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.portions = tuple(portions)
        self.neighbours = tuple(name for name, _ in owner.named_parameters(recurse=False))
        """The owner's parameters in their order, to be restored when the portions are joined for good."""
        self.dimension = portions[0].dimension
        order = torch.cat([portion.index_tensor() for portion in portions])
        in_order = torch.equal(order, torch.arange(len(order)))
        # For each place of the matrix, where the concatenated portions hold it.
        places = None if in_order else torch.argsort(order).to(device)
        self.register_buffer("places", places, persistent=False)

    def forward(self, *parts: Tensor) -> Tensor:
        joined = torch.cat(parts, self.dimension)
        return joined if self.places is None else joined.index_select(self.dimension, self.places)

    def right_inverse(self, matrix: Tensor) -> list[Tensor]:
        return [portion.view_of(matrix).clone(memory_format=torch.contiguous_format) for portion in self.portions]


def split_parameter(model: nn.Module, portions: Sequence[Portion]) -> tuple[nn.Parameter, ...]:
    """Replace a parameter by one parameter for each of `portions`, which together are all of it; returns them."""
    owner, own = _owner(model, portions[0].parameter)
    joined = JoinedPortions(portions, owner, owner.get_parameter(own).device)
    parametrize.register_parametrization(owner, own, joined)
    parts = _parametrizations(owner, own)
    return tuple(parts.get_parameter(f"original{index}") for index in range(len(portions)))


@torch.no_grad()
def join_parameter(model: nn.Module, name: str) -> nn.Parameter:
    """Undo `split_parameter`, bit for bit: the module holds one plain parameter again, at its former place."""
    owner, own = _owner(model, name)
    parts = _parametrizations(owner, own)
    trains = any(part.requires_grad for part in parts.parameters())
    neighbours = next(child.neighbours for child in parts.children() if isinstance(child, JoinedPortions))
    parametrize.remove_parametrizations(owner, own, leave_parametrized=True)
    value: object = getattr(owner, own)
    assert isinstance(value, Tensor)
    delattr(owner, own)
    owner.register_parameter(own, nn.Parameter(value.detach().clone(), requires_grad=trains))
    for name in neighbours[neighbours.index(own) + 1 :]:
        # Registering puts a parameter last: what stood behind it goes behind it again.
        if name in dict(owner.named_parameters(recurse=False)):
            behind = owner.get_parameter(name)
            delattr(owner, name)
            owner.register_parameter(name, behind)
    return owner.get_parameter(own)


def is_split(model: nn.Module) -> bool:
    """Whether some parameter of `model` is split."""
    return any(isinstance(module, JoinedPortions) for module in model.modules())


def value_of(model: nn.Module, portion: Portion) -> Tensor:
    """The present values of `portion`, detached, also where its parameter is split or carries an adapter.

    May share memory with the model: copy it before training goes on.
    """
    owner, own = _owner(model, portion.parameter)
    with torch.no_grad():
        value: object = getattr(owner, own)
    assert isinstance(value, Tensor)
    value = value.detach()
    return portion.view_of(value if value.is_floating_point() else value * owner.get_buffer(FROZEN_SCALE))


def _parametrizations(owner: nn.Module, own: str) -> nn.Module:
    return owner.get_submodule(f"parametrizations.{own}")


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that holds the parameter `name`, below its adapter if it carries one, and its name there."""
    path, _, own = name.rpartition(".")
    owner = model.get_submodule(path)
    base = getattr(owner, "base_layer", None)
    return (base if isinstance(base, nn.Module) else owner), own
