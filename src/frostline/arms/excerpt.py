"""How is a model looked at that is too large to be read? By a few of its layers, which stand for those like them.

Layers of one kind (`plans.layer_kinds`) have the same roles and cost the
same. So a model of one layer of each kind tells what every matrix of the whole is, and a few tokens through it what the
whole takes. It shares the memory of the model that it is cut from: of a mapped file only the pages that it uses are
read. A large vocabulary is cut, too: of a head with fewer rows, time and memory follow for all of them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from frostline.corpus import NOT_COUNTED, Batch, Corpus
from frostline.engine import give_back_freed_memory
from frostline.errors import ModelError
from frostline.out_of_memory import is_out_of_memory
from frostline.plans import (
    PROBE_ERRORS,
    ModelMap,
    Portion,
    decoder_stack,
    is_place_in_stack,
    layer_kinds,
    map_untouched,
    without_rows,
)
from frostline.storage import let_go_of

FEW_ROWS = 4096
"""Rows of a vocabulary that is cut."""
LARGE_VOCABULARY_VALUES = 100_000_000
"""Values of a head, or of embeddings, from which on most rows are left out."""

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Excerpt:
    """A model of few layers and what it says about the whole."""

    model: PreTrainedModel
    map: ModelMap
    """Every portion of the whole model."""


def excerpt_of(model: PreTrainedModel) -> Excerpt | None:
    """One layer of each kind of `model`, two at least; None where its layers do not stand for the whole.

    None, too, where the family's code does not run with fewer layers: Gemma 3n and 4 embed each token for all of them.
    """
    path, stack = decoder_stack(model)
    kinds = layer_kinds(model)
    chosen = sorted({kinds.index(kind) for kind in kinds} | {len(stack) - 1})
    if len(chosen) >= len(stack):
        return None
    places = [chosen.index(kinds.index(kind)) for kind in kinds]
    try:
        cut = cut_model(model, chosen, FEW_ROWS if has_large_vocabulary(model) else None)
        if decoder_stack(cut)[0] != path:
            return None  # beside it is a list of as many layers as are left, such as those that read images
        found = _widened(map_untouched(cut), model, places)
    except (ModelError, *PROBE_ERRORS) as error:
        if is_out_of_memory(error):
            raise
        return None
    let_go_of(model.parameters())
    give_back_freed_memory()
    return None if found is None else Excerpt(cut, found)


def cut_model(model: PreTrainedModel, layers: Sequence[int], rows: int | None = None) -> PreTrainedModel:
    """`model` with only `layers` of its decoder layers, in that order; one may come more than once.

    Its parameters are its own, their memory is that of `model`; with `rows`, of embeddings and head the first ones.
    """
    path, stack = decoder_stack(model)
    kept = model.get_submodule(path)
    everything = kept._modules
    try:
        # The layers that go are not copied on the way.
        kept._modules = {}
        cut = _sharing(model)
    finally:
        kept._modules = everything
    short = nn.ModuleList(_sharing(stack[layer]) for layer in layers)
    for index, layer in enumerate(short):
        for module in layer.modules():
            for attribute, place in vars(module).items():
                if is_place_in_stack(attribute) and type(place) is int:
                    vars(module)[attribute] = index
    cut.set_submodule(path, short)
    config = cut.config.get_text_config()
    config.num_hidden_layers = len(layers)
    for key in ("layer_types", "attention_layers", "mlp_layer_types"):
        of_each = getattr(config, key, None)
        if isinstance(getattr(type(config), key, None), property):
            continue  # computed from the number of layers
        if isinstance(of_each, list) and len(of_each) == len(stack):
            setattr(config, key, [of_each[layer] for layer in layers])
    if rows is not None:
        _cut_rows(cut, rows)
    return cut


def has_large_vocabulary(model: PreTrainedModel) -> bool:
    """Whether embeddings and head are so large that most of their rows are left out, and can be."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if not isinstance(embedding, nn.Embedding) or not isinstance(head, nn.Linear):
        return False
    size = embedding.weight.shape[0]
    if head.weight.shape[0] != size or embedding.weight.numel() < LARGE_VOCABULARY_VALUES:
        return False
    _, stack = decoder_stack(model)
    known = {id(value) for module in (embedding, head, *stack) for value in module.parameters()}
    return not any(size in value.shape for value in model.parameters() if id(value) not in known)


class FewerTokens(Corpus):
    """A corpus with the first tokens of each window alone, and only the ids below a limit."""

    def __init__(self, whole: Corpus, rows: int | None, length: int | None) -> None:
        vars(self).update(vars(whole))
        self._rows, self._length = rows, length

    def prompts(self, seed: int, count: int, length: int) -> NDArray[np.int64]:
        """As those of the whole corpus, with other ids in place of those above the limit."""
        return self._known(super().prompts(seed, count, length))

    def _batch(self, window_ids: NDArray[np.int64]) -> Batch:
        return fewer_tokens(super()._batch(window_ids), self._rows, self._length)

    def _known(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return ids if self._rows is None else ids % self._rows


def fewer_tokens(batch: Batch, rows: int | None, length: int | None, windows: int | None = None) -> Batch:
    """The first tokens of the first windows of `batch`, with ids below `rows`."""
    if windows is not None and windows < len(batch.input_ids):
        batch = batch.of_rows(range(windows))
    if length is not None and length < batch.input_ids.shape[1]:
        ids, labels = batch.input_ids[:, :length], batch.labels[:, :length]
        batch = replace(
            batch,
            input_ids=ids,
            labels=labels if (labels[:, 1:] != NOT_COUNTED).any() else ids,  # a prompt alone has nothing to learn
            attention_mask=None if batch.attention_mask is None else batch.attention_mask[:, :length],
            lengths=_at_most(length, batch.lengths),
            widths=_at_most(length, batch.widths),
        )
    if rows is None:
        return batch
    labels = np.where(batch.labels == NOT_COUNTED, NOT_COUNTED, batch.labels % rows)
    return replace(batch, input_ids=batch.input_ids % rows, labels=labels)


def _at_most(length: int, sizes: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if sizes is None else tuple(min(size, length) for size in sizes)


def _sharing(module: Module) -> Module:
    """A copy of `module` with parameters of its own in the same memory."""
    shared: dict[int, object] = {
        id(value): nn.Parameter(value.detach(), requires_grad=value.requires_grad) for value in module.parameters()
    }
    return copy.deepcopy(module, shared)


def _cut_rows(model: PreTrainedModel, rows: int) -> None:
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    assert isinstance(embedding, nn.Embedding)
    for module, count in ((embedding, "num_embeddings"), (head, "out_features")):
        for value in module.parameters():
            value.data = value.data[:rows]  # a tied one twice: the second time nothing is left to cut
        setattr(module, count, rows)
    if embedding.padding_idx is not None and embedding.padding_idx >= rows:
        embedding.padding_idx = None
    model.config.get_text_config().vocab_size = rows


def map_of_cut(whole: ModelMap, model: PreTrainedModel, layers: Sequence[int]) -> ModelMap:
    """The map of `model`, cut from one whose map is `whole`: its layer `i` was layer `layers[i]`."""
    path, _ = decoder_stack(model)
    names = {
        name: name if at is None else f"{path}.{layers[at[0]]}.{at[1]}" for name, at in _places(model, path).items()
    }
    return _renamed(without_rows(whole), model, names)


def _widened(found: ModelMap, model: PreTrainedModel, places: Sequence[int]) -> ModelMap | None:
    """The map of `model`, whose layer `i` is like layer `places[i]` of the cut one, of which `found` is the map.

    None where layers are tied to each other: that is not to be seen in a few of them.
    """
    path, _ = decoder_stack(model)
    known = {portion.parameter for portion in found.portions}
    names = {
        name: name if at is None else f"{path}.{places[at[0]]}.{at[1]}" for name, at in _places(model, path).items()
    }
    return _renamed(found, model, names) if known >= set(names.values()) else None


def _places(model: PreTrainedModel, path: str) -> dict[str, tuple[int, str] | None]:
    """For each parameter by name its layer and its name there; None outside the layers."""
    found: dict[str, tuple[int, str] | None] = {}
    for name, _ in model.named_parameters():
        number, _, own = name.removeprefix(f"{path}.").partition(".")
        found[name] = (int(number), own) if name.startswith(f"{path}.") else None
    return found


def _renamed(known: ModelMap, model: PreTrainedModel, names: Mapping[str, str]) -> ModelMap:
    """The map of `model`, each of whose parameters has the roles of that in `known` that `names` gives for it."""
    portions: dict[str, list[Portion]] = {}
    for portion in known.portions:
        portions.setdefault(portion.parameter, []).append(portion)
    path, stack = decoder_stack(model)
    places = _places(model, path)
    shared: dict[int, list[str]] = {}
    for name, value in model.named_parameters(remove_duplicate=False):
        shared.setdefault(id(value), []).append(name)
    renamed = [
        replace(
            own,
            parameter=name,
            layer=None if (place := places[name]) is None else place[0],
            shape=tuple(value.shape),
            aliases=tuple(alias for alias in shared[id(value)] if alias != name),
        )
        for name, value in model.named_parameters()
        for own in portions[names[name]]
    ]
    tied = tuple(tuple(group) for group in shared.values() if len(group) > 1)
    return replace(known, layers=len(stack), portions=tuple(renamed), tied=tied)
