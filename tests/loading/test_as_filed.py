"""Matrices of a 16-bit file stay as they are, and the model computes what it computes in fp32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaAttention

from frostline.engine import autocast
from frostline.loading.pretrained import load_model
from frostline.measures import identify
from frostline.recipe import ModelSettings
from frostline.tensor_bytes import value_type
from tests.builders.filed import write_both
from tests.builders.models import FAMILIES, tiny_model

IN_FP32 = {"opt": 0.9, "falcon": 0.05, "mixtral": 0.15, "gpt_oss": 0.15, "qwen3_moe": 0.15}
"""Largest share that stays in 16 bits where some are fp32: stacked experts, linear layers of a class of their own."""
CPU = torch.device("cpu")


def load(folder: Path, *, as_filed: str | None) -> PreTrainedModel:
    model = load_model(ModelSettings(source=str(folder)), folder, as_filed=as_filed)
    model.train(False)
    return model


def share_as_filed(model: PreTrainedModel) -> float:
    """Share of the matrices' values that are held in 16 bits."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    filed = sum(parameter.numel() for parameter in matrices if parameter.dtype != torch.float32)
    return filed / sum(parameter.numel() for parameter in matrices)


def logits(model: PreTrainedModel, precision: str) -> torch.Tensor:
    ids = torch.randint(3, 90, (3, 24), generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    with torch.no_grad(), autocast(precision, CPU):
        found: torch.Tensor = model(input_ids=ids, use_cache=False).logits
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_computes_from_its_bf16_file_what_it_computes_in_fp32(family: str, tmp_path: Path) -> None:
    narrow, wide = write_both(tmp_path, tiny_model(family))
    plain = load(wide, as_filed=None)
    for precision in ("fp32", "bf16"):
        filed = load(narrow, as_filed=precision)
        assert share_as_filed(filed) > IN_FP32.get(family, 0.99)
        assert all(parameter.dtype == torch.float32 for parameter in filed.parameters() if parameter.ndim < 2)
        assert torch.equal(logits(filed, precision), logits(plain, precision))
    assert identify(filed).sha256 == identify(plain).sha256
    assert identify(filed).configuration_sha256 == identify(plain).configuration_sha256


def test_fp16_files_and_shards_are_taken_alike(tmp_path: Path) -> None:
    narrow, wide = write_both(tmp_path, tiny_model("llama"), torch.float16, shards=True)
    filed, plain = load(narrow, as_filed="fp32"), load(wide, as_filed=None)
    assert {parameter.dtype for parameter in filed.parameters()} == {torch.float16, torch.float32}
    for precision in ("fp32", "bf16"):
        assert torch.equal(logits(filed, precision), logits(plain, precision))


def test_types_that_are_mixed_in_a_file_are_kept_each(tmp_path: Path) -> None:
    narrow, _ = write_both(tmp_path, tiny_model("llama"))
    file = narrow / "model.safetensors"
    tensors = load_file(file)
    name = "model.layers.1.mlp.down_proj.weight"
    tensors[name] = tensors[name].float() + 2.0**-20  # no bf16 number
    save_file(tensors, file, {"format": "pt"})
    filed = load(narrow, as_filed="fp32")
    assert filed.get_parameter(name).dtype == torch.float32
    assert torch.equal(filed.get_parameter(name), tensors[name])
    assert filed.get_parameter("model.layers.0.mlp.down_proj.weight").dtype == torch.bfloat16
    assert torch.equal(logits(filed, "fp32"), logits(load(narrow, as_filed=None), "fp32"))


def test_unless_it_is_asked_for_a_model_is_in_fp32(tmp_path: Path) -> None:
    narrow, _ = write_both(tmp_path, tiny_model("gemma2"))
    model = load(narrow, as_filed=None)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_family_that_goes_by_the_type_of_a_matrix_has_those_layers_in_fp32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow, wide = write_both(tmp_path, tiny_model("llama"))
    plain = load(wide, as_filed=None)
    run = LlamaAttention.forward

    def by_type(self: LlamaAttention, hidden_states: torch.Tensor, **kwargs: object) -> object:
        query = self.get_submodule("q_proj")
        assert isinstance(query, nn.Linear)
        return run(self, hidden_states.to(query.weight.dtype).float(), **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(LlamaAttention, "forward", by_type)
    said: list[str] = []
    filed = load_model(ModelSettings(source=str(narrow)), narrow, as_filed="fp32", say=said.append)
    assert said == ["Layers of this LlamaForCausalLM are held in fp32: it uses their 16-bit matrices otherwise."]
    in_layers = {parameter.dtype for name, parameter in filed.named_parameters() if ".layers." in name}
    assert in_layers == {torch.float32}
    assert filed.get_input_embeddings().weight.dtype == torch.bfloat16
    assert torch.equal(logits(filed, "fp32"), logits(plain, "fp32"))


def test_a_hash_is_that_of_the_values() -> None:
    assert value_type(torch.zeros(1, dtype=torch.bfloat16)) == torch.float32
    assert value_type(torch.zeros(1, dtype=torch.int8)) == torch.int8
