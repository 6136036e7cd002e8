"""Of a model of many layers those alone run that differ, and what is asked of it is answered as the whole does."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from frostline.engine import FrozenWeights, SharedParts, fit_model
from frostline.plans import Plan, decoder_stack, few_layers, layer_kinds, map_model, record_calls
from frostline.recipe import TrainingSettings
from tests.builders.batches import random_batch
from tests.builders.engines import CPU, memory_store
from tests.builders.models import FAMILIES, tiny_model

TOKENS = torch.tensor([[1, 2, 3, 4]])
SETTINGS = TrainingSettings.model_validate({"steps": 2, "learning_rate": 1e-2})


def layers_that_run(model: PreTrainedModel) -> list[int]:
    """Numbers of the layers whose first matrix is used in a forward pass, in order."""
    ran: list[int] = []
    handles = []
    for number, layer in enumerate(decoder_stack(model)[1]):
        inner = next(module for module in layer.modules() if not list(module.children()) and list(module.parameters()))
        handles.append(inner.register_forward_pre_hook(lambda *_, number=number: ran.append(number)))
    with torch.no_grad():
        model(input_ids=TOKENS, use_cache=False)
    for handle in handles:
        handle.remove()
    return ran


def test_the_first_layer_of_a_kind_runs_and_what_is_kept() -> None:
    model = tiny_model("llama", layers=6)
    with few_layers(model, {4}) as running:
        assert running == layers_that_run(model) == [0, 4]
    assert layers_that_run(model) == [0, 1, 2, 3, 4, 5]


def test_where_it_is_not_wanted_every_layer_runs() -> None:
    model = tiny_model("llama")
    with few_layers(model, wanted=False) as running:
        assert running == layers_that_run(model) == [0, 1, 2, 3]


def test_a_model_without_its_middle_layers_gives_the_same() -> None:
    model = tiny_model("gpt2", layers=5)
    shorter = copy.deepcopy(model)
    first, *_, last = decoder_stack(shorter)[1]
    shorter.get_submodule("transformer").h = nn.ModuleList([first, last])
    with few_layers(model, {4}), torch.no_grad():
        found = model(input_ids=TOKENS, use_cache=False).logits
    with torch.no_grad():
        assert torch.equal(found, shorter(input_ids=TOKENS, use_cache=False).logits)


@pytest.mark.parametrize(("family", "kinds"), [("llama", 1), ("gemma2", 2), ("gpt_neo", 2), ("deepseek_v3", 2)])
def test_layers_of_other_code_are_of_another_kind(family: str, kinds: int) -> None:
    assert len(set(layer_kinds(tiny_model(family, layers=4)))) == kinds


def test_layers_of_other_settings_are_of_another_kind() -> None:
    model = tiny_model("llama")
    decoder_stack(model)[1][2].get_submodule("self_attn").scaling = 0.5  # type: ignore[assignment]
    assert [kind == layer_kinds(model)[0] for kind in layer_kinds(model)] == [True, True, False, True]


def test_a_layer_to_which_no_hidden_state_is_handed_runs() -> None:
    model = tiny_model("llama")

    def renamed(
        module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> tuple[object, dict[str, object]]:
        hidden, *rest = args
        return tuple(rest), {**kwargs, "states": hidden}

    class Renaming(type(decoder_stack(model)[1][0])):  # type: ignore[misc]
        def forward(self, states: torch.Tensor, **kwargs: object) -> object:
            return super().forward(states, **kwargs)

    for layer in decoder_stack(model)[1]:
        layer.__class__ = Renaming
        layer.register_forward_pre_hook(renamed, with_kwargs=True)
    with few_layers(model):
        assert layers_that_run(model) == [0, 1, 2, 3]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_fits_a_family_is_found_on_few_of_its_layers(family: str) -> None:
    plan, base = Plan.parse("train: [all@-1:]"), tiny_model(family, layers=6)
    found = []
    for few in (False, True):
        model = copy.deepcopy(base)
        shared = SharedParts(FrozenWeights("fp32"), memory_store(), (5,), keep_base=True, fills=True)
        fitted = fit_model(
            plan.apply(model), shared, SETTINGS, device=CPU, precision="fp32", sample=random_batch(9), few=few
        )
        trial = fitted.fit.prefix
        assert trial is not None
        found.append((fitted.fit.converted, fitted.fit.head, trial.refusal, trial.row_bytes))
    assert found[0] == found[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_parts_of_a_family_are_told_without_running_its_equal_layers(family: str) -> None:
    model = tiny_model(family, layers=4)
    with torch.no_grad():
        for layer in decoder_stack(model)[1][2:]:
            for parameter in layer.parameters():
                parameter.fill_(torch.nan)
    assert map_model(model) == map_model(tiny_model(family, layers=4))


def test_a_pass_that_is_watched_ends_with_the_last_call_that_is_wanted() -> None:
    model = tiny_model("llama")
    _, layers = decoder_stack(model)
    watched = record_calls(model, list(layers), most=2)
    assert list(watched) == list(layers[:2])
    assert list(record_calls(model, list(layers))) == list(layers)
