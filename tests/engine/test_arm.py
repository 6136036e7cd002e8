"""One step of one arm equals a hand-written step, and nothing outside the arm can shift it."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from frostline.engine.arm import clip, next_token_loss
from frostline.engine.parts import split_batch
from frostline.engine.randomness import set_dropout
from frostline.errors import TrainingError
from frostline.measures import evaluate_loss
from tests.builders.arms import make_arm
from tests.builders.batches import random_batch
from tests.builders.engines import make_pair
from tests.builders.models import tiny_model


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def assert_same_weights(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name]), name


def with_dropout(rate: float) -> PreTrainedModel:
    config = copy.deepcopy(tiny_model("gpt2").config)
    assert isinstance(config, GPT2Config)
    set_dropout(config, rate)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config)
    model.train()
    return model


@pytest.mark.parametrize("accumulation", [1, 2])
def test_steps_equal_a_loop_written_by_hand(accumulation: int) -> None:
    reference = tiny_model("llama").train()
    arm = make_arm(copy.deepcopy(reference), accumulation=accumulation, gradient_clipping=0.5)
    optimizer = torch.optim.AdamW(reference.parameters(), lr=1e-2, weight_decay=0.1, fused=True)
    for step in range(4):
        batch = random_batch(step)
        tokens = torch.from_numpy(batch.input_ids)
        count = tokens[:, 1:].numel()
        total = 0.0
        for part in tokens.chunk(accumulation):
            logits = reference(input_ids=part).logits
            loss = F.cross_entropy(logits[:, :-1].reshape(-1, 97), part[:, 1:].reshape(-1), reduction="sum")
            (loss / count).backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
        outcome = arm.take_step(batch, step)
        assert outcome.loss_nats == pytest.approx(total / count, rel=1e-6)
        assert outcome.gradient_norm == pytest.approx(norm.item(), rel=1e-6)
        assert outcome.predictions == count
    assert_same_weights(weights(arm.model), weights(reference))


def test_loss_equals_that_of_transformers() -> None:
    model = tiny_model("llama").eval()
    tokens = torch.from_numpy(random_batch(0).input_ids)
    with torch.no_grad():
        output = model(input_ids=tokens, labels=tokens)
    summed = next_token_loss(output.logits, tokens)
    assert summed.item() / tokens[:, 1:].numel() == pytest.approx(output.loss.item(), rel=1e-6)


def test_ignored_labels_count_neither_in_the_sum_nor_in_the_divisor() -> None:
    batch = random_batch(0)
    batch.labels[:, :8] = -100
    outcome = make_arm(tiny_model("llama")).take_step(batch, 0)
    tokens, labels = torch.from_numpy(batch.input_ids), torch.from_numpy(batch.labels)
    expected = F.cross_entropy(
        tiny_model("llama")(input_ids=tokens).logits[:, 7:-1].reshape(-1, 97), labels[:, 8:].reshape(-1)
    )
    assert outcome.predictions == 4 * 4
    assert outcome.loss_nats == pytest.approx(expected.item(), rel=1e-5)


def test_frozen_weights_stay_byte_identical_under_weight_decay() -> None:
    model = tiny_model("llama")
    before = weights(model)
    arm = make_arm(model, "train: [attn.qkv@50%:]", weight_decay=0.5)
    for step in range(3):
        arm.take_step(random_batch(step), step)
    after = weights(arm.model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {f"model.layers.{layer}.self_attn.{letter}_proj.weight" for layer in (2, 3) for letter in "qkv"}
    assert arm.applied.verify().moved == ()


def test_dropout_depends_on_the_step_and_not_on_what_ran_before() -> None:
    alone, disturbed = make_arm(with_dropout(0.3)), make_arm(with_dropout(0.3))
    for step in range(3):
        alone.take_step(random_batch(step), step)
        torch.rand(7)  # somebody else draws from the global generator
        disturbed.take_step(random_batch(step), step)
    assert_same_weights(weights(alone.model), weights(disturbed.model))


def test_dropout_differs_between_steps_and_seeds_and_leaves_the_global_generator_alone() -> None:
    arms = [(step, make_arm(with_dropout(0.3), seed=seed)) for seed in (0, 1) for step in (0, 1)]
    state = torch.get_rng_state()
    assert len({arm.take_step(random_batch(0), step).loss_nats for step, arm in arms}) == 4
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_of_zero_in_the_recipe_switches_every_rate_off() -> None:
    model = with_dropout(0.0)
    rates = [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    assert rates
    assert set(rates) == {0.0}


def test_learning_rate_not_finite_stops_with_a_sentence() -> None:
    arm = make_arm(tiny_model("llama"), learning_rate=1e30, gradient_clipping=None)

    def train() -> None:
        for step in range(5):
            arm.take_step(random_batch(step), step)

    with pytest.raises(TrainingError, match=r"not .*finite .*step"):
        train()


def test_thawed_weights_get_state_and_refrozen_ones_lose_it() -> None:
    arm = make_arm(tiny_model("llama"), "train: [mlp@3]; at 2 thaw: [attn@3]; at 4 freeze: [mlp@3]")
    sizes = []
    for step in range(6):
        arm.take_step(random_batch(step), step)
        sizes.append(arm.optimizer_bytes())
    assert sizes[0] == sizes[1] < sizes[2] == sizes[3]
    assert sizes[4] == sizes[5] < sizes[3]
    held = {id(parameter) for parameter in arm.optimizer.state}
    assert held == {id(parameter) for _, parameter in arm.applied.trainable_parameters()}
    assert arm.applied.verify().moved == ()


def test_optimizer_holds_two_moments_of_what_trains_and_nothing_else() -> None:
    arm = make_arm(tiny_model("llama"), "train: [attn.q@0]")
    arm.take_step(random_batch(0), 0)
    values = arm.applied.trained_parameters
    steps_counter = 4 * len(arm.optimizer.state)
    assert arm.optimizer_bytes() == 2 * 4 * values + steps_counter


def test_bf16_trains_fp32_weights() -> None:
    arm = make_arm(tiny_model("llama"), precision="bf16")
    before = weights(arm.model)
    first = arm.take_step(random_batch(0), 0).loss_nats
    exact = make_arm(tiny_model("llama")).take_step(random_batch(0), 0).loss_nats
    assert {value.dtype for value in weights(arm.model).values()} == {torch.float32}
    assert first == pytest.approx(exact, rel=0.02)
    assert first != exact
    assert any(not torch.equal(before[name], value) for name, value in weights(arm.model).items())


def test_split_keeps_every_window_in_order() -> None:
    batch = random_batch(0, rows=6)
    parts = split_batch(batch, 3)
    assert [part.window_ids for part in parts] == [(0, 1), (2, 3), (4, 5)]
    assert (parts[1].input_ids == batch.input_ids[2:4]).all()


@pytest.mark.parametrize("limit", [None, math.inf])
def test_without_a_limit_no_gradient_is_multiplied(limit: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = [torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2))]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 2.0)
    monkeypatch.delattr(torch.nn.utils, "clip_grad_norm_")
    assert clip(parameters, limit).item() == pytest.approx(math.sqrt(5 * 4))


def test_every_loss_is_of_rows_and_classes_which_deterministic_cuda_can_compute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, shapes = F.cross_entropy, []

    def seen(logits: torch.Tensor, *arguments: object, **settings: object) -> torch.Tensor:
        shapes.append(logits.ndim)
        return plain(logits, *arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(F, "cross_entropy", seen)
    for family in ("llama", "gemma2"):  # whose head is a product, and more than that
        for arm in make_pair(tiny_model(family), "train: [attn@50%:]"):
            arm.take_step(random_batch(0), 0)
        evaluate_loss(tiny_model(family), [random_batch(0)], device=torch.device("cpu"), precision="fp32")
    assert set(shapes) == {2}
