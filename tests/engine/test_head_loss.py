"""Loss and gradients without the logits equal those of the plain loss, whatever the chunks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from frostline.engine import head_loss
from frostline.engine.head_loss import chunk_tokens, chunked_loss, own_head_loss

TOKENS, HIDDEN, VOCABULARY = 23, 8, 31
SCALE = 1 / 19


def inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(TOKENS, HIDDEN, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(VOCABULARY, HIDDEN, generator=generator, requires_grad=True)
    bias = torch.randn(VOCABULARY, generator=generator, requires_grad=True)
    return hidden, weight, bias, torch.randint(VOCABULARY, (TOKENS,), generator=generator)


def plain(hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
    cast_bias = None if bias is None else bias.to(hidden.dtype)
    logits = F.linear(hidden, weight.to(hidden.dtype), cast_bias).float()
    return F.cross_entropy(logits, labels, reduction="sum") * SCALE


@pytest.fixture(params=[1, 4, 5, TOKENS, 100])
def chunked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Tokens of a chunk; a weight block holds two of them."""
    tokens: int = request.param
    monkeypatch.setitem(head_loss.CHUNK_BYTES, "cpu", 4 * VOCABULARY * tokens)
    monkeypatch.setattr(head_loss, "WEIGHT_BLOCK_BYTES", 4 * VOCABULARY * tokens * 2)
    assert chunk_tokens(VOCABULARY, torch.device("cpu")) == tokens
    return tokens


@pytest.mark.parametrize("with_bias", [False, True])
def test_loss_and_gradients_equal_those_of_all_logits_at_once(chunked: int, with_bias: bool) -> None:
    hidden, weight, bias, labels = inputs()
    wanted = [hidden, weight, *([bias] if with_bias else [])]
    expected = plain(hidden, weight, bias if with_bias else None, labels)
    expected_gradients = torch.autograd.grad(expected, wanted)
    loss = chunked_loss(hidden, weight, bias if with_bias else None, labels, SCALE)
    gradients = torch.autograd.grad(loss, wanted)
    torch.testing.assert_close(loss, expected)
    for gradient, reference in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, reference)


def test_gradient_of_the_hidden_states_has_the_bits_of_the_plain_loss() -> None:
    hidden, weight, _, labels = inputs()
    (expected,) = torch.autograd.grad(plain(hidden, weight.detach(), None, labels), [hidden])
    (gradient,) = torch.autograd.grad(chunked_loss(hidden, weight.detach(), None, labels, SCALE), [hidden])
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-8)


def test_bf16_differs_from_the_plain_bf16_loss_by_no_more_than_its_own_rounding(chunked: int) -> None:
    hidden, weight, _, labels = inputs(torch.bfloat16)
    expected = plain(hidden, weight, None, labels)
    expected_gradients = torch.autograd.grad(expected, [hidden, weight])
    loss = chunked_loss(hidden, weight, None, labels, SCALE)
    gradients = torch.autograd.grad(loss, [hidden, weight])
    torch.testing.assert_close(loss, expected)
    for gradient, reference in zip(gradients, expected_gradients, strict=True):
        assert gradient.dtype == reference.dtype
        error = (gradient - reference).abs().max() / reference.abs().max()
        assert error < 2**-7  # bf16 has 8 bits; a sum of blocks rounds once more for each


def test_frozen_head_gets_no_gradient() -> None:
    hidden, weight, bias, labels = inputs()
    weight.requires_grad_(False)
    bias.requires_grad_(False)
    chunked_loss(hidden, weight, bias, labels, SCALE).backward()
    assert hidden.grad is not None
    assert weight.grad is None
    assert bias.grad is None


def test_a_loss_that_is_scaled_later_scales_its_gradients() -> None:
    hidden, weight, _, labels = inputs()
    (once,) = torch.autograd.grad(chunked_loss(hidden, weight, None, labels, SCALE), [weight])
    (thrice,) = torch.autograd.grad(3 * chunked_loss(hidden, weight, None, labels, SCALE), [weight])
    torch.testing.assert_close(thrice, 3 * once)


def test_head_with_a_soft_cap_equals_the_plain_loss(chunked: int) -> None:
    hidden, weight, _, labels = inputs()
    parameter = torch.nn.Parameter(weight.detach().clone())

    def capped(part: Tensor) -> Tensor:
        return 2 * torch.tanh(F.linear(part, parameter) / 2)

    expected = F.cross_entropy(capped(hidden), labels, reduction="sum") * SCALE
    expected_gradients = torch.autograd.grad(expected, [hidden, parameter])
    loss = own_head_loss(capped, [parameter], hidden, labels, SCALE, VOCABULARY)
    gradients = torch.autograd.grad(loss, [hidden, parameter])
    torch.testing.assert_close(loss, expected)
    for gradient, reference in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, reference)
