"""Do frozen matrices in int8 take a quarter of the memory, give nearly the same results, and stay proved unmoved?"""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from frostline.engine.int8_weights import dequantise, quantise, quantise_frozen
from frostline.plans import AppliedPlan, Plan, value_of
from frostline.plans.fused import FROZEN_SCALE
from frostline.recipe import LoraSettings
from tests.builders.models import FAMILIES, VOCABULARY, tiny_model

TOKENS = (torch.arange(40).reshape(2, 20) * 7 + 3) % (VOCABULARY - 3) + 3


def loss_of(model: PreTrainedModel, autocast: bool = False) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss: Tensor = model(input_ids=TOKENS, labels=TOKENS, use_cache=False).loss
    return loss


def in_int8(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.dtype == torch.int8]


def quantised_llama(plan: str = "train: [attn.qkv@2:]") -> AppliedPlan:
    applied = Plan.parse(plan).apply(tiny_model("llama"))
    quantise_frozen(applied)
    return applied


def relative_error(found: Tensor, exact: Tensor) -> float:
    difference = torch.linalg.vector_norm(found.double() - exact.double()).item()
    return float(difference / torch.linalg.vector_norm(exact.double()).item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("feature_dimension", [0, 1])
def test_a_product_with_random_weights_is_off_by_less_than_one_percent(
    feature_dimension: int, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, matrix = torch.randn(64, 768, generator=generator), torch.randn(512, 768, generator=generator)
    # Rows of very different sizes: each has a scale of its own.
    matrix *= torch.logspace(-4, 2, 512).unsqueeze(1)
    held = matrix if feature_dimension == 0 else matrix.t().contiguous()
    dequantised = dequantise(*quantise(held, feature_dimension), dtype)
    rebuilt = dequantised if feature_dimension == 0 else dequantised.t()
    for row in range(0, 512, 73):
        assert relative_error(hidden.to(dtype) @ rebuilt[row], hidden @ matrix[row]) < 0.01
    assert relative_error(F.linear(hidden.to(dtype), rebuilt), F.linear(hidden, matrix)) < 0.01


def test_no_value_is_off_by_more_than_a_step_and_zeros_stay_zeros() -> None:
    matrix = torch.randn(33, 65, generator=torch.Generator().manual_seed(1))
    matrix[3] = 0
    values, scale = quantise(matrix, 0)
    assert values.abs().max() == 127
    # Half a step of rounding, and up to half a unit at the edge, since the scale itself was rounded to bf16.
    assert bool(((dequantise(values, scale, torch.float32) - matrix).abs() <= scale).all())
    assert not dequantise(values, scale, torch.float32)[3].any()


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
def test_loss_and_gradients_are_those_of_the_dequantised_matrices_bit_for_bit(family: str, autocast: bool) -> None:
    plan = Plan.parse("train: [norm@1:, attn.q@2:, bias@1:]" if family != "llama" else "train: [norm@1:, attn.q@2:]")
    held, exact = (plan.apply(tiny_model(family)) for _ in range(2))
    assert quantise_frozen(held).matrices > 4
    for name in in_int8(held.model):
        layer, values = held.model.get_submodule(name.removesuffix(".weight")), held.model.get_parameter(name)
        exact.model.get_parameter(name).data = dequantise(values.data, layer.get_buffer(FROZEN_SCALE), torch.float32)
    losses = []
    for applied in (held, exact):
        loss = loss_of(applied.model, autocast)
        loss.backward()
        losses.append(loss)
    assert torch.equal(*losses)
    for (name, found), (_, expected) in zip(held.trainable_parameters(), exact.trainable_parameters(), strict=True):
        assert found.grad is not None
        assert expected.grad is not None
        assert torch.equal(found.grad, expected.grad), name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_goes_on_training_and_evaluating(family: str) -> None:
    applied = Plan.parse("train: [attn.v@2:]").apply(tiny_model(family))
    before = loss_of(applied.model).item()
    report = quantise_frozen(applied)
    assert report.matrices == len(in_int8(applied.model))
    assert report.largest_relative_error < 0.01
    loss = loss_of(applied.model)
    assert loss.item() == pytest.approx(before, rel=0.01)
    loss.backward()
    assert applied.verify().moved == ()
    with torch.inference_mode():
        assert applied.model(input_ids=TOKENS[:1, :3]).logits.isfinite().all()


def test_matrices_that_ever_train_split_ones_embeddings_head_norms_and_biases_stay_as_they_are() -> None:
    applied = Plan.parse("train: [attn.q@3]; at 5 thaw: [mlp@1]; at 7 freeze: [mlp@1]").apply(tiny_model("gpt_neox"))
    quantise_frozen(applied)
    matrices = ("attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
    kept = {(1, "mlp.dense_h_to_4h"), (1, "mlp.dense_4h_to_h"), (3, "attention.query_key_value")}
    assert in_int8(applied.model) == [
        f"gpt_neox.layers.{layer}.{matrix}.weight"
        for layer in range(4)
        for matrix in matrices
        if (layer, matrix) not in kept
    ]
    applied.advance(5)
    applied.advance(7)
    assert applied.verify().moved == ()


@pytest.mark.parametrize(("tied", "expected"), [(False, ["lm_head.weight"]), (True, [])])
def test_the_head_is_held_in_int8_only_where_asked_and_not_tied(tied: bool, expected: list[str]) -> None:
    applied = Plan.parse("train: [attn, mlp]").apply(tiny_model("llama", tie_word_embeddings=tied))
    assert quantise_frozen(applied).matrices == 0
    assert quantise_frozen(applied, except_head=False).matrices == len(expected)
    assert in_int8(applied.model) == expected


def test_the_report_counts_bytes_and_the_memory_of_the_exact_matrices_is_freed() -> None:
    applied = Plan.parse("train: [attn]").apply(tiny_model("llama"))
    names = [
        f"model.layers.{layer}.mlp.{matrix}_proj.weight" for layer in range(4) for matrix in ("gate", "up", "down")
    ]
    exact = [StorageWeakRef(applied.model.get_parameter(name).untyped_storage()) for name in names]
    report = quantise_frozen(applied)
    assert in_int8(applied.model) == names
    assert report.matrices == 12
    assert report.bytes_before == 12 * 4 * 32 * 48
    assert report.bytes_after == 12 * 32 * 48 + 4 * 4 * (48 + 48 + 32)
    assert 0 < report.largest_relative_error < 0.01
    assert all(storage.expired() for storage in exact)


def test_the_dequantised_matrix_is_not_kept_for_the_backward_pass() -> None:
    layer = quantised_llama().model.get_submodule("model.layers.0.mlp.up_proj")
    kept: list[Tensor] = []

    def note(saved: Tensor) -> Tensor:
        kept.append(saved)
        return saved

    hidden = torch.ones(2, 5, 32, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
        layer(hidden).sum().backward()
    assert hidden.grad is not None
    assert [(saved.dtype, tuple(saved.shape)) for saved in kept] == [
        (torch.int8, (48, 32)),
        (torch.float32, (48, 1)),
    ]


def test_verify_notices_a_change_of_a_value_or_of_a_scale() -> None:
    name = "model.layers.1.mlp.down_proj"
    for moved in ("weight", FROZEN_SCALE):
        applied = quantised_llama()
        assert applied.verify().moved == ()
        layer = applied.model.get_submodule(name)
        with torch.no_grad():
            {**dict(layer.named_parameters()), **dict(layer.named_buffers())}[moved][0] += 1
        assert applied.verify().moved == (f"{name}.weight",)


def test_value_of_gives_the_dequantised_matrix_also_of_a_portion() -> None:
    applied = Plan.parse("train: [mlp]").apply(tiny_model("gpt2"))
    exact = {portion.name: value_of(applied.model, portion).clone() for portion in applied.select(["attn.k"])}
    quantise_frozen(applied)
    for portion in applied.select(["attn.k"]):
        assert 0 < relative_error(value_of(applied.model, portion), exact[portion.name]) < 0.01


def test_scales_are_in_no_state_dict_and_parameters_keep_their_names() -> None:
    untouched = tiny_model("llama")
    model = quantised_llama().model
    assert list(model.state_dict()) == list(untouched.state_dict())
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in untouched.named_parameters()]


def test_the_frozen_matrices_under_adapters_are_held_in_int8() -> None:
    plan = Plan(lora=LoraSettings(rank=2, targets=("attn.q",)))
    applied = plan.apply(tiny_model("llama"))
    quantise_frozen(applied)
    held = in_int8(applied.model)
    assert "model.layers.0.self_attn.q_proj.base_layer.weight" in held
    assert len(held) == 4 * 7
    loss_of(applied.model).backward()
    assert all(parameter.grad is not None for _, parameter in applied.trainable_parameters())
    assert applied.verify().moved == ()


def test_a_layer_that_is_given_its_exact_matrix_back_is_exact_again() -> None:
    base = tiny_model("gpt2")
    applied = Plan.parse("train: [attn.qkv@2:]").apply(tiny_model("gpt2"))
    quantise_frozen(applied)
    assert not torch.equal(loss_of(applied.model), loss_of(base))
    for name, parameter in applied.model.named_parameters():
        if parameter.dtype == torch.int8:
            parameter.data = base.get_parameter(name).data
    assert torch.equal(loss_of(applied.model), loss_of(base))
    for portion in applied.resolved.portions:
        assert torch.equal(applied.value_of(portion), value_of(base, portion))


def test_a_deep_copy_holds_matrices_of_its_own() -> None:
    model = quantised_llama().model
    before = loss_of(model)
    copied = copy.deepcopy(model)
    assert torch.equal(loss_of(copied), before)
    for module in copied.modules():
        if isinstance(module, nn.Linear | Conv1D) and module.weight.dtype == torch.int8:
            module.get_buffer(FROZEN_SCALE).mul_(2)
    assert not torch.equal(loss_of(copied), before)
    assert torch.equal(loss_of(model), before)
