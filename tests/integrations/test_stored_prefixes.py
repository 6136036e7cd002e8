"""Does a loop that begins from stored prefixes get the losses and the gradients of one that runs the whole model?"""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

import frostline
from frostline.errors import ModelError, TrainingError
from frostline.integrations import PrefixRows
from frostline.plans import AppliedPlan, Plan
from tests.builders.models import VOCABULARY, tiny_model

UPPER = "train: [attn@50%:, norm@-1]"
CHANGING = "train: [mlp@-1]; at 3 thaw: [attn@1:]; at 6 freeze: [attn@:3]"
WINDOWS = torch.arange(72).reshape(3, 2, 12) * 7 % (VOCABULARY - 3) + 3


def trained(
    applied: AppliedPlan,
    rows: PrefixRows | None,
    *,
    one_by_one: bool,
    autocast: bool = False,
    mask: Tensor | None = None,
) -> list[tuple[float, list[Tensor]]]:
    """Losses, and the gradients of what trains, of three epochs."""
    model: PreTrainedModel = applied.model.train()
    optimizer = torch.optim.AdamW([own for _, own in applied.trained_until(9)], lr=1e-2, weight_decay=0.1)
    found = []
    for step in range(9):
        applied.advance(step)
        total = 0.0
        for ids in WINDOWS[step % 3].split(1 if one_by_one else 2):
            with (
                torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast),
                nullcontext() if rows is None else rows.of(ids, mask),
            ):
                loss = model(input_ids=ids, labels=ids, attention_mask=mask).loss
            loss.backward()
            total += loss.item()
        gradients = [own.grad.clone() for _, own in applied.trainable_parameters() if own.grad is not None]
        found.append((total, gradients))
        optimizer.step()
        optimizer.zero_grad()
    assert applied.verify().moved == ()
    return found


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text"])
@pytest.mark.parametrize(("plan", "autocast"), [(UPPER, False), (UPPER, True), (CHANGING, False)])
def test_losses_and_gradients_are_those_of_the_whole_model_bit_for_bit(family: str, plan: str, autocast: bool) -> None:
    whole, stored = (Plan.parse(plan).apply(tiny_model(family)) for _ in range(2))
    rows = frostline.prefix_rows(stored)
    expected = trained(whole, None, one_by_one=True, autocast=autocast)
    found = trained(stored, rows, one_by_one=True, autocast=autocast)
    for (loss, gradients), (plain_loss, plain_gradients) in zip(found, expected, strict=True):
        assert loss == plain_loss
        assert len(gradients) == len(plain_gradients)
        assert all(torch.equal(own, other) for own, other in zip(gradients, plain_gradients, strict=True))
    # Nine steps read three times two windows. Under the changing plan the second frost line was passed on the way
    # to the first; the third lies above layers that have trained in between.
    assert (rows.computed, rows.found) == ((6, 12) if plan == UPPER else (12, 6))


def test_batches_with_a_mask_begin_from_the_rows_of_their_windows() -> None:
    mask = torch.ones((2, 12), dtype=torch.int64)
    mask[0, 9:] = 0
    whole, stored = (Plan.parse(UPPER).apply(tiny_model("llama")) for _ in range(2))
    rows = frostline.prefix_rows(stored)
    expected = [loss for loss, _ in trained(whole, None, one_by_one=False, mask=mask)]
    assert [loss for loss, _ in trained(stored, rows, one_by_one=False, mask=mask)] == pytest.approx(expected, rel=1e-6)
    assert rows.found == 12


def test_nothing_below_the_frost_line_runs_for_a_window_that_comes_back() -> None:
    applied = Plan.parse(UPPER).apply(tiny_model("llama"))
    rows = frostline.prefix_rows(applied)
    first = applied.model.get_submodule("model.layers.0.mlp")
    with rows.of(WINDOWS[0]):
        before = applied.model(input_ids=WINDOWS[0]).logits
    first.register_forward_hook(lambda *call: pytest.fail("the prefix ran"))
    with rows.of(WINDOWS[0]):
        assert torch.equal(applied.model(input_ids=WINDOWS[0]).logits, before)


def test_without_room_rows_are_computed_each_time_and_forgotten_ones_anew() -> None:
    applied = Plan.parse(UPPER).apply(tiny_model("llama"))
    for rows, found in ((frostline.prefix_rows(applied, memory_bytes=10), 0), (frostline.prefix_rows(applied), 2)):
        for _ in range(2):
            with rows.of(WINDOWS[0]):
                pass
        assert rows.found == found
        rows.forget()
        with rows.of(WINDOWS[0]):
            pass
        assert (rows.found, rows.computed) == (found, 6 - found)


def test_a_plan_without_a_frozen_bottom_runs_the_whole_model() -> None:
    applied = Plan.parse("train: [embed[5], head]").apply(tiny_model("llama", tie_word_embeddings=False))
    rows = frostline.prefix_rows(applied)
    with rows.of(WINDOWS[0]):
        applied.model(input_ids=WINDOWS[0], labels=WINDOWS[0]).loss.backward()
    assert (rows.found, rows.computed) == (0, 0)


def test_dropout_below_the_frost_line_and_a_block_outside_of_autocast_are_refused() -> None:
    applied = Plan.parse(UPPER).apply(tiny_model("gpt2", resid_pdrop=0.1))
    with (
        pytest.raises(ModelError, match="draws random numbers below the frost line"),
        frostline.prefix_rows(applied).of(WINDOWS[0]),
    ):
        pass
    applied = Plan.parse(UPPER).apply(tiny_model("gpt2"))
    with (
        frostline.prefix_rows(applied).of(WINDOWS[0]),
        torch.autocast("cpu", dtype=torch.bfloat16),
        pytest.raises(TrainingError, match=r"Enter 'with rows\.of\(\.\.\.\)' inside torch\.autocast"),
    ):
        applied.model(input_ids=WINDOWS[0])
