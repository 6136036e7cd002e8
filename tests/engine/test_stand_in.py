"""What a model calls around its layers is found without running all of them, and also where that cannot be done."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from frostline.engine.stand_in import body_of
from tests.builders.models import tiny_model


def test_the_body_is_found_while_one_layer_runs() -> None:
    model = tiny_model("llama")
    ran: list[int] = []
    for place, layer in enumerate(model.model.layers):
        layer.self_attn.register_forward_hook(lambda *_, place=place: ran.append(place))
    assert body_of(model) is model.model
    assert ran == [0]


def test_the_body_of_a_model_that_does_not_run_with_one_layer_is_found_with_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model("llama")
    ran: set[int] = set()
    for place, layer in enumerate(model.model.layers):
        layer.self_attn.register_forward_hook(lambda *_, place=place: ran.add(place))
    run: Callable[..., object] = model.model.forward

    def needs_every_layer(*args: object, **kwargs: object) -> object:
        ran.clear()
        output = run(*args, **kwargs)
        if len(ran) < len(model.model.layers):
            raise RuntimeError("a layer has not run")
        return output

    monkeypatch.setattr(model.model, "forward", needs_every_layer)
    assert body_of(model) is model.model


def test_finding_the_body_leaves_the_model_as_it_was() -> None:
    model = tiny_model("llama")
    ids = torch.tensor([[3, 1, 2]])
    before: Tensor = model(input_ids=ids).logits
    body_of(model)
    assert torch.equal(model(input_ids=ids).logits, before)
