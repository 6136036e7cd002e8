"""How does what an arm has trained become a patch? By the names of the base's files, in their types.

An arm trains portions of parameters. A file may call a parameter by another name (that of the body alone), hold a tied
one twice, or hold as many tensors what the model joins when it is loaded (experts): then transformers' own way back is
asked. What has no place in the files is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from frostline.arms import Prepared
from frostline.errors import FrostlineError
from frostline.export.filed import NAMES, TYPES, BaseFiles, FiledTensor
from frostline.export.kept import Kept, planned_arm, trained_portions
from frostline.export.patch import NewTensor, Patch, Rows
from frostline.plans import Portion, merged_weight
from frostline.recipe import LoraSettings

WIDE = "float32"
"""The type of trained tensors that loses nothing of what was trained; else they have that of the base's file."""
FACTORS = ("lora_A.default.weight", "lora_B.default.weight")
"""What an arm calls the two factors of an adapter, below its module."""


@dataclass(frozen=True)
class _Changed:
    """A parameter of which something has trained."""

    portion: Portion
    """One of its portions: they have its name and shape in common."""
    make: Callable[[], Tensor]
    """Gives the trained values, in fp32."""
    rows: Rows | None
    """Where they belong; None for all of it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the trained values."""
        shape = list(self.portion.shape)
        if self.rows is not None:
            shape[self.rows.dimension] = self.rows.count
        return tuple(shape)


def patch_of(kept: Kept, prepared: Prepared, weights: Mapping[str, Tensor], base: BaseFiles, *, dtype: str) -> Patch:
    """What the arm has trained, `weights`, as a patch of `base`; its tensors are made when they are written."""
    lora, model = planned_arm(kept, prepared).resolved.lora, prepared.model
    tensors: dict[str, NewTensor] = {}
    joined: dict[str, Tensor] = {}
    for portions in _by_parameter(trained_portions(kept, prepared)):
        changed = _merged(portions[0], weights, lora, model) or _trained(portions, weights)
        keys = _keys(changed.portion, model, base)
        tensors |= {key: _new_tensor(base.tensors[key], changed.make, changed, dtype) for key in keys}
        if not keys:
            joined[changed.portion.parameter] = _filled(model, changed)
    for key, values in _taken_apart(joined, model, base).items():
        own = _type_of(base.tensors[key], dtype)
        tensors[key] = NewTensor(own, tuple(values.shape), partial(values.to, TYPES[own]))
    in_order = {key: tensors[key] for key in base.tensors if key in tensors}
    return Patch(in_order, hub_id(kept), kept.variant.prepared.model_revision or "")


def hub_id(kept: Kept) -> str:
    """Hub id of the base model; '' where it is none."""
    return kept.variant.prepared.model if kept.variant.prepared.model_revision is not None else ""


def factors_of(module: str, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
    """A and B of the adapter of `module`; None where it has none, or it was merged."""
    names = [f"{module}.{name}" for name in FACTORS]
    return (weights[names[0]], weights[names[1]]) if names[0] in weights else None


def narrowed(patch: Patch) -> bool:
    """Whether some tensor is held in fewer bits than it was trained in."""
    return any(TYPES[own.dtype].itemsize < torch.float32.itemsize for own in patch.tensors.values())


def _by_parameter(portions: Sequence[Portion]) -> list[list[Portion]]:
    found: dict[str, list[Portion]] = {}
    for portion in portions:
        found.setdefault(portion.parameter, []).append(portion)
    return list(found.values())


def _merged(
    portion: Portion, weights: Mapping[str, Tensor], lora: LoraSettings | None, model: PreTrainedModel
) -> _Changed | None:
    """The matrix of `portion` with its adapter; None where it carries none."""
    name = portion.parameter.removesuffix(".weight")
    factors = factors_of(name, weights)
    if lora is None or factors is None:
        return None
    transposed = isinstance(model.get_submodule(name), Conv1D)

    def make() -> Tensor:
        weight = model.get_parameter(portion.parameter).detach().cpu()
        return merged_weight(weight, factors, lora, transposed=transposed)

    return _Changed(portion, make, None)


def _trained(portions: Sequence[Portion], weights: Mapping[str, Tensor]) -> _Changed:
    """What has trained of one parameter: all of it, or rows."""
    first = portions[0]
    if first.parameter in weights:
        return _Changed(first, partial(weights.__getitem__, first.parameter), None)
    missing = [portion.name for portion in portions if portion.name not in weights]
    if missing:
        raise FrostlineError(f"the kept weights do not hold '{missing[0]}', which the plan trains.", "Run it again.")
    runs = [run for portion in portions for run in portion.indices or ()]
    rows = Rows(first.dimension, tuple((run.start, run.stop, run.step) for run in runs))

    def make() -> Tensor:
        return torch.cat([weights[portion.name] for portion in portions], rows.dimension)

    if rows.count < first.shape[rows.dimension]:
        return _Changed(first, make, rows)

    def make_whole() -> Tensor:
        values = make()
        return torch.empty_like(values).index_copy_(rows.dimension, rows.places(), values)

    return _Changed(first, make_whole, None)


def _filled(model: PreTrainedModel, changed: _Changed) -> Tensor:
    """The whole parameter as it is after training."""
    values = changed.make()
    if changed.rows is None:
        return values
    whole = model.get_parameter(changed.portion.parameter).detach().cpu().float().clone()
    return whole.index_copy_(changed.rows.dimension, changed.rows.places(), values)


def _keys(portion: Portion, model: PreTrainedModel, base: BaseFiles) -> list[str]:
    """What the files call the parameter of `portion`: several names where it is tied and they hold it twice."""
    found = []
    for name in (portion.parameter, *portion.aliases):
        for key in dict.fromkeys((name, name.removeprefix(f"{model.base_model_prefix}."))):
            if key in base.tensors and base.tensors[key].shape == portion.shape:
                found.append(key)
                break
    return found


def _taken_apart(joined: dict[str, Tensor], model: PreTrainedModel, base: BaseFiles) -> dict[str, Tensor]:
    """Parameters that the files do not have by their names, as the tensors of which loading has made them."""
    if not joined:
        return {}
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:  # older versions join nothing
        apart = dict(joined)
    else:
        apart = revert_weight_conversion(model, dict(joined))
    for key, values in apart.items():
        if key not in base.tensors or base.tensors[key].shape != tuple(values.shape):
            raise FrostlineError(
                f"the base model's files hold nothing that is called '{key}', so that it cannot be exported.",
                "Save the base with this version's save_pretrained, and train that.",
            )
    return apart


def _new_tensor(filed: FiledTensor, make: Callable[[], Tensor], changed: _Changed, dtype: str) -> NewTensor:
    own = _type_of(filed, dtype)
    return NewTensor(own, changed.shape, partial(_cast, make, own), changed.rows)


def _type_of(filed: FiledTensor, dtype: str) -> str:
    return NAMES[torch.float32] if dtype == WIDE and filed.dtype in ("BF16", "F16") else filed.dtype


def _cast(make: Callable[[], Tensor], dtype: str) -> Tensor:
    return make().to(TYPES[dtype])
