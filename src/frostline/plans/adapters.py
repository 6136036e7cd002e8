"""How does an arm train low-rank adapters instead of the weights themselves?

LoRA (Hu et al. 2021, arXiv:2106.09685): a matrix W stays frozen and W + (alpha / rank) B A is used in its place; B
starts at zero, so that the first step sees the untouched model. The adapters are those of `peft` (extra `lora`), put
into the model itself with `peft.inject_adapter_in_model` rather than around it with `get_peft_model`: the object, its
class, `forward`, `past_key_values`, `base_model` and `get_output_embeddings` stay what they were. What changes is that
an adapted module stands one level down, at `MODULE.base_layer`, and so do its parameters' names; `merge_adapters` puts
the plain modules back.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import re
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from frostline.errors import MissingExtraError, PlanError, nearest
from frostline.plans.types import Portion
from frostline.recipe import LoraSettings

ADAPTER = "default"
"""The name that peft gives the one adapter of a module; it is part of the adapter's parameter names."""
SUITABLE = "Target linear layers, such as 'attn.qkv' or 'attn.o'."


def adapter_scale(lora: LoraSettings) -> float:
    """alpha / rank, the factor before B A."""
    return (2 * lora.rank if lora.alpha is None else lora.alpha) / lora.rank


def merged_weight(weight: Tensor, factors: tuple[Tensor, Tensor], lora: LoraSettings, *, transposed: bool) -> Tensor:
    """`weight` with the adapter of A and B in it, in fp32: the bits of `merge_adapters`.

    `transposed` where the weight is stored as [in, out], as `Conv1D` has it.
    """
    scale = adapter_scale(lora) * lora.rank / lora.rank  # as peft comes by it
    delta = scale * (factors[1] @ factors[0])
    return weight.float() + (delta.T if transposed else delta)


def adapter_modules(model: PreTrainedModel, targets: Sequence[Portion]) -> tuple[str, ...]:
    """Full names of the linear modules that own `targets`, in the order given.

    Raises `PlanError` where a target is not the whole matrix of a linear layer: a part of a fused matrix, a norm, a
    bias, an embedding (or a head tied to it), stacked experts.
    """
    wanted: dict[str, list[Portion]] = {}
    for portion in targets:
        wanted.setdefault(portion.parameter, []).append(portion)
    for parameter, portions in wanted.items():
        if any(portion.of_rows for portion in portions):
            raise PlanError(f"rows of the vocabulary cannot carry an adapter, and '{parameter}' is one.", SUITABLE)
        missing = math.prod(portions[0].shape) - sum(portion.values for portion in portions)
        if missing:
            roles = " and ".join(portion.role for portion in portions)
            raise PlanError(
                f"'{parameter}' is a fused matrix, of which {roles} is a part: an adapter covers the whole matrix.",
                "Target all of its roles together, such as 'attn.qkv', or 'mlp.gate' with 'mlp.up'.",
            )
        if not parameter.endswith(".weight") or len(portions[0].shape) != 2:
            raise PlanError(
                f"'{parameter}' ({portions[0].role}) cannot carry an adapter: it is not the matrix of a linear layer.",
                SUITABLE,
            )
    modules = tuple(parameter.removesuffix(".weight") for parameter in wanted)
    _refuse_unsuitable(model, modules)
    return modules


def require_peft() -> None:
    """Raise `MissingExtraError` where peft is not installed."""
    if importlib.util.find_spec("peft") is None:
        raise MissingExtraError(
            "An arm with 'lora' needs the package 'peft'.", 'Install it: pip install "frostline[lora]"'
        )


def inject_adapters(
    model: PreTrainedModel, lora: LoraSettings, modules: Sequence[str], *, seed: int
) -> PreTrainedModel:
    """Put one adapter on each of `modules` (full names), in place; afterwards only adapters require a gradient.

    Returns the same `model`. Each A is drawn (uniform, as peft does) from a generator of its own, keyed by `seed` and
    the module's name: neither the global random state nor the other targets matter, nor are they touched. The bytes of
    the base weights do not change. Raises `MissingExtraError` without peft, `PlanError` for a module that cannot carry
    an adapter.
    """
    require_peft()
    _refuse_unsuitable(model, modules)
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=adapter_scale(lora) * lora.rank,  # type: ignore[arg-type]  # annotated int, but only divided by r
        lora_dropout=0.0,
        bias="none",
        # A list would be matched by the names' endings, and be shortened where it is long: a pattern is matched whole.
        target_modules="|".join(re.escape(name) for name in modules),
        fan_in_fan_out=all(isinstance(model.get_submodule(name), Conv1D) for name in modules),
    )
    accelerators = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(accelerators), warnings.catch_warnings():
        # nn.Linear and Conv1D in one plan: peft corrects its setting module by module, and warns each time.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
        inject_adapter_in_model(config, model, adapter_name=ADAPTER)
    adapted = adapted_modules(model)
    if set(adapted) != set(modules):
        unexpected = ", ".join(sorted(set(adapted) ^ set(modules)))
        raise PlanError(f"peft put adapters on other modules than the plan asked for: {unexpected}.")
    for name in adapted:
        for side in ("lora_A", "lora_B"):
            # peft makes them in the type of the weight below, which may be held as its file has it.
            factor = _factor(model, name, side)
            factor.data = factor.data.float()
        _draw_adapter(_factor(model, name, "lora_A"), seed, name)
    return model


def adapted_modules(model: nn.Module) -> list[str]:
    """Full names of the modules that carry an adapter, in the model's order."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(getattr(module, "lora_A", None), nn.ModuleDict) and hasattr(module, "base_layer")
    ]


def adapter_delta(model: nn.Module, module: str) -> Tensor:
    """(alpha / rank) B A of an adapted module, in the shape in which its weight is stored."""
    from peft.tuners.lora import LoraLayer

    layer = model.get_submodule(module)
    if not isinstance(layer, LoraLayer):
        raise PlanError(f"'{module}' carries no adapter.", nearest(module, adapted_modules(model)))
    scale: float = layer.scaling[ADAPTER]
    product = scale * (_factor(model, module, "lora_B") @ _factor(model, module, "lora_A"))
    return product.T if isinstance(layer.get_base_layer(), Conv1D) else product


@torch.no_grad()
def merge_adapters(model: PreTrainedModel) -> PreTrainedModel:
    """Add each adapter into the weight below it and put the plain module back, in place; returns the same `model`.

    The result has the parameter names it had before `inject_adapters`, and saves with `save_pretrained`.
    """
    for name in adapted_modules(model):
        delta = adapter_delta(model, name)
        base = model.get_submodule(f"{name}.base_layer")
        weight = base.get_parameter("weight")
        weight.add_(delta)
        model.set_submodule(name, base)
    if hasattr(model, "peft_config"):
        del model.peft_config
    return model


def _factor(model: nn.Module, module: str, side: str) -> nn.Parameter:
    """A (`lora_A`, [rank, in]) or B (`lora_B`, [out, rank]) of an adapted module."""
    return model.get_parameter(f"{module}.{side}.{ADAPTER}.weight")


@torch.no_grad()
def _draw_adapter(matrix: nn.Parameter, seed: int, name: str) -> None:
    """Kaiming-uniform with a = sqrt(5), peft's own distribution, from a generator keyed by seed and name."""
    key = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key, "big") % 2**63)
    values = torch.empty(matrix.shape, dtype=torch.float32)
    nn.init.kaiming_uniform_(values, a=math.sqrt(5), generator=generator)
    matrix.copy_(values)


def _refuse_unsuitable(model: PreTrainedModel, modules: Sequence[str]) -> None:
    if not modules:
        raise PlanError("The adapters have no target.", "Name matrices under 'targets', such as 'attn.qkv'.")
    embedding = model.get_input_embeddings()
    for name in modules:
        module = model.get_submodule(name)
        if not isinstance(module, nn.Linear | Conv1D):
            raise PlanError(
                f"'{name}' ({type(module).__name__}) cannot carry an adapter: it is not a linear layer.",
                SUITABLE,
            )
        if module.weight is embedding.weight:
            raise PlanError(
                f"'{name}' shares its weight with the embeddings: an adapter on it could not be merged.",
                SUITABLE,
            )
