"""Does a fused matrix of which some rows train get their gradient, the same one, and no other?"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from frostline.engine.partly_trained import use_needed_gradients
from frostline.plans import AppliedPlan, Plan, value_of
from tests.builders.models import VOCABULARY, tiny_model

TOKENS = (torch.arange(40).reshape(2, 20) * 7 + 3) % (VOCABULARY - 3) + 3
FUSED = ("gpt2", "gpt_neox", "bloom", "phi3", "codegen", "mpt", "gpt_bigcode")
PLANS = {"phi3": "train: [attn.q, mlp.gate@50%:, attn.o]", "mpt": "train: [attn.q, attn.v@2:]"}
QUERY_AND_BIAS = "train: [attn.q, attn.v@2:, bias@1:]"


def pair(family: str, plan: str | None = None, seed: int = 0) -> tuple[AppliedPlan, AppliedPlan]:
    """The same model and plan twice: as the plan leaves it, and with needed gradients."""
    plain, needed = (
        Plan.parse(plan or PLANS.get(family, QUERY_AND_BIAS)).apply(tiny_model(family, seed=seed)) for _ in range(2)
    )
    assert use_needed_gradients(needed.model)
    return plain, needed


def loss_of(model: PreTrainedModel, autocast: bool = False) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss: Tensor = model(input_ids=TOKENS, labels=TOKENS, use_cache=False).loss
    return loss


def gradients(applied: AppliedPlan, autocast: bool = False) -> dict[str, Tensor]:
    loss_of(applied.model, autocast).backward()
    found = {}
    for name, parameter in applied.trainable_parameters():
        assert parameter.grad is not None, name
        found[name] = parameter.grad
        parameter.grad = None
    return found


def take_steps(applied: AppliedPlan, steps: int, autocast: bool = False, first: int = 0) -> list[float]:
    """AdamW, fused as the engine has it, which leaves the versions of parameters alone."""
    losses = []
    for step in range(first, first + steps):
        applied.advance(step)
        parameters = [parameter for _, parameter in applied.trainable_parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=1e-2, fused=True)
        loss = loss_of(applied.model, autocast)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("family", FUSED)
def test_loss_and_gradients_are_those_of_the_joined_matrix_bit_for_bit(family: str, autocast: bool) -> None:
    plain, needed = pair(family)
    assert torch.equal(loss_of(plain.model, autocast), loss_of(needed.model, autocast))
    expected, found = gradients(plain, autocast), gradients(needed, autocast)
    assert list(found) == list(expected)
    for name, gradient in expected.items():
        assert found[name].dtype == gradient.dtype
        assert torch.equal(found[name], gradient), name


@pytest.mark.parametrize("family", ["gpt2", "bloom", "phi3"])
def test_training_with_phases_gives_the_same_weights_as_without(family: str) -> None:
    plain, needed = pair(family, "train: [attn.q@2:]; at 2 thaw: [attn.v@1:]; at 4 freeze: [attn.q]")
    assert take_steps(plain, 6) == take_steps(needed, 6)
    assert needed.verify().moved == plain.verify().moved == ()
    for portion in plain.resolved.portions:
        assert torch.equal(value_of(plain.model, portion), value_of(needed.model, portion)), portion.name


def test_evaluation_between_steps_in_either_precision_sees_the_present_weights() -> None:
    plain, needed = pair("gpt_neox")
    for step in range(3):
        for autocast in (True, False):
            with torch.inference_mode():
                assert torch.equal(loss_of(plain.model, autocast), loss_of(needed.model, autocast))
        assert take_steps(plain, 1, True, step) == take_steps(needed, 1, True, step)


class Operations(TorchDispatchMode):
    """Notes each operation and the shape of what it returns."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it so
        self.seen: list[tuple[str, tuple[int, ...]]] = []

    def __torch_dispatch__(
        self,
        operation: Callable[..., object],
        types: Sequence[type],
        inputs: Sequence[object] = (),
        settings: Mapping[str, object] | None = None,
    ) -> object:
        result = operation(*inputs, **(settings or {}))
        if isinstance(result, Tensor):
            self.seen.append((str(operation).split(".")[1], tuple(result.shape)))
        return result


@pytest.mark.parametrize(("family", "whole", "part"), [("bloom", (96, 32), (32, 32)), ("gpt2", (32, 96), (32, 32))])
def test_nothing_is_computed_or_copied_for_frozen_rows(
    family: str, whole: tuple[int, int], part: tuple[int, int]
) -> None:
    _, needed = pair(family, "train: [attn.q]")
    take_steps(needed, 1)
    with Operations() as forward:
        loss = loss_of(needed.model)
    assert not {name for name, shape in forward.seen if shape == whole} & {"cat", "index_select", "copy_", "clone"}
    with Operations() as backward:
        loss.backward()
    # What has the shape of the whole matrix is a view of it, and the gradient of the input is computed with that.
    assert {name for name, shape in backward.seen if shape in (whole, whole[::-1])} <= {"t", "detach"}
    assert ("mm", part) in backward.seen


@pytest.mark.parametrize("input_needs", [False, True])
def test_the_gradient_of_the_input_is_computed_only_where_it_is_needed(input_needs: bool) -> None:
    _, needed = pair("bloom", "train: [attn.q]")
    layer = needed.model.get_submodule("transformer.h.0.self_attention.query_key_value")
    hidden = torch.ones(2, 5, 32, requires_grad=input_needs)
    output = layer(hidden)
    with Operations() as backward:
        output.sum().backward()
    assert [name for name, _ in backward.seen].count("mm") == 1 + input_needs
    assert (hidden.grad is not None) == input_needs


def test_two_forward_passes_may_precede_their_backward_pass() -> None:
    plain, needed = pair("gpt2")
    for applied in (plain, needed):
        (loss_of(applied.model) + loss_of(applied.model)).backward()
    expected = [parameter.grad for _, parameter in plain.trainable_parameters()]
    found = [parameter.grad for _, parameter in needed.trainable_parameters()]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_names_and_state_dict_stay_as_they_were() -> None:
    plain, needed = pair("gpt2")
    take_steps(needed, 1)
    assert list(needed.model.state_dict()) == list(plain.model.state_dict())
    assert [name for name, _ in needed.model.named_parameters()] == [name for name, _ in plain.model.named_parameters()]
    assert [name for name, _ in needed.model.named_buffers()] == [name for name, _ in plain.model.named_buffers()]


def test_frozen_portions_that_are_loaded_anew_are_seen() -> None:
    _, needed = pair("gpt2")
    other, _ = pair("gpt2", seed=1)
    loss_of(needed.model)
    needed.model.load_state_dict(other.model.state_dict())
    assert torch.equal(loss_of(needed.model), loss_of(other.model))


def test_a_released_plan_leaves_a_plain_model() -> None:
    plain, needed = pair("gpt2")
    for applied in (plain, needed):
        take_steps(applied, 2)
        applied.release()
    assert torch.equal(loss_of(needed.model), loss_of(plain.model))
    with torch.no_grad():
        for applied in (plain, needed):
            applied.model.get_parameter("transformer.h.0.attn.c_attn.weight").mul_(2)
    assert torch.equal(loss_of(needed.model), loss_of(plain.model))


def test_another_plan_may_split_the_same_matrix_otherwise() -> None:
    plain, needed = pair("gpt2", "train: [attn.q]")
    for applied in (plain, needed):
        take_steps(applied, 1)
        applied.release()
    again = [Plan.parse("train: [attn.v]").apply(applied.model) for applied in (plain, needed)]
    assert take_steps(again[0], 2) == take_steps(again[1], 2)


def test_a_deep_copy_of_the_model_has_a_matrix_of_its_own() -> None:
    _, needed = pair("gpt2")
    before = loss_of(needed.model)
    copied = copy.deepcopy(needed.model)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.mul_(1.5)
    assert not torch.equal(loss_of(copied), before)
    assert torch.equal(loss_of(needed.model), before)


def test_layers_without_a_split_matrix_are_left_alone() -> None:
    applied = Plan.parse("train: [attn.qkv@2:]").apply(tiny_model("gpt2"))
    assert use_needed_gradients(applied.model) == []
    applied = Plan.parse("train: [attn.q@2:]").apply(tiny_model("gpt2"))
    assert use_needed_gradients(applied.model) == ["transformer.h.2.attn.c_attn", "transformer.h.3.attn.c_attn"]
    assert all("forward" not in vars(module) for module in applied.model.modules() if isinstance(module, nn.Linear))
