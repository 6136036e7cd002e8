"""Is every weight of the model what lies in its files? By the report of the loader, and by the files' own bytes.

`from_pretrained` draws what it does not find, and leaves out what it has no place for; both silently. Its report tells
the keys. Where a tensor has one name in the file and in the model, its values are compared too; where transformers
joins or renames tensors as it loads (the experts of a mixture), the report is all there is.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypedDict

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedModel

from frostline.errors import ModelError
from frostline.loading.boundary import SOURCE_KEY
from frostline.loading.weight_files import StoredTensors
from frostline.storage import let_go_of

_PREFIXES = {
    "_orig_mod.": "Those are the names of a compiled model: save model._orig_mod.",
    "_fsdp_wrapped_module.": "Those are the names of a sharded model: save its full state dict.",
    "module.": "Those are the names of a wrapped model: save model.module.",
    "base_model.model.": "Those are the names of a model with adapters: merge them.",
}
_UNMERGED = re.compile(r"(^|\.)(base_layer|lora_(A|B|embedding_A|embedding_B|magnitude_vector))(\.|$)")
"""Tensors of low-rank adapters beside the matrices that they change, as peft names them in the model that it wraps."""
_HARMLESS = re.compile(
    r"(^|\.)("
    r"rotary_emb\.(inv_freq|cos_cached|sin_cached)|position_ids|masked_bias"
    r")$"
)
"""What older versions of transformers kept in the file, and newer ones compute."""
_MASK = re.compile(r"(^|\.)(attn|attention|self_attn|self_attention)\.bias$")
_HEADS = ("CausalLM", "LMHead", "LanguageModel")


class LoadingReport(TypedDict):
    """What `from_pretrained` says of its work."""

    missing_keys: Collection[str]
    unexpected_keys: Collection[str]
    mismatched_keys: Collection[tuple[str, tuple[int, ...], tuple[int, ...]]]


@dataclass(frozen=True)
class Loaded:
    """A model, how it was loaded, and the tensors of its files; None where the files are not known."""

    model: PreTrainedModel
    report: LoadingReport
    stored: StoredTensors | None
    shown: str
    """What errors call the model."""


def require_names_as_stored(loaded: Loaded) -> None:
    """Raise `ModelError` for the first weight that is missing, left out or of another shape; no value is read."""
    _require_merged(loaded)
    _require_shapes(loaded)
    _require_none_missing(loaded)
    _require_none_left_out(loaded)


def require_as_stored(loaded: Loaded) -> None:
    """Raise `ModelError` for the first weight that is missing, left out, of another shape or value, or not finite."""
    require_names_as_stored(loaded)
    compared = frozenset[str]() if loaded.stored is None else _require_values(loaded, loaded.stored)
    for name, parameter in loaded.model.named_parameters():
        if name not in compared:
            _require_finite(loaded, name, parameter.detach())
            let_go_of((parameter,))


def _require_merged(loaded: Loaded) -> None:
    """Raise `ModelError` where the files hold a model that peft wrapped, as a trainer saves it unasked."""
    name = next((name for name in loaded.stored or {} if _UNMERGED.search(name)), None)
    if name is not None and name not in loaded.model.state_dict():
        raise _error(
            loaded,
            f"the file holds LoRA weights unmerged, such as '{name}'",
            "Merge them (merge_and_unload of peft), then save with save_pretrained.",
        )


def _require_shapes(loaded: Loaded) -> None:
    wrong = sorted(loaded.report["mismatched_keys"])
    if not wrong:
        return
    name, stored, expected = wrong[0]
    others = f" ({len(wrong) - 1} more are wrong)" if len(wrong) > 1 else ""
    rows = getattr(loaded.model.config.get_text_config(), "vocab_size", None)
    if "embed" in name or "wte" in name or "lm_head" in name or "embed_out" in name:
        is_vocabulary = len(stored) == len(expected) == 2 and stored[1] == expected[1] and expected[0] == rows
        if is_vocabulary:
            raise _error(
                loaded,
                f"config.json says vocab_size {expected[0]}, the file has {stored[0]} rows in '{name}'",
                f"Set vocab_size to {stored[0]} in config.json if the weights are right.",
            )
    raise _error(
        loaded,
        f"'{name}' is {_shape(stored)} in the file, and {_shape(expected)} by config.json{others}",
        "The configuration is not that of these weights.",
    )


def _require_none_missing(loaded: Loaded) -> None:
    state = loaded.model.state_dict(keep_vars=True)
    missing = set(loaded.report["missing_keys"])
    stored = loaded.stored
    if stored is not None and not _converts(loaded.model):
        # The report leaves out what a family declares that it can do without.
        held = {_address(tensor) for name, tensor in state.items() if _stored_name(name, stored, loaded.model)}
        missing |= {
            name
            for name, tensor in state.items()
            if isinstance(tensor, torch.nn.Parameter)
            and _stored_name(name, stored, loaded.model) is None
            and _address(tensor) not in held
            and not _computed(loaded.model, name)
        }
    if not missing:
        return
    name = min(missing, key=list(state).index) if missing <= state.keys() else min(missing)
    found, way_out = _what_is_there_instead(name, loaded)
    several = f"{len(missing)} of {len(state)} tensors are not in the file, the first is '{name}'"
    raise _error(loaded, (f"the file has no '{name}'" if len(missing) == 1 else several) + found, way_out)


def _require_none_left_out(loaded: Loaded) -> None:
    left_out = sorted(name for name in loaded.report["unexpected_keys"] if not _is_harmless(name, loaded.stored))
    if not left_out:
        return
    several = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
    raise _error(
        loaded,
        f"the file has '{left_out[0]}'{several}, for which the model of config.json has no place",
        _of_another_kind(loaded.model) or "The configuration is not that of these weights.",
    )


def _require_finite(loaded: Loaded, name: str, weight: Tensor) -> None:
    # A sum is quick, and finite only where all values are; it may be infinite where they are merely large.
    if not weight.sum().isfinite() and not weight.isfinite().all():
        raise _error(
            loaded, f"'{name}' has values that are not finite (NaN or infinite)", "Take an earlier checkpoint."
        )


def _require_values(loaded: Loaded, stored: StoredTensors) -> frozenset[str]:
    """Raise `ModelError` where a tensor is not what its file holds under the same name, cast to its own dtype.

    Gives the names of those that were compared, all of them finite: each is read once for both.
    """
    state = loaded.model.state_dict(keep_vars=True)
    names = {name: key for name in state if (key := _stored_name(name, stored, loaded.model)) is not None}
    whole = {key for name, key in names.items() if not state[name].is_floating_point()}
    whole_shapes = {tuple(tensor.shape) for tensor in state.values() if not tensor.is_floating_point()}
    for key, entry in stored.items():
        # What transformers renames as it loads is known by its shape alone: tables of whole numbers may be among it.
        renamed = key not in names.values() and entry.shape in whole_shapes
        if entry.is_float or key in whole or renamed or _is_left_out(key, loaded):
            continue
        finding = "is quantised" if entry.is_quantised else "holds no weights that can be trained"
        raise _error(loaded, f"'{key}' {finding} ({entry.dtype})", "Give the model's weights in fp32, bf16 or fp16.")
    for name, value in _values(names, stored):
        tensor = state[name].detach()
        if tensor.is_floating_point():
            _require_finite(loaded, name, tensor)
        same = value.shape == tensor.shape and torch.equal(value.to(tensor.dtype), tensor)
        let_go_of((tensor, value))  # a file is not to be in memory because it was looked at
        if same:
            continue
        if name in _tied_names(loaded.model):
            raise _error(
                loaded,
                f"'{name}' is tied to the embeddings by config.json, and the file has other values for it",
                "Set tie_word_embeddings to false in config.json if the file is right.",
            )
        raise _error(loaded, f"'{name}' is not what the file holds once it is loaded", "")
    _require_tied_alike(loaded, stored)
    return frozenset(names)


def _is_left_out(key: str, loaded: Loaded) -> bool:
    """Whether the tensor `key` of the files has no part in the model, and need not have any."""
    return _is_harmless(key, loaded.stored) or any(name.endswith(key) for name in loaded.report["unexpected_keys"])


def _require_tied_alike(loaded: Loaded, stored: StoredTensors) -> None:
    """Newer versions of transformers untie, silently, what the configuration ties and the file holds twice."""
    if getattr(loaded.model.config.get_text_config(), "tie_word_embeddings", False) is not True:
        return
    head, embeddings = loaded.model.get_output_embeddings(), loaded.model.get_input_embeddings()
    weights = [getattr(module, "weight", None) for module in (head, embeddings)]
    if not isinstance(weights[0], Tensor) or not isinstance(weights[1], Tensor):
        return
    name = next((name for name, module in loaded.model.named_modules() if module is head), "lm_head") + ".weight"
    if weights[0] is not weights[1] and name in stored and name in _tied_names(loaded.model):
        raise _error(
            loaded,
            f"'{name}' is tied to the embeddings by config.json, and the file has other values for it",
            "Set tie_word_embeddings to false in config.json if the file is right.",
        )


def _values(names: Mapping[str, str], stored: StoredTensors) -> Iterator[tuple[str, Tensor]]:
    """Each tensor of `names` (name in the model, name in the file), file by file."""
    for file in sorted({stored[key].file for key in names.values()}):
        with safe_open(file, framework="pt", device="cpu") as content:
            for name, key in names.items():
                if stored[key].file == file:
                    yield name, content.get_tensor(key)


def _stored_name(name: str, stored: StoredTensors, model: PreTrainedModel) -> str | None:
    """The name under which the file has tensor `name`: the same, or that of the body alone."""
    if name in stored:
        return name
    of_body = name.removeprefix(f"{model.base_model_prefix}.")
    return of_body if of_body != name and of_body in stored else None


def _converts(model: PreTrainedModel) -> bool:
    """Whether transformers joined or renamed tensors as it loaded `model`."""
    return bool(getattr(model, "_weight_conversions", None))


def _computed(model: PreTrainedModel, name: str) -> bool:
    """Whether the family's class declares that it computes `name`, and never saves it."""
    return any(re.search(pattern, name) for pattern in getattr(model, "_keys_to_ignore_on_save", None) or ())


def _tied_names(model: PreTrainedModel) -> set[str]:
    return set(getattr(model, "_tied_weights_keys", None) or ())


def _address(tensor: Tensor) -> tuple[int, torch.Size]:
    return tensor.data_ptr(), tensor.shape


def _is_harmless(name: str, stored: StoredTensors | None) -> bool:
    if _HARMLESS.search(name):
        return True
    entry = None if stored is None else stored.get(name) or stored.get(name.partition(".")[2])
    # A causal mask, which early versions kept: [1, 1, positions, positions].
    return bool(_MASK.search(name)) and entry is not None and len(entry.shape) == 4 and entry.shape[:2] == (1, 1)


def _what_is_there_instead(name: str, loaded: Loaded) -> tuple[str, str]:
    """The key of the file that comes nearest to `name`, in words, and what would work."""
    keys = loaded.stored or {}
    tail = name.removeprefix(f"{loaded.model.base_model_prefix}.")
    longer = next((key for key in keys if key.endswith(f".{tail}")), None)
    close = difflib.get_close_matches(name, list(keys), n=1, cutoff=0.6)
    key = longer or (close[0] if close else None)
    found = f"; it has '{key}'" if key is not None else ""
    for prefix, way_out in _PREFIXES.items():
        if any(key.startswith(prefix) for key in keys):
            return found, way_out
    if kind := _of_another_kind(loaded.model):
        return found, kind
    head = loaded.model.get_output_embeddings()
    if head is not None and any(module is head for module in [_module_of(loaded.model, name)]):
        return found, "It is a body without its head: save the causal language model, not its body."
    return found, "Save the whole model with save_pretrained."


def _module_of(model: PreTrainedModel, name: str) -> object:
    return dict(model.named_modules()).get(name.rpartition(".")[0])


def _of_another_kind(model: PreTrainedModel) -> str:
    """What the folder is by its configuration, where that is no causal language model."""
    architectures = getattr(model.config, "architectures", None) or []
    # Loading writes the class that was loaded into the model's configuration; what was saved is kept by the loader.
    other = next((name for name in architectures if not any(word in str(name) for word in _HEADS)), None)
    return "" if other is None else f"By config.json it is a {other}: give a causal language model."


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape) or "a single number"


def _error(loaded: Loaded, finding: str, way_out: str) -> ModelError:
    return ModelError(f"the weights of '{loaded.shown}': {finding}.", way_out).at(*SOURCE_KEY)
