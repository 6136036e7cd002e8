"""How is a LoRA arm handed on as what it is? In PEFT's own format: its configuration, and A and B of each module.

PEFT keeps one file of tensors, which it names by the model that it wraps (`base_model.model.`), without the adapter's
name. Matrices stay in fp32, as they were trained: they are small.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from frostline.arms import Prepared
from frostline.errors import FrostlineError
from frostline.export.filed import NAMES
from frostline.export.kept import Kept, planned_arm, trained_portions
from frostline.export.trained import factors_of, hub_id
from frostline.export.writing import Entry, bytes_of, write_tensors
from frostline.plans import adapter_scale, require_peft

ADAPTER_FILE = "adapter_model.safetensors"
_WRAPPED = "base_model.model."


def require_adapter(kept: Kept, prepared: Prepared) -> None:
    """Raise `FrostlineError` where the arm trained no adapters, or kept them merged alone."""
    name = kept.arm.name
    if planned_arm(kept, prepared).resolved.lora is None:
        raise FrostlineError(
            f"arm {name} trains weights of the model itself, and an adapter is what a LoRA arm trains.",
            "Export it as a folder or as a patch.",
        )
    if kept.is_model:
        raise FrostlineError(
            f"of arm {name} the merged model was kept, and its adapters were not.",
            f"Keep them: run it again into another folder with --set 'save={{{name}: all}}'.",
        )
    require_peft()


def write_adapter(kept: Kept, prepared: Prepared, weights: Mapping[str, Tensor], folder: Path) -> int:
    """Write the adapters, `weights`, into the empty `folder` as PEFT does; the number of their values comes back."""
    from peft import LoraConfig, TaskType

    lora = planned_arm(kept, prepared).resolved.lora
    assert lora is not None
    modules = dict.fromkeys(own.parameter.removesuffix(".weight") for own in trained_portions(kept, prepared))
    alpha = adapter_scale(lora) * lora.rank
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        base_model_name_or_path=hub_id(kept) or None,
        revision=kept.variant.prepared.model_revision,
        inference_mode=True,
        r=lora.rank,
        lora_alpha=int(alpha) if alpha == int(alpha) else alpha,  # type: ignore[arg-type]  # it is only divided by r
        lora_dropout=0.0,
        bias="none",
        target_modules=list(modules),
        fan_in_fan_out=all(isinstance(prepared.model.get_submodule(name), Conv1D) for name in modules),
    )
    config.save_pretrained(str(folder))
    entries, values = [], 0
    for module in modules:
        factors = factors_of(module, weights)
        assert factors is not None
        for side, tensor in zip(("lora_A", "lora_B"), factors, strict=True):
            name, shape = f"{_WRAPPED}{module}.{side}.weight", tuple(tensor.shape)
            entries.append(Entry(name, NAMES[tensor.dtype], shape, tensor.nbytes, partial(bytes_of, tensor)))
            values += tensor.numel()
    write_tensors(folder / ADAPTER_FILE, entries, {"format": "pt"})
    return values


def with_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """`model` with the adapters in `folder` at work, as PEFT loads them; changed in place."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of transformers, at what PEFT asks it
        loaded: object = PeftModel.from_pretrained(model, str(folder)).get_base_model()
    assert isinstance(loaded, PreTrainedModel)
    return loaded
