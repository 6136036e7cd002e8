"""Is this the same model, under the same conditions? All that may change a bit of its forward pass, in one place.

Whatever is kept for later goes by it: arms, stored prefixes, signals; and a run that goes on, and `verify`, compare it.
What cannot change a bit is left out: where the model lies, what it is called, which version saved it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from frostline.machine import describe_machine
from frostline.measures.hashing import TensorDigests, state_tensors, tensor_digests
from frostline.measures.sampling import end_token_ids
from frostline.run_folder import DECIDING_FACTS

NAMES_AND_ORIGINS = frozenset({"_name_or_path", "name_or_path", "transformers_version", "architectures", "auto_map"})
"""Keys of a configuration that say what the model is called, where it lay and who saved it. The version that runs is a
fact of the machine, the class one of the model, and code that came with the model has its pin."""
IMPLEMENTATIONS = ("_attn_implementation", "_experts_implementation")
"""Attributes of a configuration, left out of its JSON, that choose kernels."""


@dataclass(frozen=True, eq=False)
class ModelIdentity:
    """What decides the bits of an untouched model's forward pass, apart from machine, device and precision."""

    model: PreTrainedModel
    configuration_sha256: str
    """SHA-256 of all that a weight file does not hold: class, configuration, code that came with the model, kernels,
    numbers and tensors of its modules, tokens at which a text ends."""

    @cached_property
    def weights(self) -> TensorDigests:
        """Hashes of parameters and persistent buffers, taken when first asked for."""
        return tensor_digests(state_tensors(self.model))

    @property
    def sha256(self) -> str:
        """SHA-256 of parameters and persistent buffers."""
        return self.weights.sha256

    def let_go(self) -> None:
        """Hold no weight's memory from now on: what was hashed is known, but an arm's copy is not told by it."""
        vars(self)["weights"] = self.weights.without_tensors()


def identify(model: PreTrainedModel, trusted_code: str | None = None) -> ModelIdentity:
    """The identity of `model`, just loaded; `trusted_code` is the pin of the code that came with it and was run.

    To be taken before the first forward pass: some families change tensors in one that no weight file holds.
    """
    parts = {
        "class": type(model).__name__,
        "code": trusted_code,
        "configuration": _without_names(json.loads(model.config.to_json_string(use_diff=False))),
        "implementations": {name: list(_implementations(model.config, name)) for name in IMPLEMENTATIONS},
        "numbers": {path: _numbers(module) for path, module in model.named_modules()},
        "computed tensors": tensor_digests(_computed_tensors(model)).sha256,
        "end": end_token_ids(model),
    }
    return ModelIdentity(model, hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest())


def forward_conditions(identity: ModelIdentity, device: torch.device, precision: str) -> dict[str, object]:
    """All that may change a bit of a forward pass over given tokens, as JSON values by name.

    Of a GPU it is the kind (`gpu` of the machine) and not the number.
    """
    machine = describe_machine()
    return {
        "weights": identity.sha256,
        "configuration": identity.configuration_sha256,
        "device": device.type,
        "precision": precision,
        "machine": {name: machine[name] for name in DECIDING_FACTS},
    }


def _computed_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a model that no weight file holds: other buffers, and plain attributes of modules."""
    saved = model.state_dict().keys()
    yield from ((name, own) for name, own in model.named_buffers(remove_duplicate=False) if name not in saved)
    for path, module in model.named_modules():
        yield from ((f"{path}.{name}", own) for name, own in vars(module).items() if isinstance(own, Tensor))


def _numbers(module: nn.Module) -> dict[str, int | float]:
    """What a module was made with, or given since: rates of dropout, scales, sizes."""
    return {name: own for name, own in vars(module).items() if isinstance(own, int | float) and name != "training"}


def _without_names(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_names(own) for key, own in value.items() if key not in NAMES_AND_ORIGINS}
    if isinstance(value, list):
        return [_without_names(own) for own in value]
    return value


def _implementations(config: PretrainedConfig, name: str, outer: object = None) -> Iterator[object]:
    """What `config` and those inside it choose, always in the same order; one that does not say has the outer one's."""
    own = getattr(config, name, None) or outer
    yield own
    for _, inner in sorted(vars(config).items()):
        if isinstance(inner, PretrainedConfig):
            yield from _implementations(inner, name, own)
