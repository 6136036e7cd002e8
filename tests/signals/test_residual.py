"""The stream between the layers, against what transformers itself shows of it, and formulas written out in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from frostline.errors import ModelError
from frostline.measures.forward import untouched_forward
from frostline.signals.hidden import look_inside, states_of
from frostline.signals.residual import foreignness, linear_cka, residual_signals
from tests.builders.models import FAMILIES, tiny_model
from tests.builders.samples import CPU, random_sample


@pytest.mark.parametrize("family", FAMILIES)
def test_states_are_those_that_transformers_shows(family: str) -> None:
    model, batch = tiny_model(family), random_sample(3).batches(3)[0]
    inside = look_inside(model, device=CPU, precision="fp32")
    with untouched_forward(model, CPU, "fp32"):
        states, logits = states_of(inside, batch)
        shown = model(input_ids=torch.from_numpy(batch.input_ids), output_hidden_states=True, use_cache=False)
    assert torch.equal(logits, shown.logits)
    assert len(states) == 5
    # The last one is shown after its norm.
    for own, theirs in zip(states[1:-1], shown.hidden_states[1:-1], strict=True):
        assert torch.equal(own, theirs)


def test_influence_and_lens_are_those_written_out_by_hand() -> None:
    model, sample = tiny_model("llama"), random_sample(6)
    influence, cka, lens_loss, agreement = residual_signals(model, sample, device=CPU, precision="fp32")
    tokens = torch.from_numpy(np.concatenate([window.input_ids for window in sample.windows]))
    with torch.no_grad():
        states = model(input_ids=tokens, output_hidden_states=True).hidden_states
        final = model(input_ids=tokens).logits
        for layer in range(3):
            below, above = states[layer].double(), states[layer + 1].double()
            cosine = (below * above).sum(-1) / (below.norm(dim=-1) * above.norm(dim=-1))
            assert influence.values[(layer, "layer")] == pytest.approx(float((1 - cosine).mean()), abs=1e-6)
            logits = model.get_output_embeddings()(model.get_submodule("model.norm")(states[layer + 1]))
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
            assert lens_loss.values[(layer, "layer")] == pytest.approx(float(loss), rel=1e-5)
            same = (logits.argmax(-1) == final.argmax(-1)).double().mean()
            assert agreement.values[(layer, "layer")] == pytest.approx(float(same))
            x, y = (state.flatten(0, 1).numpy() for state in (below, above))
            assert cka.values[(layer, "layer")] == pytest.approx(cka_by_hsic(x, y), rel=1e-6)
    assert agreement.values[(3, "layer")] == 1.0


def cka_by_hsic(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with linear kernels and the centring matrix H."""
    positions = len(x)
    h = np.eye(positions) - 1 / positions

    def hsic(k: NDArray[np.float64], m: NDArray[np.float64]) -> float:
        return float(np.trace(k @ h @ m @ h))

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m))


@pytest.mark.parametrize("positions", [20, 200])
def test_cka_is_one_for_a_rotation_and_the_same_on_either_path(positions: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(positions, 50, generator=generator)
    y = x @ torch.randn(50, 30, generator=generator) + torch.randn(positions, 30, generator=generator)
    rotation = torch.linalg.qr(torch.randn(50, 50, generator=generator)).Q
    assert linear_cka(x, 3 * x @ rotation + 7) == pytest.approx(1.0, abs=1e-5)
    assert linear_cka(x, y) == pytest.approx(cka_by_hsic(x.double().numpy(), y.double().numpy()), rel=1e-6)


def test_text_in_the_directions_of_general_text_is_not_foreign() -> None:
    generator = torch.Generator().manual_seed(0)
    plane = torch.randn(40, 100, generator=generator)
    elsewhere = torch.randn(40, 100, generator=generator)
    general = torch.randn(500, 40, generator=generator) @ plane
    assert foreignness(general, general) == pytest.approx(0.0, abs=1e-9)
    near = foreignness(torch.randn(500, 40, generator=generator) @ plane, general)
    far = foreignness(torch.randn(500, 40, generator=generator) @ elsewhere, general)
    assert near < 0.3 < 0.6 < far <= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_can_be_looked_at(family: str) -> None:
    model = tiny_model(family)
    signals = residual_signals(model, random_sample(5), general=random_sample(4, seed=9), device=CPU, precision="fp32")
    assert [signal.kind.name for signal in signals] == [
        "block-influence", "cka", "lens-loss", "lens-agreement", "foreign",
    ]  # fmt: skip
    for signal in signals:
        assert list(signal.values) == [(layer, "layer") for layer in range(4)]
        assert all(np.isfinite(value) for value in signal.values.values())


def test_layers_that_hand_on_no_hidden_state_are_told() -> None:
    model = tiny_model("llama")
    narrowing, widening = (model.get_submodule(f"model.layers.{layer}") for layer in (2, 3))
    narrowing.forward = lambda hidden, **_: hidden[..., :16]
    widening.forward = lambda hidden, **_: torch.cat([hidden, hidden], dim=-1)
    with pytest.raises(ModelError, match="so that none can be looked at or skipped alone"):
        residual_signals(model, random_sample(4), device=CPU, precision="fp32")
