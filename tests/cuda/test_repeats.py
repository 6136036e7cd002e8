"""On a GPU the same step gives the same bits, whatever trains and however its rows come; and losses can be computed."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from frostline.engine import Arm, FastForward, SharedParts, fit_model
from frostline.engine.frozen_weights import FrozenWeights, copy_for_arm
from frostline.engine.head_loss import chunked_loss
from frostline.measures import evaluate_loss, weights_sha256
from frostline.plans import AppliedPlan, Plan
from frostline.recipe import TrainingSettings
from tests.builders.batches import random_batch
from tests.builders.engines import memory_store
from tests.builders.models import tiny_model

STEPS = 4
FAMILIES = ("llama", "gpt2", "gpt_neox", "gemma2", "qwen3", "phi3", "mixtral")
PLANS = ("train: all", "train: [attn.qkv@50%:]", "freeze: [embed]")


def trained(
    family: str, plan: str, precision: str, device: torch.device, engine: str = "fast", **training: object
) -> tuple[str, list[float]]:
    """Hash of the trained weights and losses of a few steps, on windows that come back."""
    settings = TrainingSettings.model_validate({"steps": STEPS, "learning_rate": 1e-2, **training})
    base, parsed = tiny_model(family).to(device), Plan.parse(plan)  # type: ignore[arg-type]
    resolved = parsed.resolve(base)
    depths = tuple(sorted({phase.prefix_layers for phase in resolved.phases} - {0}))
    shared = SharedParts(FrozenWeights(precision), memory_store(), depths, keep_base=True)

    def fast(applied: AppliedPlan) -> FastForward:
        fitted = fit_model(applied, shared, settings, device=device, precision=precision, sample=random_batch(99))
        return FastForward(fitted, shared, settings, keep_rows=True, device=device, precision=precision)

    arm = Arm(
        "arm",
        copy_for_arm(base, resolved) if engine == "fast" else copy.deepcopy(base),
        parsed,
        settings,
        learning_rate=1e-2,
        weight_decay=0.1,
        seed=0,
        device=device,
        precision=precision,
        forward=fast if engine == "fast" else None,
    )
    losses = [arm.take_step(random_batch(step % 2), step).loss_nats for step in range(STEPS)]
    return weights_sha256(arm.applied.trainable_parameters()), losses


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_steps_give_the_same_bits(family: str, plan: str, precision: str, device: torch.device) -> None:
    assert trained(family, plan, precision, device) == trained(family, plan, precision, device)


@pytest.mark.parametrize(
    ("setting", "value"), [("checkpointing", True), ("accumulation", 2), ("frozen_weights", "int8")]
)
def test_settings_that_spare_memory_repeat_too(setting: str, value: object, device: torch.device) -> None:
    plan = "train: [attn.qkv@50%:]"
    first, second = (trained("llama", plan, "bf16", device, "fast", **{setting: value}) for _ in range(2))
    assert first == second


def test_recomputed_activations_give_the_bits_of_kept_ones(device: torch.device) -> None:
    plan = "train: [attn.qkv@50%:]"
    assert trained("llama", plan, "bf16", device, checkpointing=True) == trained("llama", plan, "bf16", device)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_engine_comes_to_the_losses_of_the_plain_loop(family: str, device: torch.device) -> None:
    _, fast = trained(family, PLANS[1], "fp32", device)
    _, plain = trained(family, PLANS[1], "fp32", device, engine="reference")
    assert fast == pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_torch_has_a_deterministic_loss_of_rows_and_classes(reduction: str, device: torch.device) -> None:
    logits = torch.randn(512, 1000, device=device, requires_grad=True)
    labels = torch.randint(0, 1000, (512,), device=device)
    labels[::7] = -100
    gradients = []
    for _ in range(2):
        loss = F.cross_entropy(logits, labels, reduction=reduction, ignore_index=-100)  # raises where it has none
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        gradients.append((loss.detach(), gradient))
    assert all(torch.equal(first, second) for first, second in zip(*gradients, strict=True))


def test_the_chunked_loss_repeats_with_a_head_that_trains(device: torch.device) -> None:
    hidden = torch.randn(3000, 64, device=device, requires_grad=True)
    weight = torch.randn(5000, 64, device=device, requires_grad=True)
    labels = torch.randint(0, 5000, (3000,), device=device)
    found = [torch.autograd.grad(chunked_loss(hidden, weight, None, labels, 1.0), [hidden, weight]) for _ in range(2)]
    assert all(torch.equal(first, second) for first, second in zip(*found, strict=True))


def test_evaluation_repeats_and_comes_to_what_a_cpu_finds(device: torch.device) -> None:
    model, batches = tiny_model("llama"), [random_batch(0), random_batch(1)]
    expected = evaluate_loss(model, batches, device=torch.device("cpu"), precision="fp32").loss_nats
    model.to(device)  # type: ignore[arg-type]
    found = [evaluate_loss(model, batches, device=device, precision="fp32") for _ in range(2)]
    assert found[0] == found[1]
    assert found[0].loss_nats == pytest.approx(expected, rel=1e-5)
