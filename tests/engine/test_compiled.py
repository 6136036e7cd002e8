"""Is the suffix compiled once for all its layers, in training only, with nearly the same losses?"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from transformers import PreTrainedModel

from frostline.engine import compiled
from frostline.engine.compiled import CompiledLayer, compile_suffix, no_compilation, require_compiler
from frostline.errors import RecipeError
from frostline.plans import AppliedPlan, Plan, decoder_stack
from tests.builders.models import VOCABULARY, tiny_model

# Said by torch itself, when its compiler is imported and (hidden, but not from an error filter) when it runs.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]

TOKENS = (torch.arange(40).reshape(2, 20) * 7 + 3) % (VOCABULARY - 3) + 3
TOLERANCE = 1e-5
"""Relative, on losses of three steps in fp32: compiled sums are taken in another order."""


@pytest.fixture(autouse=True)
def _nothing_compiled() -> Iterator[None]:
    """What other tests compiled, and whether they could, is forgotten; no vectors, of which torch tries many kinds."""
    with torch._inductor.config.patch({"cpp.simdlen": 1, "compile_threads": 1}):
        yield
    torch._dynamo.reset()
    compiled._compiled_forward.cache_clear()
    require_compiler.cache_clear()


def applied_gpt2() -> AppliedPlan:
    """Of a family whose layers take few loops: each is compiled for a second."""
    applied = Plan.parse("train: [attn.qkv@2:]").apply(tiny_model("gpt2", layers=12, resid_pdrop=0.1))
    applied.model.train()
    return applied


def loss_of(model: PreTrainedModel) -> Tensor:
    loss: Tensor = model(input_ids=TOKENS, labels=TOKENS, use_cache=False).loss
    return loss


def train(applied: AppliedPlan, steps: int = 3) -> list[float]:
    optimizer = torch.optim.AdamW([parameter for _, parameter in applied.trainable_parameters()], lr=1e-2, fused=True)
    losses = []
    for step in range(steps):
        torch.manual_seed(step)
        loss = loss_of(applied.model)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_ten_layers_share_two_compilations_and_evaluation_uses_none() -> None:
    plain, fast = applied_gpt2(), applied_gpt2()
    compile_suffix(decoder_stack(fast.model)[1], fast.prefix_layers)
    counters.clear()
    # Dropout masks are the same with and without compilation, so the losses are.
    assert train(fast) == pytest.approx(train(plain), rel=TOLERANCE)
    # One for the lowest layer, whose input needs no gradient, one for all others.
    assert counters["stats"]["unique_graphs"] == 2
    fast.model.train(False)
    with torch.inference_mode():
        for length in (3, 5):
            assert fast.model(input_ids=TOKENS[:1, :length]).logits.isfinite().all()
    fast.model.train()
    with torch.no_grad():
        loss_of(fast.model)
    assert counters["stats"]["unique_graphs"] == 2
    copied = copy.deepcopy(fast.model)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.mul_(1.5)
    torch.manual_seed(0)
    changed = loss_of(copied).item()
    torch.manual_seed(0)
    assert changed != pytest.approx(loss_of(fast.model).item(), rel=1e-3)


def test_the_prefix_is_not_compiled_and_the_depth_can_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "require_compiler", lambda device_type: None)
    layers = list(decoder_stack(tiny_model("llama"))[1])

    def depth() -> list[bool]:
        return [isinstance(vars(layer).get("forward"), CompiledLayer) for layer in layers]

    compile_suffix(layers, 3)
    assert depth() == [False, False, False, True]
    kept = vars(layers[3])["forward"]
    compile_suffix(layers, 1)
    assert depth() == [False, True, True, True]
    assert vars(layers[3])["forward"] is kept
    compile_suffix(layers, 2)
    assert depth() == [False, False, True, True]
    no_compilation(layers)
    assert depth() == [False] * 4


def test_a_machine_without_a_compiler_is_told_so_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
    require_compiler.cache_clear()
    model = tiny_model("llama")
    layers = list(decoder_stack(model)[1])
    with pytest.raises(
        RecipeError, match=r"^training\.compile: nothing can be compiled on this machine \(.*\)\. Install"
    ):
        compile_suffix(layers, 2)
    assert not any(isinstance(vars(layer).get("forward"), CompiledLayer) for layer in layers)
