"""Is the loss of windows of many lengths that of each alone, in their order?"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from frostline.measures import evaluate_loss
from tests.builders.batches import uneven_batch
from tests.builders.models import tiny_model

LENGTHS = [5, 40, 3, 38, 16, 40, 22]


@pytest.mark.parametrize("chunk", [1 << 24, 1])
def test_each_window_has_the_loss_that_it_has_alone(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frostline.measures.head.CHUNK_VALUES", chunk)
    model, batch = tiny_model("llama"), uneven_batch(LENGTHS)
    sizes: list[int] = []
    handle = model.get_input_embeddings().register_forward_pre_hook(lambda _, given: sizes.append(given[0].numel()))
    found = evaluate_loss(model, [batch], device=torch.device("cpu"), precision="fp32")
    handle.remove()
    expected = []
    for row, length in enumerate(LENGTHS):
        ids, labels = (torch.from_numpy(own[row : row + 1, :length]) for own in (batch.input_ids, batch.labels))
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits
        expected.append(F.cross_entropy(logits[0, :-1], labels[0, 1:]).item())
    assert found.window_losses == pytest.approx(expected, rel=1e-5)
    assert not any(map(math.isnan, expected))
    assert chunk == 1 or sum(sizes) < batch.input_ids.size
