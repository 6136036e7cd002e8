"""Is a continuation's loss that of its own tokens, whatever stands beside it in the batch?"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from frostline.measures import continuation_losses
from tests.builders.models import VOCABULARY, tiny_model

CPU = torch.device("cpu")


def texts() -> tuple[NDArray[np.int64], list[list[int]]]:
    generator = np.random.default_rng(0)
    prompts = generator.integers(3, VOCABULARY, (6, 5))
    return prompts, [generator.integers(3, VOCABULARY, length).tolist() for length in (9, 1, 0, 14, 3, 7)]


def alone(model: PreTrainedModel, prompt: NDArray[np.int64], continuation: list[int]) -> float:
    ids = torch.tensor([[*prompt.tolist(), *continuation]])
    with torch.no_grad():
        logarithms = model(input_ids=ids).logits[0].double().log_softmax(dim=-1)
    places = range(len(prompt) - 1, ids.shape[1] - 1)
    return -sum(float(logarithms[place, ids[0, place + 1]]) for place in places) / len(continuation)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "opt", "gemma3_text"])
@pytest.mark.parametrize("batch", [1, 4, 8])
def test_a_batch_gives_the_losses_of_each_continuation_alone(family: str, batch: int) -> None:
    model = tiny_model(family, layers=2)
    prompts, continuations = texts()
    losses = continuation_losses(model, prompts, continuations, device=CPU, precision="fp32", batch=batch)
    assert math.isnan(losses[2])
    for index in (0, 1, 3, 4, 5):
        assert losses[index] == pytest.approx(alone(model, prompts[index], continuations[index]), rel=1e-5)


def test_only_empty_continuations_need_no_forward_pass() -> None:
    prompts, _ = texts()
    losses = continuation_losses(tiny_model("llama", layers=1), prompts, [[]] * 6, device=CPU, precision="fp32")
    assert [math.isnan(loss) for loss in losses] == [True] * 6
