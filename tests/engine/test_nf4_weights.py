"""Do frozen matrices in nf4 take a seventh of the memory, compute as what they stand for, and stay proved unmoved?"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from frostline.engine.nf4_weights import BYTES_PER_WEIGHT, pack, pack_frozen_in_nf4, unpack
from frostline.plans import UNPACKED, AppliedPlan, Plan, value_of
from tests.builders.batches import random_batch
from tests.builders.engines import fast_part, make_pair
from tests.builders.models import VOCABULARY, tiny_model

pytest.importorskip("bitsandbytes")
TOKENS = (torch.arange(40).reshape(2, 20) * 7 + 3) % (VOCABULARY - 3) + 3
PLAN = "train: [norm@1:, attn.q@2:]"


def loss_of(model: PreTrainedModel, autocast: bool = False) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss: Tensor = model(input_ids=TOKENS, labels=TOKENS, use_cache=False).loss
    return loss


def in_nf4(model: PreTrainedModel) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.dtype == torch.uint8]


def packed(family: str, plan: str = PLAN) -> AppliedPlan:
    applied = Plan.parse(plan).apply(tiny_model(family))
    pack_frozen_in_nf4(applied)
    return applied


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(64, 96), (33, 65), (5, 7)])
def test_a_matrix_comes_back_nearly_in_half_a_byte_a_weight(shape: tuple[int, int], dtype: torch.dtype) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    matrix[2] = 0
    values, absmax = pack(matrix)
    back = unpack(values, absmax, dtype, shape=matrix.shape)
    assert back.shape == matrix.shape
    assert back.dtype == dtype
    assert torch.linalg.vector_norm(back.float() - matrix.float()) < 0.12 * torch.linalg.vector_norm(matrix.float())
    assert not back[2].any()
    assert values.nbytes + absmax.nbytes <= BYTES_PER_WEIGHT * matrix.numel() + 8


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
def test_loss_and_gradients_are_those_of_the_matrices_that_it_stands_for_bit_for_bit(
    family: str, autocast: bool
) -> None:
    held, exact = packed(family), Plan.parse(PLAN).apply(tiny_model(family))
    assert len(in_nf4(held.model)) > 4
    for name in in_nf4(held.model):
        layer = held.model.get_submodule(name.removesuffix(".weight"))
        exact.model.get_parameter(name).data.copy_(vars(layer)[UNPACKED]())
    for portion in held.resolved.portions:
        assert torch.equal(value_of(held.model, portion), value_of(exact.model, portion)), portion.name
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


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gemma2", "phi3", "opt", "qwen3"])
def test_families_go_on_training_and_what_is_frozen_stays(family: str) -> None:
    applied = Plan.parse("train: [attn.v@2:]").apply(tiny_model(family))
    before = loss_of(applied.model).item()
    report = pack_frozen_in_nf4(applied)
    assert report.matrices == len(in_nf4(applied.model)) > 0
    assert 0 < report.largest_relative_error < 0.12
    assert report.bytes_after < report.bytes_before / 6
    loss = loss_of(applied.model)
    assert loss.item() == pytest.approx(before, rel=0.1)
    loss.backward()
    assert applied.verify().moved == ()
    name = in_nf4(applied.model)[0]
    applied.model.get_parameter(name).data[0] ^= 0x11
    assert [moved.partition("[")[0] for moved in applied.verify().moved] == [name] * len(applied.verify().moved)
    assert applied.verify().moved


def test_a_copy_of_the_model_has_matrices_of_its_own() -> None:
    applied = packed("llama")
    copied = copy.deepcopy(applied.model)
    expected = loss_of(copied)
    for name in in_nf4(applied.model):
        applied.model.get_parameter(name).data.zero_()
    assert torch.equal(loss_of(copied), expected)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_engine_trains_with_it_says_so_and_gives_the_base_back(precision: str) -> None:
    base = tiny_model("llama")
    plain, fast = make_pair(base, "train: [attn.qkv@50%:]", precision=precision, frozen_weights="nf4")
    (note, *_) = fast_part(fast).fitted.notes
    assert note.startswith("22 frozen matrices are held in nf4: inexact, by up to ")
    for step in range(4):
        expected = plain.take_step(random_batch(step), step).loss_nats
        assert fast.take_step(random_batch(step), step).loss_nats == pytest.approx(expected, rel=0.1)
    assert not fast.applied.verify().moved
    fast.forward.finish()
    trained = dict(fast.applied.trainable_parameters())
    for name, parameter in fast.model.named_parameters():
        assert name in trained or torch.equal(parameter, base.get_parameter(name)), name
