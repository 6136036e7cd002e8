"""What fits a model is tried once for all arms of a plan; each of them is whole from its beginning to its end."""

from __future__ import annotations

import copy
import time

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaMLP

from frostline.engine import Arm, FastForward, SharedParts, fit, fit_model
from frostline.engine.frozen_weights import FrozenWeights, copy_for_arm
from frostline.engine.prefix import Prefix
from frostline.plans import AppliedPlan, Plan
from frostline.recipe import TrainingSettings
from tests.builders.batches import random_batch
from tests.builders.engines import CPU, fast_part, make_fast_arm, make_plain_arm, memory_store
from tests.builders.families import tiny_of_any_family
from tests.builders.models import tiny_model

PLAN = Plan.parse("train: [attn.qkv@50%:]")
SETTINGS = TrainingSettings.model_validate({"steps": 10, "learning_rate": 1e-2, "precision": "bf16"})


class Fp32MLP(LlamaMLP):
    """As families have it that compute some of their matrices in fp32, whatever autocast says."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            gate, up, down = (matrix.weight.float() for matrix in (self.gate_proj, self.up_proj, self.down_proj))
            return F.linear(self.act_fn(F.linear(x.float(), gate)) * F.linear(x.float(), up), down)


def model_with_fp32_matrices() -> PreTrainedModel:
    model = tiny_model("llama")
    for layer in model.model.layers:
        layer.mlp.__class__ = Fp32MLP
    return model


def arms_of_one_plan(base: PreTrainedModel, count: int, *, keep_base: bool = True) -> list[Arm]:
    resolved = PLAN.resolve(base)
    shared = SharedParts(FrozenWeights("bf16"), memory_store(), (2,), keep_base)

    def fast(applied: AppliedPlan) -> FastForward:
        fitted = fit_model(applied, shared, SETTINGS, device=CPU, precision="bf16", sample=random_batch(99))
        return FastForward(fitted, shared, SETTINGS, keep_rows=True, device=CPU, precision="bf16")

    return [
        Arm(
            f"arm {number}",
            copy_for_arm(base, resolved),
            PLAN,
            SETTINGS,
            learning_rate=1e-2,
            weight_decay=0.1,
            seed=0,
            device=CPU,
            precision="bf16",
            forward=fast,
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("keep_base", [True, False])
def test_every_arm_of_a_plan_whose_frozen_weights_stay_in_fp32_trains_and_is_given_back(keep_base: bool) -> None:
    base = model_with_fp32_matrices()
    plain = make_plain_arm(copy.deepcopy(base), PLAN, SETTINGS, precision="bf16")
    arms = arms_of_one_plan(base, 3, keep_base=keep_base)
    expected = [plain.take_step(random_batch(step), step).loss_nats for step in range(2)]
    for arm in arms:
        assert isinstance(arm.forward, FastForward)
        assert arm.forward.fitted.notes == (
            "Frozen weights stay in fp32: this family uses them in more than one precision.",
        )
        assert [arm.take_step(random_batch(step), step).loss_nats for step in range(2)] == pytest.approx(
            expected, rel=1e-5
        )
        arm.forward.finish()
        assert {parameter.dtype for parameter in arm.model.parameters()} == {torch.float32}
        assert not arm.applied.verify().moved


def test_every_arm_of_a_plan_whose_frozen_weights_are_converted_gets_them_back() -> None:
    base = tiny_model("llama")
    for arm in arms_of_one_plan(base, 2):
        assert torch.bfloat16 in {parameter.dtype for parameter in arm.model.parameters()}
        arm.take_step(random_batch(0), 0)
        arm.forward.finish()
        for name, parameter in arm.model.named_parameters():
            assert parameter.dtype == torch.float32
            if name not in dict(arm.applied.trainable_parameters()):
                assert torch.equal(parameter, base.get_parameter(name))


@pytest.mark.parametrize("family", ["gemma3n_text", "got_ocr2"])
def test_a_prefix_that_cannot_be_stood_in_for_is_computed_with_the_rest(family: str) -> None:
    model = tiny_of_any_family(family)
    assert isinstance(model, PreTrainedModel)
    plan = Plan.parse("train: [mlp@50%:]")
    settings = SETTINGS.model_copy(update={"precision": "fp32"})
    plain = make_plain_arm(copy.deepcopy(model), plan, settings)
    fast = make_fast_arm(copy.deepcopy(model), plan, settings)
    batch = random_batch(0, vocabulary=60)
    assert fast.take_step(batch, 0).loss_nats == pytest.approx(plain.take_step(batch, 0).loss_nats, rel=1e-6)


def test_what_fits_is_found_out_without_the_logits_of_more_than_a_few_tokens_of_one_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("frostline.engine.fit.TRIED_TOKENS", 6)
    base = tiny_model("llama")
    read: list[int] = []
    base.get_output_embeddings().register_forward_hook(
        lambda module, args, output: read.append(args[0].shape[:-1].numel())
    )
    (arm,) = arms_of_one_plan(base, 1)
    assert isinstance(arm.forward, FastForward)
    assert (arm.forward.head, max(read)) == ("linear", 6)
    assert arm.forward.prefix_trial is not None


def test_a_head_is_known_where_fewer_rows_are_rounded_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, batch = F.linear, random_batch(99)

    def like_cublas(hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Another kernel for fewer rows than a batch has, as one of few rows is fastest."""
        product = plain(hidden, weight, bias)
        few = hidden.shape[:-1].numel() < batch.input_ids.size
        return product * 1.001 if few and weight.shape[0] == tiny_model("llama").vocab_size else product

    monkeypatch.setattr(F, "linear", like_cublas)
    arm = make_fast_arm(tiny_model("llama"), PLAN, SETTINGS)
    assert fast_part(arm).head == "linear"
    assert fast_part(arm).prefix_trial is not None


def test_a_prefix_is_timed_from_when_the_device_is_idle_until_it_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    compute = Prefix.compute

    def computed(*arguments: object) -> object:
        happened.append("compute")
        return compute(*arguments)  # type: ignore[arg-type]

    def reading() -> float:
        happened.append("read the clock")
        return float(len(happened))

    monkeypatch.setattr(Prefix, "compute", computed)
    monkeypatch.setattr(fit, "synchronize", lambda device: happened.append(f"wait for {device}"))
    monkeypatch.setattr(time, "perf_counter", reading)
    arm = make_fast_arm(tiny_model("llama"), PLAN, SETTINGS)
    first = happened.index("wait for cpu")
    assert happened[first : first + 5] == [
        "wait for cpu", "read the clock", "compute", "wait for cpu", "read the clock",
    ]  # fmt: skip
    trial = fast_part(arm).prefix_trial
    assert trial is not None
    assert trial.seconds == 3.0


@pytest.mark.parametrize(("precision", "heads_tried"), [("fp32", 1), ("bf16", 2)])
def test_arms_that_begin_as_the_same_bits_have_one_head_whatever_their_prefixes(
    precision: str, heads_tried: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, tried = tiny_model("llama"), []
    head_kind = fit._head_kind

    def counted(model: PreTrainedModel, *others: object) -> fit.HeadKind:
        tried.append(model)
        return head_kind(model, *others)  # type: ignore[arg-type]  # handed on as they come

    monkeypatch.setattr(fit, "_head_kind", counted)
    plans = [Plan.parse(text) for text in ("train: [all@1:]", "train: [all@-1:]")]
    shared = SharedParts(FrozenWeights(precision), memory_store(), (1, 3), keep_base=True)
    settings = SETTINGS.model_copy(update={"precision": precision})
    found = [
        fit_model(
            plan.apply(copy_for_arm(base, plan.resolve(base))),
            shared,
            settings,
            device=CPU,
            precision=precision,
            sample=random_batch(99),
        ).fit
        for plan in plans
    ]
    assert len(tried) == heads_tried
    assert [own.head for own in found] == ["linear", "linear"]
    assert all(own.prefix is not None and own.prefix.refusal is None for own in found)
    assert all(own.body_output is not None for own in found)
