"""Are the activations of the suffix recomputed, those of the prefix not, and nothing else changed?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from frostline.engine.int8_weights import quantise_frozen
from frostline.engine.partly_trained import use_needed_gradients
from frostline.engine.suffix_checkpointing import checkpoint_suffix, no_checkpointing
from frostline.errors import ModelError
from frostline.plans import AppliedPlan, Plan, decoder_stack
from tests.builders.models import FAMILIES, VOCABULARY, tiny_model

TOKENS = (torch.arange(40).reshape(2, 20) * 7 + 3) % (VOCABULARY - 3) + 3
DROPOUT: dict[str, dict[str, object]] = {
    "gpt2": {"resid_pdrop": 0.2, "attn_pdrop": 0.2, "embd_pdrop": 0.1},
    "gpt_neo": {"resid_dropout": 0.2, "attention_dropout": 0.2},
    "gpt_neox": {"hidden_dropout": 0.2, "attention_dropout": 0.2},
    "opt": {"dropout": 0.2, "attention_dropout": 0.2},
    "bloom": {"hidden_dropout": 0.2, "attention_dropout": 0.2},
    "phi3": {"resid_pdrop": 0.2, "attention_dropout": 0.2},
    "llama": {"attention_dropout": 0.2},
    "falcon": {"hidden_dropout": 0.2, "attention_dropout": 0.2},
}


def training(family: str, plan: str, changed: dict[str, object] | None = None) -> AppliedPlan:
    model = tiny_model(family)
    for name, value in (changed or {}).items():
        setattr(model.config, name, value)
    if changed:
        model = type(model)(model.config)
        model.load_state_dict(tiny_model(family).state_dict())
    applied = Plan.parse(plan).apply(model)
    model.train()
    return applied


def layers_of(model: PreTrainedModel) -> list[nn.Module]:
    return list(decoder_stack(model)[1])


def gradients(applied: AppliedPlan, seed: int = 0) -> list[Tensor]:
    """Loss and gradients of one step."""
    torch.manual_seed(seed)
    loss: Tensor = applied.model(input_ids=TOKENS, labels=TOKENS, use_cache=False).loss
    loss.backward()
    found = [loss.detach()]
    for name, parameter in applied.trainable_parameters():
        if parameter.grad is None:
            continue  # an expert that no token went to
        assert parameter.grad.isfinite().all(), name
        found.append(parameter.grad)
        parameter.grad = None
    return found


def count_runs(layers: list[nn.Module]) -> Counter[int]:
    """Counts how often the inside of each layer runs: hooks of the layer itself are outside its checkpoint."""
    runs: Counter[int] = Counter()

    def counting(index: int) -> Callable[[nn.Module, object], None]:
        def hook(module: nn.Module, inputs: object) -> None:
            runs[index] += 1

        return hook

    for index, layer in enumerate(layers):
        norm = next(module for module in layer.modules() if "norm" in type(module).__name__.lower())
        norm.register_forward_pre_hook(counting(index))
    return runs


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_keep_their_bits(family: str) -> None:
    plan = "train: [attn@2:]"
    applied = training(family, plan)
    expected = gradients(applied)
    checkpoint_suffix(applied.model, layers_of(applied.model), applied.prefix_layers)
    found = gradients(applied)
    assert len(found) == len(expected)
    assert len(found) > 1
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("family", DROPOUT)
def test_dropout_masks_are_replayed(family: str) -> None:
    applied = training(family, "train: [attn@2:]", DROPOUT[family])
    expected = gradients(applied)
    assert not torch.equal(expected[0], gradients(applied, seed=1)[0])
    checkpoint_suffix(applied.model, layers_of(applied.model), applied.prefix_layers)
    found = gradients(applied)
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "mpt"])
def test_layers_of_the_prefix_run_once_and_those_of_the_suffix_twice(family: str) -> None:
    applied = training(family, "train: [attn.qkv@2:]")
    layers = layers_of(applied.model)
    runs = count_runs(layers)
    checkpoint_suffix(applied.model, layers, applied.prefix_layers)
    gradients(applied)
    assert runs == {0: 1, 1: 1, 2: 2, 3: 2}


def test_the_lowest_layer_may_train_while_the_embeddings_are_frozen() -> None:
    applied = training("llama", "train: [attn.qkv]")
    expected = gradients(applied)
    checkpoint_suffix(applied.model, layers_of(applied.model), 0)
    # The library's own switch would have made the output of the embeddings require a gradient.
    assert not applied.model.get_input_embeddings()(TOKENS).requires_grad
    assert all(map(torch.equal, gradients(applied), expected))


def test_a_layer_without_trained_weights_above_one_with_is_checkpointed_too() -> None:
    applied = training("llama", "train: [attn.qkv@1]")
    layers = layers_of(applied.model)
    expected = gradients(applied)
    runs = count_runs(layers)
    checkpoint_suffix(applied.model, layers, applied.prefix_layers)
    assert all(map(torch.equal, gradients(applied), expected))
    assert runs == {0: 1, 1: 2, 2: 2, 3: 2}


def test_the_depth_can_change_and_checkpointing_can_end() -> None:
    applied = training("llama", "train: [attn.qkv@1:]")
    layers = layers_of(applied.model)
    runs = count_runs(layers)
    checkpoint_suffix(applied.model, layers, 1)
    checkpoint_suffix(applied.model, layers, 3)
    gradients(applied)
    assert runs == {0: 1, 1: 1, 2: 1, 3: 2}
    runs.clear()
    no_checkpointing(applied.model)
    gradients(applied)
    assert runs == {0: 1, 1: 1, 2: 1, 3: 1}


@pytest.mark.parametrize("family", ["gpt2", "bloom"])
def test_it_goes_with_int8_weights_and_needed_gradients(family: str) -> None:
    applied = training(family, "train: [attn.q@1:]")
    assert use_needed_gradients(applied.model)
    assert quantise_frozen(applied).matrices
    expected = gradients(applied)
    checkpoint_suffix(applied.model, layers_of(applied.model), applied.prefix_layers)
    assert all(map(torch.equal, gradients(applied), expected))


def test_evaluation_recomputes_nothing() -> None:
    applied = training("llama", "train: [attn.qkv]")
    layers = layers_of(applied.model)
    checkpoint_suffix(applied.model, layers, 0)
    runs = count_runs(layers)
    applied.model.train(False)
    gradients(applied)
    assert runs == {0: 1, 1: 1, 2: 1, 3: 1}


def test_a_family_that_cannot_do_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    with pytest.raises(ModelError, match=r"^training\.checkpointing: LlamaForCausalLM has no gradient checkpointing"):
        checkpoint_suffix(model, [nn.Linear(2, 2)], 0)
    monkeypatch.setattr(type(model), "supports_gradient_checkpointing", False)
    with pytest.raises(ModelError, match=r"^training\.checkpointing: LlamaForCausalLM has no gradient checkpointing"):
        checkpoint_suffix(model, layers_of(model), 0)
