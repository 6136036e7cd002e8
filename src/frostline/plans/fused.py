"""How can a few rows of a matrix train while the others are frozen? By making them parameters of their own.

A matrix that a plan treats in parts (query, key and value in one; some rows of the embeddings) is put together from one
parameter a portion each time it is used (`torch.nn.utils.parametrize`). Frozen rows are then in no optimizer, so
neither weight decay nor momentum can move them, in whatever loop. Joining copies bits: the forward pass is exactly that
of the whole matrix. Modules that share the matrix (a tied head) share its portions.

Files know nothing of it. Whoever saves in the middle of training (`Trainer`, `save_pretrained`, Accelerate,
`torch.save`) asks for the state dict, and there the matrix is whole and has its own name; what is loaded is divided.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from frostline.plans.types import Portion
from frostline.tensor_bytes import value_type

FROZEN_SCALE = "frozen_scale"
"""Buffer of a module whose frozen matrix is held in integers (the engine's choice): the matrix is both multiplied."""
UNPACKED = "unpacked_weight"
"""Attribute of a module whose frozen matrix is held in some other way: called, it gives the matrix in fp32."""
MOST_RUNS = 64
"""Runs of consecutive places that are put side by side; of more, places are looked up one by one."""


class JoinedPortions(nn.Module):
    """Puts a matrix together from its portions, in the places that they had."""

    places: Tensor | None
    hooks: tuple[RemovableHandle, ...] = ()
    """They keep state dicts of the owner as if nothing were split."""

    def __init__(self, portions: Sequence[Portion], owner: nn.Module, device: torch.device, name: str) -> None:
        super().__init__()
        self.portions = tuple(portions)
        self.name = name
        """Of the names of the matrix, that by which `owner` holds it."""
        self.neighbours = tuple(own for own, _ in owner.named_parameters(recurse=False))
        """The owner's parameters in their order, to be restored when the portions are joined for good."""
        self.dimension = portions[0].dimension
        order = torch.cat([portion.index_tensor() for portion in portions])
        in_order = torch.equal(order, torch.arange(len(order)))
        self._runs = None if in_order else _runs(portions)
        # For each place of the matrix, where the concatenated portions hold it.
        places = None if in_order or self._runs is not None else torch.argsort(order).to(device)
        self.register_buffer("places", places, persistent=False)

    def forward(self, *parts: Tensor) -> Tensor:
        if self._runs is not None:
            pieces = [
                part.split(lengths, self.dimension) for part, lengths in zip(parts, self._runs.lengths, strict=True)
            ]
            return torch.cat([pieces[portion][piece] for portion, piece in self._runs.order], self.dimension)
        joined = torch.cat(parts, self.dimension)
        return joined if self.places is None else joined.index_select(self.dimension, self.places)

    def right_inverse(self, matrix: Tensor) -> list[Tensor]:
        return [portion.view_of(matrix).clone(memory_format=torch.contiguous_format) for portion in self.portions]


class _Runs(NamedTuple):
    """A matrix as consecutive pieces of its portions."""

    lengths: list[list[int]]
    """How each portion is cut."""
    order: list[tuple[int, int]]
    """Portion and piece, from the first place on."""


def _runs(portions: Sequence[Portion]) -> _Runs | None:
    """None where the portions alternate so often that looking up places one by one takes less."""
    starts: list[tuple[int, int, int]] = []
    lengths: list[list[int]] = []
    for number, portion in enumerate(portions):
        places = portion.index_tensor()
        breaks = (places.diff() != 1).nonzero().flatten() + 1
        if len(starts) + len(breaks) + 1 > MOST_RUNS:
            return None
        edges = [0, *breaks.tolist(), len(places)]
        lengths.append([stop - start for start, stop in pairwise(edges)])
        starts += [(int(places[edge]), number, piece) for piece, edge in enumerate(edges[:-1])]
    return _Runs(lengths, [(number, piece) for _, number, piece in sorted(starts)])


def split_parameter(model: nn.Module, portions: Sequence[Portion]) -> tuple[nn.Parameter, ...]:
    """Replace a parameter by one parameter for each of `portions`, which together are all of it; returns them."""
    parts: tuple[nn.Parameter, ...] = ()
    for name in (portions[0].parameter, *portions[0].aliases):
        owner, own = _owner(model, name)
        if parametrize.is_parametrized(owner, own):
            continue  # the same module under another name
        joined = JoinedPortions(portions, owner, owner.get_parameter(own).device, name)
        parametrize.register_parametrization(owner, own, joined)
        joined.hooks = (
            owner.register_state_dict_post_hook(_join_in_state_dict),
            owner.register_load_state_dict_pre_hook(_divide_in_state_dict),
        )
        holder = _parametrizations(owner, own)
        for index, part in enumerate(parts):
            holder.register_parameter(_part(index), part)
        parts = tuple(holder.get_parameter(_part(index)) for index in range(len(portions)))
    return parts


@torch.no_grad()
def join_parameter(model: nn.Module, name: str) -> nn.Parameter:
    """Undo `split_parameter`, bit for bit: each module holds one plain parameter again, at its former place."""
    owner, own = _owner(model, name)
    joined = _joined_matrices(owner)[own]
    whole: nn.Parameter | None = None
    for alias in (name, *joined.portions[0].aliases):
        owner, own = _owner(model, alias)
        if parametrize.is_parametrized(owner, own):
            whole = _join_in(owner, own, whole)
    assert whole is not None
    return whole


def _join_in(owner: nn.Module, own: str, whole: nn.Parameter | None) -> nn.Parameter:
    """Let `owner` hold `whole`, or if that is None what its portions are, in the place of these."""
    parts, joined = _parametrizations(owner, own), _joined_matrices(owner)[own]
    trains = any(part.requires_grad for part in parts.parameters())
    for hook in joined.hooks:
        hook.remove()
    parametrize.remove_parametrizations(owner, own, leave_parametrized=True)
    value: object = getattr(owner, own)
    assert isinstance(value, Tensor)
    delattr(owner, own)
    if whole is None:
        whole = nn.Parameter(value.detach().clone(), requires_grad=trains)
    owner.register_parameter(own, whole)
    for name in joined.neighbours[joined.neighbours.index(own) + 1 :]:
        # Registering puts a parameter last: what stood behind it goes behind it again.
        if name in dict(owner.named_parameters(recurse=False)):
            behind = owner.get_parameter(name)
            delattr(owner, name)
            owner.register_parameter(name, behind)
    return whole


def is_split(model: nn.Module) -> bool:
    """Whether some parameter of `model` is split."""
    return any(isinstance(module, JoinedPortions) for module in model.modules())


def value_of(model: nn.Module, portion: Portion) -> Tensor:
    """The present values of `portion`, detached, also where its parameter is split or carries an adapter.

    What is held in 16 bits is cast up to fp32. May share memory with the model: copy it before training goes on.
    """
    whole = _held(model, portion.parameter)
    # Cast before it is cut: the portion then lies in memory as it does in an fp32 model, and sums in the same order.
    return portion.view_of(whole.to(value_type(whole)))


def held_value_of(model: nn.Module, portion: Portion) -> Tensor:
    """The same in the type in which it is held."""
    return portion.view_of(_held(model, portion.parameter))


def _held(model: nn.Module, name: str) -> Tensor:
    owner, own = _owner(model, name)
    with torch.no_grad():
        value: object = getattr(owner, own)
    assert isinstance(value, Tensor)
    value = value.detach()
    if value.is_floating_point():
        return value
    unpack: Callable[[], Tensor] | None = vars(owner).get(UNPACKED)
    return value * owner.get_buffer(FROZEN_SCALE) if unpack is None else unpack()


def _joined_matrices(owner: nn.Module) -> dict[str, JoinedPortions]:
    """What joins each split matrix that `owner` itself has, by the matrix's name there."""
    holder = owner._modules.get("parametrizations")
    found: dict[str, JoinedPortions] = {}
    for own, parts in () if holder is None else holder.named_children():
        for child in parts.children():
            if isinstance(child, JoinedPortions):
                found[own] = child
    return found


def _part_keys(prefix: str, own: str, joined: JoinedPortions) -> list[str]:
    return [f"{prefix}parametrizations.{own}.{_part(index)}" for index in range(len(joined.portions))]


def _join_in_state_dict(
    owner: nn.Module, state_dict: MutableMapping[str, Tensor], prefix: str, local_metadata: object
) -> None:
    """Put the whole matrices in the place of their parts, where they stood before anything was split."""
    matrices = _joined_matrices(owner)
    for own, joined in matrices.items():
        keys = _part_keys(prefix, own, joined)
        if all(key in state_dict for key in keys):  # a second hook of the same module finds the work done
            parts = [state_dict.pop(key) for key in keys]
            shared = _under_another_name(state_dict, prefix, own, joined)
            state_dict[prefix + own] = joined(*parts) if shared is None else shared
    first_split = max(matrices.values(), key=lambda joined: len(joined.neighbours), default=None)
    plain = [] if first_split is None else [prefix + name for name in first_split.neighbours]
    own_keys = [key for key in plain if key in state_dict]
    inside = [key for key in state_dict if key.startswith(prefix) and key not in own_keys]
    for key in (*own_keys, *inside):
        state_dict[key] = state_dict.pop(key)


def _divide_in_state_dict(
    owner: nn.Module,
    state_dict: MutableMapping[str, Tensor],
    prefix: str,
    local_metadata: object,
    strict: bool,
    missing_keys: list[str],
    unexpected_keys: list[str],
    errors: list[str],
) -> None:
    """Divide the whole matrices of a state dict that is being loaded; one that holds parts is taken as it is."""
    for own, joined in _joined_matrices(owner).items():
        whole = state_dict.get(prefix + own)
        keys = _part_keys(prefix, own, joined)
        if whole is None:
            if joined.name != joined.portions[0].parameter and not any(key in state_dict for key in keys):
                # A tied weight is in files under one of its names: it was divided there, and what it holds stays.
                parts = _parametrizations(owner, own)
                state_dict.update({key: parts.get_parameter(_part(index)).data for index, key in enumerate(keys)})
            continue
        expected = joined.portions[0].shape
        if tuple(whole.shape) != expected:
            found = tuple(whole.shape)
            errors.append(f"size mismatch for {prefix}{own}: {found} in the file, {expected} in the model.")
            continue
        del state_dict[prefix + own]
        state_dict.update(zip(keys, joined.right_inverse(whole), strict=True))


def _under_another_name(
    state_dict: MutableMapping[str, Tensor], prefix: str, own: str, joined: JoinedPortions
) -> Tensor | None:
    """The same matrix where a module that shares it has put it: both names are one memory, as in the plain model."""
    path = joined.name.removesuffix(own)
    if not prefix.endswith(path):
        return None
    names = (joined.portions[0].parameter, *joined.portions[0].aliases)
    found = (state_dict.get(prefix.removesuffix(path) + name) for name in names if name != joined.name)
    return next((whole for whole in found if whole is not None), None)


def _part(index: int) -> str:
    """What torch calls the parameter of one portion."""
    return f"original{index}"


def _parametrizations(owner: nn.Module, own: str) -> nn.Module:
    return owner.get_submodule(f"parametrizations.{own}")


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that holds the parameter `name`, below its adapter if it carries one, and its name there."""
    path, _, own = name.rpartition(".")
    owner = model.get_submodule(path)
    base = getattr(owner, "base_layer", None)
    return (base if isinstance(base, nn.Module) else owner), own
