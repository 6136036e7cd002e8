"""Is a mask left out exactly where the model says the same without it?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from frostline.arms.padding import needs_mask, without_needless_mask
from frostline.engine import to_device
from tests.builders.batches import random_batch, uneven_batch
from tests.builders.corpora import open_small, some_ids, write_words
from tests.builders.families import tiny_of_any_family
from tests.builders.models import FAMILIES, tiny_model

CPU = torch.device("cpu")
LENGTHS = [29, 5, 12]
MORE_FAMILIES = {"mamba": False, "opt": False, "recurrent_gemma": False, "xlnet": True}
"""State-space layers, positions that are read off the mask, sliding windows; and who looks ahead."""


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_causal_families_need_no_mask_and_train_alike_without(family: str, precision: str) -> None:
    model = tiny_model(family)
    batch = uneven_batch(LENGTHS)
    assert not needs_mask(model, batch, device=CPU, precision=precision)
    ids, labels, mask = to_device(batch, CPU)
    losses = [model(input_ids=ids, labels=labels, attention_mask=own, use_cache=False).loss for own in (mask, None)]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", MORE_FAMILIES)
def test_what_a_family_says_decides_and_not_its_name(family: str) -> None:
    model = tiny_of_any_family(family)
    assert not isinstance(model, str), model
    batch = uneven_batch(LENGTHS)
    ids, _, mask = to_device(batch, CPU)
    assert batch.is_token is not None
    read = torch.from_numpy(batch.is_token)
    with torch.no_grad():
        masked, plain = (model(input_ids=ids, attention_mask=own, use_cache=False).logits[read] for own in (mask, None))
    assert needs_mask(model, batch, device=CPU, precision="fp32") == MORE_FAMILIES[family]
    assert torch.allclose(plain, masked, rtol=1e-4, atol=1e-4) != MORE_FAMILIES[family]


def test_a_model_that_looks_ahead_keeps_its_mask() -> None:
    model = tiny_model("llama")

    def add_the_mean(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + 1e-6 * output.mean(dim=1, keepdim=True)

    assert not needs_mask(model, uneven_batch(LENGTHS), device=CPU, precision="fp32")
    model.get_input_embeddings().register_forward_hook(add_the_mean)
    assert needs_mask(model, uneven_batch(LENGTHS), device=CPU, precision="fp32")


def test_a_model_for_which_the_mask_means_more_keeps_it() -> None:
    model = tiny_model("llama")
    plain = model.forward

    def shifted(*, input_ids: Tensor, attention_mask: Tensor | None = None, **others: object) -> object:
        more = 0 if attention_mask is None else 1
        return plain(input_ids=input_ids, position_ids=torch.arange(input_ids.shape[1])[None] * (1 + more), **others)

    model.forward = shifted
    assert needs_mask(model, uneven_batch(LENGTHS), device=CPU, precision="fp32")


def test_nothing_is_asked_where_nothing_is_padded(tmp_path: Path) -> None:
    class Silent(nn.Module):
        def forward(self, **given: object) -> None:
            raise AssertionError

    assert not needs_mask(Silent(), random_batch(0), device=CPU, precision="fp32")  # type: ignore[arg-type]
    corpus = open_small(write_words(tmp_path / "text.txt", some_ids(100)), tmp_path / "cache")
    assert without_needless_mask(corpus, Silent(), device=CPU, precision="fp32") is corpus  # type: ignore[arg-type]
