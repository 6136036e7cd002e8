"""Which weights stay in the type that their file has? Matrices of linear layers and embeddings, where that is exact.

`from_pretrained` has one type for a whole model, with exceptions by name (`_get_dtype_plan`, made for norms that must
stay in fp32). Here the model is an fp32 one, and the exceptions are its matrices: each is taken as the file has it,
which on the CPU is no copy, and everything else (norms, biases, stacked experts, buffers) is fp32 as it ever was.

Whether a family's code uses its matrices as fp32 is not for a table to say: every layer is run both ways and compared.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from frostline.engine import (
    autocast,
    cast_up,
    cast_up_in_use,
    held_in_fp32,
    is_cast_up_in_use,
    may_stay_as_filed,
)
from frostline.loading.weight_files import StoredTensors
from frostline.out_of_memory import is_out_of_memory
from frostline.plans import PROBE_ERRORS, Forward, answering, decoder_stack, layer_kinds, undisturbed
from frostline.storage import let_go_of

_STORED_TYPES = {"BF16": torch.bfloat16, "F16": torch.float16}
_PLAN = "_get_dtype_plan"
_ONE_AT_A_TIME = threading.Lock()
"""The plan is a method of transformers' class while a model is loaded: two at once would take each other's."""
_TOKENS = 8
_SEED = 20


@contextmanager
def matrices_as_filed(stored: StoredTensors) -> Iterator[None]:
    """In the block a model that `from_pretrained` loads in fp32 keeps its matrices as they are `stored`.

    Where the installed transformers knows no exceptions, all of it is fp32.
    """
    usual: Callable[[PreTrainedModel, torch.dtype], dict[str, torch.dtype]] | None = getattr(
        PreTrainedModel, _PLAN, None
    )
    if usual is None:
        yield
        return

    def plan(model: PreTrainedModel, dtype: torch.dtype) -> dict[str, torch.dtype]:
        return {**usual(model, dtype), **_types_of_matrices(model, stored)}

    with _ONE_AT_A_TIME:
        setattr(PreTrainedModel, _PLAN, plan)
        try:
            yield
        finally:
            setattr(PreTrainedModel, _PLAN, usual)


def use_as_filed(model: PreTrainedModel, precision: str) -> bool:
    """Let `model` cast its 16-bit matrices up where it uses them; False if it did not take all of them so.

    What does not give the bits of fp32 in that arithmetic is held in fp32 from then on: layers, or all of the model.
    """
    if cast_up_in_use(model) == 0:
        return True
    with undisturbed(model), torch.no_grad():
        try:
            return _layers_agree(model, precision)
        except PROBE_ERRORS as error:
            if is_out_of_memory(error):
                raise
            cast_up(model.parameters())
            return False


def name_types(model: PreTrainedModel, stored: StoredTensors) -> None:
    """Give the matrices of `model`, which has no memory, the types in which they will be loaded from `stored`."""
    patterns = _types_of_matrices(model, stored)
    for name, parameter in model.named_parameters():
        if (found := patterns.get(f"^{re.escape(name)}$")) is not None:
            parameter.data = parameter.data.to(found)


def _types_of_matrices(model: PreTrainedModel, stored: StoredTensors) -> dict[str, torch.dtype]:
    """Types by patterns of names, as the loader wants them, of the matrices of `model` that are 16-bit in the file.

    A matrix that several modules share stays as filed only where all of them can use it so.
    """
    owners: dict[nn.Parameter, list[str]] = {}
    unfit = set()
    for path, module in model.named_modules(remove_duplicate=False):
        for own, parameter in module.named_parameters(recurse=False):
            owners.setdefault(parameter, []).append(f"{path}.{own}")
            if own != "weight" or not may_stay_as_filed(module):
                unfit.add(parameter)
    found: dict[str, torch.dtype] = {}
    types = {entry.dtype for entry in stored.values() if entry.is_float}
    only_type = next(iter(types)) if len(types) == 1 else ""
    for parameter, names in owners.items():
        keys = (key for name in names for key in (name, name.removeprefix(f"{model.base_model_prefix}.")))
        # What transformers renames as it loads has no entry under its name.
        own_type = next((stored[key].dtype for key in keys if key in stored), only_type)
        if parameter not in unfit and own_type in _STORED_TYPES:
            found |= {f"^{re.escape(name)}$": _STORED_TYPES[own_type] for name in names}
    return found


def _layers_agree(model: PreTrainedModel, precision: str) -> bool:
    """Whether one layer of each kind, and each matrix around the layers, gives the same bits with weights in fp32.

    Layers of a kind that does not are cast up. One of them is in fp32 at a time, and its pages of the file are let go
    after it; the other layers of its kind are left out.
    """
    _, layers = decoder_stack(model)
    kinds: dict[str, list[nn.Module]] = {}
    for kind, layer in zip(layer_kinds(model), layers, strict=True):
        kinds.setdefault(kind, []).append(layer)
    calls: dict[nn.Module, tuple[object, object]] = {}
    differing: list[nn.Module] = []

    def run_twice(layer: nn.Module, alike: list[nn.Module]) -> Forward:
        run = layer.forward

        def answer(*args: object, **kwargs: object) -> object:
            # Copies: a layer may write into what it is given.
            given, first = _copied((args, kwargs)), [_copied(value) for value in args]
            try:
                torch.manual_seed(_SEED)
                output = run(*first, **{name: _copied(value) for name, value in kwargs.items()})
            except PROBE_ERRORS as error:  # products of two types
                if is_out_of_memory(error):
                    raise
                output = None
            with held_in_fp32(layer.parameters()):
                torch.manual_seed(_SEED)
                expected = run(*args, **kwargs)
            if not _equal(output, expected):
                differing.append(layer)
                for other in alike:
                    cast_up(other.parameters())
            let_go_of(layer.parameters())
            calls[layer] = (given, expected)
            return expected

        return answer

    def answer_again(layer: nn.Module) -> Forward:
        def answer(*args: object, **kwargs: object) -> object:
            given, output = calls[layer]
            if not _equal((args, kwargs), given):
                differing.append(layer)
            return output

        return answer

    def answer_as(layer: nn.Module) -> Forward:
        return lambda *args, **kwargs: calls[layer][1]

    def logits() -> Tensor:
        tokens = torch.arange(_TOKENS, device=model.device).unsqueeze(0) % _vocabulary(model)
        torch.manual_seed(_SEED)
        with autocast(precision, model.device):
            found: Tensor = model(input_ids=tokens, use_cache=False).logits
        return found

    left_out = {layer: answer_as(alike[0]) for alike in kinds.values() for layer in alike[1:]}
    with answering(left_out | {alike[0]: run_twice(alike[0], alike) for alike in kinds.values()}):
        expected = logits()
    inside = {module for layer in layers for module in layer.modules()}
    for module in model.modules():
        if module not in inside and is_cast_up_in_use(module):
            before = len(differing)
            again = left_out | {layer: answer_again(layer) for layer in calls}
            with answering(again), held_in_fp32(module.parameters()):
                same = torch.equal(logits(), expected)
            if not same or len(differing) > before:
                raise RuntimeError("what is around the layers uses a matrix in another way")
            let_go_of(module.parameters())
    return not differing


def _copied(value: object) -> object:
    """`value` with copies of its tensors."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(map(_copied, value))
    if isinstance(value, list):
        return list(map(_copied, value))
    return {name: _copied(item) for name, item in value.items()} if type(value) is dict else value


def _equal(one: object, other: object) -> bool:
    """Whether all tensors in two values are, bit for bit; what is no tensor is not compared."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return isinstance(one, Tensor) == isinstance(other, Tensor)


def _vocabulary(model: PreTrainedModel) -> int:
    size = getattr(model.config.get_text_config(), "vocab_size", None)
    return size if isinstance(size, int) and size > 0 else _TOKENS
