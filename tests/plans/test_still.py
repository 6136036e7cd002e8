"""Do frozen weights stay where they are in a model that would rescale its own when it is evaluated?"""

from __future__ import annotations

import copy

import torch
from transformers import PreTrainedModel

from frostline import Plan
from frostline.measures import untouched_forward
from tests.builders.families import tiny_of_any_family

CPU = torch.device("cpu")
TOKENS = torch.tensor([[5, 9, 14, 3]])


def rescaling_model() -> PreTrainedModel:
    model = tiny_of_any_family("rwkv", rescale_every=1)
    assert isinstance(model, PreTrainedModel)
    model.train()  # a forward pass in train mode undoes what the builder's own one did
    return model


def weights_of(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def unmoved(model: PreTrainedModel, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_measure_leaves_the_weights_of_such_a_model_as_they_were_and_the_logits_too() -> None:
    model = rescaling_model()
    with torch.no_grad():
        trained_logits = model(input_ids=TOKENS).logits
    before = weights_of(model)
    with untouched_forward(model, CPU, "fp32"):
        logits = model(input_ids=TOKENS).logits
    assert unmoved(model, before)
    assert torch.equal(logits, trained_logits)


def test_evaluation_in_a_loop_of_ones_own_moves_nothing_frozen() -> None:
    model = rescaling_model()
    model(input_ids=TOKENS)
    applied = Plan.parse("train: [head]").apply(model)
    before = weights_of(model)
    model.eval()
    model(input_ids=TOKENS)
    assert unmoved(model, before)
    assert applied.verify().moved == ()


def test_a_deep_copy_stays_still_too() -> None:
    model = rescaling_model()
    model(input_ids=TOKENS)
    Plan.parse("train: [head]").apply(model)
    duplicate = copy.deepcopy(model).eval()
    before = weights_of(duplicate)
    duplicate(input_ids=TOKENS)
    assert unmoved(duplicate, before)
