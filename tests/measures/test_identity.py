"""Is whatever may change a bit of a forward pass part of a model's identity, and nothing else?"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from frostline import machine
from frostline.loading import load_model
from frostline.measures import ModelIdentity, forward_conditions, identify
from frostline.measures import identity as identity_module
from frostline.recipe import ModelSettings
from frostline.run_folder import DECIDING_FACTS
from tests.builders.gpu import StandInGpu
from tests.builders.models import FAMILIES, ROUTER_BIAS_FAMILIES, tiny_model

CPU = torch.device("cpu")
ALL_FAMILIES = (*FAMILIES, *ROUTER_BIAS_FAMILIES)


def hashes(model: PreTrainedModel) -> tuple[str, str]:
    own = identify(model)
    return own.sha256, own.configuration_sha256


def all_tensors(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Parameters, and buffers of both kinds."""
    yield from model.named_parameters()
    yield from model.named_buffers()


def with_a_bit_flipped(tensor: Tensor) -> Tensor:
    changed = tensor.detach().clone(memory_format=torch.contiguous_format)
    changed.view(-1).view(torch.uint8)[-1] ^= 1
    return changed


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_a_bit_of_any_tensor_counts(family: str) -> None:
    model = tiny_model(family, layers=2)
    before = hashes(model)
    assert hashes(copy.deepcopy(model)) == before
    for name, tensor in all_tensors(model):
        kept = tensor.detach().clone()
        with torch.no_grad():
            tensor.copy_(with_a_bit_flipped(tensor))
            assert hashes(model) != before, name
            tensor.copy_(kept)
    assert hashes(model) == before


@pytest.mark.parametrize("family", ROUTER_BIAS_FAMILIES)
def test_a_router_with_another_bias_computes_something_else(family: str) -> None:
    model = tiny_model(family)
    input_ids = torch.arange(40).view(2, 20)
    with torch.no_grad():
        before = model(input_ids=input_ids).logits
        model.get_buffer("model.layers.1.mlp.gate.e_score_correction_bias")[0] += 10
        assert not torch.equal(model(input_ids=input_ids).logits, before)


def rotary_base(model: PreTrainedModel) -> None:
    model.config.rope_parameters["rope_theta"] = 500.0


def norm_epsilon(model: PreTrainedModel) -> None:
    model.config.rms_norm_eps = 1e-2


def attention_kernel(model: PreTrainedModel) -> None:
    model.set_attn_implementation("eager")


def experts_kernel(model: PreTrainedModel) -> None:
    model.config._experts_implementation = "eager"


def end_of_text(model: PreTrainedModel) -> None:
    assert model.generation_config is not None
    model.generation_config.eos_token_id = 5


def number_of_a_module(model: PreTrainedModel) -> None:
    vars(model.get_submodule("model.layers.0.self_attn"))["scaling"] *= 2


def tensor_of_a_module(model: PreTrainedModel) -> None:
    vars(model.get_submodule("model.layers.0.self_attn"))["extra"] = torch.ones(2)


@pytest.mark.parametrize(
    "change",
    [
        rotary_base,
        norm_epsilon,
        attention_kernel,
        experts_kernel,
        end_of_text,
        number_of_a_module,
        tensor_of_a_module,
    ],
)
def test_what_no_weight_file_holds_counts(change: Callable[[PreTrainedModel], None]) -> None:
    model = tiny_model("glm4_moe")
    weights, configuration = hashes(model)
    change(model)
    assert hashes(model)[0] == weights
    assert hashes(model)[1] != configuration


def test_code_that_came_with_the_model_and_another_class_count() -> None:
    model = tiny_model("llama")
    before = identify(model).configuration_sha256
    assert identify(model, "sha256:ab").configuration_sha256 != before

    class Other(type(model)):  # type: ignore[misc]  # a class made at run time
        pass

    model.__class__ = Other
    assert identify(model).configuration_sha256 != before


def test_where_a_model_lies_and_who_saved_it_does_not_count(tmp_path: Path) -> None:
    tiny_model("gemma3_text").save_pretrained(tmp_path / "model")
    shutil.copytree(tmp_path / "model", tmp_path / "a copy" / "of another name")
    first, second = (
        load_model(ModelSettings(source=str(folder)), tmp_path)
        for folder in (tmp_path / "model", tmp_path / "a copy" / "of another name")
    )
    assert hashes(first) == hashes(second)
    second.save_pretrained(tmp_path / "saved again")
    path = tmp_path / "saved again" / "config.json"
    text = path.read_text()
    assert '"transformers_version": "' in text
    path.write_text(text.replace('"transformers_version": "', '"transformers_version": "4.'))
    assert hashes(load_model(ModelSettings(source=str(path.parent)), tmp_path)) == hashes(first)


def test_a_forward_pass_changes_neither_weights_nor_their_hash() -> None:
    model = tiny_model("glm4_moe")
    own, before = identify(model), identify(model).sha256
    with torch.no_grad():
        model(input_ids=torch.arange(10).view(1, 10))
    assert own.sha256 == before


def test_the_weights_are_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    own = identify(tiny_model("llama"))
    first = own.weights
    monkeypatch.setattr(identity_module, "tensor_digests", lambda named: pytest.fail("hashed again"))
    assert own.weights is first


@pytest.fixture(scope="module")
def own() -> ModelIdentity:
    return identify(tiny_model("llama"))


@pytest.mark.parametrize("fact", DECIDING_FACTS)
def test_versions_code_and_machine_count(own: ModelIdentity, monkeypatch: pytest.MonkeyPatch, fact: str) -> None:
    before = forward_conditions(own, CPU, "fp32")
    facts = machine.describe_machine()
    monkeypatch.setattr(identity_module, "describe_machine", lambda: {**facts, fact: "another"})
    assert forward_conditions(own, CPU, "fp32") != before


@pytest.mark.parametrize("fact", ["system", "memory", "cores", "polars"])
def test_what_the_machine_has_besides_does_not_count(
    own: ModelIdentity, monkeypatch: pytest.MonkeyPatch, fact: str
) -> None:
    before = forward_conditions(own, CPU, "fp32")
    facts = machine.describe_machine()
    monkeypatch.setattr(identity_module, "describe_machine", lambda: {**facts, fact: "another"})
    assert forward_conditions(own, CPU, "fp32") == before


def test_device_and_precision_count(own: ModelIdentity) -> None:
    found = [
        forward_conditions(own, *under) for under in ((CPU, "fp32"), (CPU, "bf16"), (torch.device("cuda"), "fp32"))
    ]
    assert found[0] != found[1] != found[2] != found[0]


def test_which_of_several_gpus_does_not_count_but_its_kind_does(own: ModelIdentity, gpu: StandInGpu) -> None:
    gpu.current = 0
    unnumbered, first = (forward_conditions(own, torch.device(name), "fp32") for name in ("cuda", "cuda:0"))
    gpu.current = 1
    assert unnumbered == first
    assert forward_conditions(own, torch.device("cuda:1"), "fp32") != first, "the second one is of another kind"
