"""Does what the plan trains move, and does nothing else, in any loop?"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel, Trainer, TrainingArguments

from frostline.errors import PlanError
from frostline.plans import AppliedPlan, Plan, Portion, apply_plan, is_split, map_model, value_of
from tests.builders.models import FAMILIES, HEADS, HIDDEN, VOCABULARY, tiny_model

HEAD = HIDDEN // HEADS
TOKENS = (torch.arange(40).reshape(2, 20) * 7 + 3) % (VOCABULARY - 3) + 3
FUSED = ("gpt2", "gpt_neox", "bloom", "phi3", "falcon", "codegen", "mpt", "gpt_bigcode")


def raw(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def train(model: PreTrainedModel, parameters: Iterator[nn.Parameter] | list[nn.Parameter], steps: int = 4) -> None:
    """The user's own loop: AdamW with weight decay over whatever it is given."""
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.1)
    model.train()
    for _ in range(steps):
        model(input_ids=TOKENS, labels=TOKENS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.train(False)


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=TOKENS, use_cache=False).logits
    return found


def query_mask(family: str, model: PreTrainedModel, weight: Tensor) -> Tensor:
    """Where the query sits in the fused matrix, written by hand from each family's own layout."""
    mask = torch.zeros_like(weight, dtype=torch.bool)
    if family == "gpt2":
        mask[:, :HIDDEN] = True  # Conv1D: [in, out]
    elif family in ("bloom", "gpt_neox"):
        mask.view(HEADS, 3, HEAD, HIDDEN)[:, 0] = True
    elif family == "codegen":
        mask.view(4, 3, HIDDEN // 4, HIDDEN)[:, 0] = True
    else:
        mask[: model.config.num_attention_heads * HEAD] = True
    return mask


@pytest.mark.parametrize("family", FUSED)
def test_only_the_query_of_a_fused_matrix_trains(family: str) -> None:
    model = tiny_model(family)
    start = weights(model)
    applied = Plan.parse("train: [attn.q]").apply(model)
    # All parameters are handed to the optimizer, as careless loops do.
    train(model, model.parameters())
    assert applied.verify().moved == ()
    applied.release()
    after = weights(model)
    assert list(after) == list(start)
    fused = 0
    for name in start:
        if any(word in name for word in ("c_attn.weight", "query_key_value.weight", "qkv_proj.weight", "Wqkv.weight")):
            mask = query_mask(family, model, start[name])
            assert raw(after[name][~mask]) == raw(start[name][~mask]), name
            assert (after[name][mask] != start[name][mask]).float().mean() > 0.9, name
            fused += 1
        else:
            assert raw(after[name]) == raw(start[name]), name
    assert fused == 4


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("plan", ["train: [attn.q@50%:]", "freeze: [attn.v, mlp.up@:2]"])
def test_outputs_are_the_same_bits_while_a_plan_is_applied_and_after_its_release(family: str, plan: str) -> None:
    model = tiny_model(family)
    start, names = logits(model), list(model.state_dict())
    applied = Plan.parse(plan).apply(model)
    assert raw(logits(model)) == raw(start)
    applied.release()
    assert raw(logits(model)) == raw(start)
    assert list(model.state_dict()) == names


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_plan_names_moves_and_nothing_else_does_in_every_family(family: str) -> None:
    model = tiny_model(family)
    portions = map_model(model).portions
    start = {portion.name: value_of(model, portion).clone() for portion in portions}
    applied = Plan.parse("train: [attn.qkv@50%:]").apply(model)
    train(model, [parameter for _, parameter in applied.trainable_parameters()])
    for portion in portions:
        same = raw(applied.value_of(portion)) == raw(start[portion.name])
        assert same != (portion.role in ("attn.q", "attn.k", "attn.v") and (portion.layer or 0) >= 2), portion.name


def test_a_split_matrix_trains_exactly_as_the_whole_one_does() -> None:
    whole, split = tiny_model("bloom"), tiny_model("bloom")
    Plan.parse("train: [name:*query_key_value.weight]").apply(whole)
    # Freezing the keys at a step that never comes splits the matrices, while all of them train.
    applied = Plan.parse("train: [name:*query_key_value.weight]; at 99 freeze: [attn.k]").apply(split)
    assert is_split(split)
    train(whole, [parameter for parameter in whole.parameters() if parameter.requires_grad])
    train(split, [parameter for _, parameter in applied.trainable_parameters()])
    applied.release()
    for name, parameter in whole.named_parameters():
        assert raw(split.get_parameter(name)) == raw(parameter), name


def test_matrices_are_split_only_where_their_parts_are_treated_differently() -> None:
    model = tiny_model("gpt2")
    applied = Plan.parse("train: [attn.qkv@2:]; at 9 thaw: [attn@:2]").apply(model)
    assert not is_split(model)
    names = [name for name, _ in applied.trainable_parameters()]
    assert names == ["transformer.h.2.attn.c_attn.weight", "transformer.h.3.attn.c_attn.weight"]
    assert applied.trained_parameters == 2 * 32 * 96


def test_trainable_parameters_are_named_after_matrix_and_role() -> None:
    applied = Plan.parse("train: [attn.q@0, mlp.up@0]").apply(tiny_model("gpt2"))
    assert [(name, tuple(parameter.shape)) for name, parameter in applied.trainable_parameters()] == [
        ("transformer.h.0.attn.c_attn.weight[attn.q]", (32, 32)),
        ("transformer.h.0.mlp.c_fc.weight", (32, 128)),
    ]
    assert applied.trained_parameters == 32 * 32 + 32 * 128
    assert applied.parameters == sum(parameter.numel() for parameter in tiny_model("gpt2").parameters())


def test_requires_grad_before_does_not_matter() -> None:
    model = tiny_model("llama").requires_grad_(False)
    applied = Plan.parse("train: [mlp.down@0]").apply(model)
    assert [name for name, value in model.named_parameters() if value.requires_grad] == [
        name for name, _ in applied.trainable_parameters()
    ]


def test_a_saved_model_loads_without_frostline(tmp_path: Path) -> None:
    model = tiny_model("gpt_neox")
    applied = Plan.parse("train: [attn.k]").apply(model)
    train(model, [parameter for _, parameter in applied.trainable_parameters()])
    expected = logits(model)
    applied.release()
    applied.release()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert raw(logits(loaded)) == raw(expected)


def test_releasing_keeps_every_bit_of_every_type() -> None:
    model = tiny_model("gpt_neox")
    nn.Module.to(model, torch.bfloat16)
    with torch.no_grad():
        model.get_parameter("gpt_neox.layers.0.attention.query_key_value.weight")[::5, 3] = math.nan
        model.get_parameter("gpt_neox.layers.1.attention.query_key_value.weight")[::7, 3] = -0.0
    start = {name: raw(value) for name, value in model.named_parameters()}
    applied = Plan.parse("train: [attn.v]").apply(model)
    assert applied.verify().moved == ()
    applied.release()
    assert {name: raw(value) for name, value in model.named_parameters()} == start


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_verify_names_what_moved(dtype: torch.dtype) -> None:
    model = tiny_model("gpt2")
    nn.Module.to(model, dtype)
    applied = Plan.parse("train: [attn.q]").apply(model)
    assert applied.verify().checked_values == applied.parameters - applied.trained_parameters
    assert applied.verify().moved == ()
    matrix = model.get_submodule("transformer.h.1.attn.c_attn")
    with torch.no_grad():
        matrix.get_parameter("parametrizations.weight.original1")[4, 5] *= -1
        model.get_parameter("transformer.wpe.weight")[0, 0] = 1.0
    assert applied.verify().moved == ("transformer.wpe.weight", "transformer.h.1.attn.c_attn.weight[attn.k]")


def test_a_change_of_plan_thaws_and_freezes_at_its_step() -> None:
    model = tiny_model("llama")
    applied = Plan.parse("train: [attn.q@3]; at 2 thaw: [attn.q@2]; at 4 freeze: [attn.q@3]").apply(model)
    lower, upper = (f"model.layers.{layer}.self_attn.q_proj.weight" for layer in (2, 3))
    assert applied.advance(0) is None
    assert applied.advance(1) is None
    thawing = applied.advance(2)
    assert thawing is not None
    assert (thawing.thawed, thawing.frozen) == ((lower,), ())
    assert [id(parameter) for parameter in thawing.thawed_parameters] == [id(model.get_parameter(lower))]
    assert applied.prefix_layers == 2
    model(input_ids=TOKENS, labels=TOKENS).loss.backward()
    assert applied.advance(3) is None
    freezing = applied.advance(4)
    assert freezing is not None
    assert (freezing.thawed, freezing.frozen) == ((), (upper,))
    assert model.get_parameter(upper).grad is None
    assert model.get_parameter(lower).grad is not None
    assert [name for name, _ in applied.trainable_parameters()] == [lower]


def test_a_resumed_run_catches_up_with_the_plan() -> None:
    applied = Plan.parse("train: [attn.q@3]; at 2 thaw: [attn.q@2]; at 4 thaw: [mlp@1]").apply(tiny_model("llama"))
    step = applied.advance(7)
    assert step is not None
    assert len(step.thawed) == 4
    assert applied.prefix_layers == 1


def test_a_portion_of_a_fused_matrix_can_be_thawed_and_frozen_over_time() -> None:
    model = tiny_model("bloom")
    applied = Plan.parse("train: [attn.q]; at 2 thaw: [attn.v]; at 4 freeze: [attn.q]").apply(model)
    fused = [portion for portion in applied.resolved.portions if portion.name.startswith("transformer.h.1.self_att")][
        :3
    ]
    states = [[raw(applied.value_of(portion)) for portion in fused]]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    for step in range(6):
        change = applied.advance(step)
        if change is not None:
            for parameter in change.frozen_parameters:
                optimizer.state.pop(parameter)
        model(input_ids=TOKENS, labels=TOKENS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        states.append([raw(applied.value_of(portion)) for portion in fused])
    moved = [[now != before for now, before in zip(after, first, strict=True)] for first, after in pairwise(states)]
    query, key, value = [True, False, False], 1, [False, False, True]
    assert moved == [query, query, [True, False, True], [True, False, True], value, value]
    assert not any(row[key] for row in moved)
    assert applied.verify().moved == ()


def test_verify_remembers_what_moved_before_it_was_thawed() -> None:
    model = tiny_model("llama")
    applied = Plan.parse("train: [attn.q]; at 2 thaw: [mlp.up@0]").apply(model)
    with torch.no_grad():
        model.get_parameter("model.layers.0.mlp.up_proj.weight").add_(1)
    applied.advance(2)
    assert applied.verify().moved == ("model.layers.0.mlp.up_proj.weight",)


def test_verify_watches_from_the_moment_of_freezing() -> None:
    model = tiny_model("llama")
    applied = Plan.parse("train: [attn]; at 2 freeze: [attn.q]").apply(model)
    train(model, [parameter for _, parameter in applied.trainable_parameters()])
    before = applied.verify()
    applied.advance(2)
    assert applied.verify().moved == ()
    assert applied.verify().checked_values == before.checked_values + 4 * 32 * 32
    with torch.no_grad():
        model.get_parameter("model.layers.0.self_attn.q_proj.weight")[0, 0] += 1
    assert applied.verify().moved == ("model.layers.0.self_attn.q_proj.weight",)


class Windows(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Eight training windows."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        window = (TOKENS[0] + index) % VOCABULARY
        return {"input_ids": window, "labels": window}


@pytest.mark.parametrize("family", ["gpt2", "llama", "bloom"])
def test_the_trainer_of_transformers_moves_what_the_plan_trains_and_nothing_else(family: str, tmp_path: Path) -> None:
    model = tiny_model(family)
    portions = map_model(model).portions
    start = {portion.name: value_of(model, portion).clone() for portion in portions}
    applied = Plan.parse("train: [attn.q@50%:, mlp.down@-1]").apply(model)
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=4,
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        weight_decay=0.1,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    Trainer(model=model, args=arguments, train_dataset=Windows()).train()
    assert applied.verify().moved == ()

    def trains(portion: Portion) -> bool:
        layer = -1 if portion.layer is None else portion.layer
        return (portion.role == "attn.q" and layer >= 2) or (portion.role == "mlp.down" and layer == 3)

    for portion in portions:
        assert (raw(applied.value_of(portion)) != raw(start[portion.name])) == trains(portion), portion.name


def test_arms_copied_from_one_model_are_independent() -> None:
    base = tiny_model("gpt2")
    start = weights(base)
    plan = Plan.parse("train: [attn.q]")
    arms: list[AppliedPlan] = [plan.apply(copy.deepcopy(base)) for _ in range(2)]
    for arm in arms:
        train(arm.model, [parameter for _, parameter in arm.trainable_parameters()])
    for portion in arms[0].resolved.portions:
        assert raw(arms[0].value_of(portion)) == raw(arms[1].value_of(portion))
    assert all(raw(value) == raw(start[name]) for name, value in base.named_parameters())


def test_an_applied_model_can_be_copied() -> None:
    applied = Plan.parse("train: [attn.q]").apply(tiny_model("gpt_neox"))
    copied = copy.deepcopy(applied.model)
    assert raw(logits(copied)) == raw(logits(applied.model))


def test_verify_goes_on_from_what_replaced_a_frozen_weight() -> None:
    model = tiny_model("llama")
    applied = Plan.parse("train: [attn.q]").apply(model)
    name, other = "model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"
    for held in (name, other):
        weight = model.get_parameter(held)
        weight.data = weight.data.to(torch.bfloat16)
    assert applied.verify().moved == (name, other)
    applied.frozen_replaced([name])
    assert applied.verify().moved == (other,)
    applied.frozen_replaced([other])
    assert applied.verify().moved == ()
    with torch.no_grad():
        model.get_parameter(name)[0, 0] += 1
    assert applied.verify().moved == (name,)


def test_a_trained_weight_is_not_among_the_checked_ones_that_may_be_replaced() -> None:
    applied = Plan.parse("train: [attn.q]").apply(tiny_model("llama"))
    with pytest.raises(ValueError, match=r"q_proj\.weight' is not frozen"):
        applied.frozen_replaced(["model.layers.0.self_attn.q_proj.weight"])


def test_adapters_train_while_the_whole_model_is_frozen_and_checked() -> None:
    model = tiny_model("llama")
    start = logits(model)
    base_values = sum(parameter.numel() for parameter in model.parameters())
    applied = Plan.parse("lora: rank 2, targets [attn.qkv@2:]").apply(model, seed=4)
    assert applied.model is model
    assert raw(logits(model)) == raw(start)
    assert applied.trained_parameters == applied.resolved.trained_values == applied.parameters - base_values
    train(model, [parameter for _, parameter in applied.trainable_parameters()])
    assert raw(logits(model)) != raw(start)
    check = applied.verify()
    assert (check.checked_values, check.moved) == (base_values, ())


def test_a_plan_that_was_resolved_is_applied_to_a_copy_without_looking_into_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model("gpt2")
    plan = Plan.parse("train: [attn.q@1:]; at 2 freeze: [attn.q@1]")
    resolved = plan.resolve(model)
    expected = plan.apply(copy.deepcopy(model))
    monkeypatch.setattr("frostline.plans.resolve.map_model", None)
    applied = plan.apply(copy.deepcopy(model), resolved=resolved)
    assert applied.resolved is resolved
    assert [name for name, _ in applied.trainable_parameters()] == [name for name, _ in expected.trainable_parameters()]
    assert applied.frozen_sha256() == expected.frozen_sha256()


def test_adapters_are_added_where_they_were_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    plan = Plan.parse("lora: rank 2, targets [attn.q@3]")
    resolved = plan.resolve(model)
    first, second = (plan.apply(copy.deepcopy(model), resolved=own, seed=5) for own in (None, resolved))
    parts = [dict(applied.trainable_parameters()) for applied in (first, second)]
    assert parts[0].keys() == parts[1].keys()
    assert all(raw(parts[0][name]) == raw(parts[1][name]) for name in parts[0])


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ("train: [attn.k]", r"another plan: 'train: \[attn.q\]', not 'train: \[attn.k\]'"),
        ("freeze: [attn.q]", "another plan"),
        ("train: [attn.q]; at 3 thaw: [mlp]", "another plan"),
    ],
)
def test_what_was_resolved_of_another_plan_is_refused(other: str, told: str) -> None:
    model = tiny_model("llama")
    with pytest.raises(PlanError, match=told):
        Plan.parse(other).apply(model, resolved=Plan.parse("train: [attn.q]").resolve(model))


@pytest.mark.parametrize(
    ("family", "changes", "told"),
    [
        ("llama", {"layers": 3}, r"'model\.layers\.3\.[a-z_.]*' is only there"),
        ("llama", {"layers": 5}, r"'model\.layers\.4\.[a-z_.]*' is only here"),
        ("llama", {"intermediate_size": 24}, r"'model\.layers\.0\.mlp\.[a-z_.]*' is \[24, 32\] here and \["),
        ("gpt2", {}, "is only here"),
        ("qwen2", {}, r"'model\.layers\.0\.self_attn\.q_proj\.bias' is only here"),
    ],
)
def test_what_was_resolved_for_another_model_is_refused_and_nothing_is_touched(
    family: str, changes: dict[str, int], told: str
) -> None:
    plan = Plan.parse("train: [attn.q]")
    resolved = plan.resolve(tiny_model("llama"))
    other = tiny_model(family, **changes)
    with pytest.raises(PlanError, match=f"resolved for another model: .*{told}"):
        plan.apply(other, resolved=resolved)
    assert all(parameter.requires_grad for parameter in other.parameters())


def test_equal_shapes_with_other_heads_are_another_model() -> None:
    # The rows of a head's query lie elsewhere in the fused matrix, though every parameter has the same shape.
    plan = Plan.parse("train: [attn.q]")
    resolved = plan.resolve(tiny_model("gpt_neox"))
    with pytest.raises(PlanError, match=rf"this is GPTNeoXForCausalLM with {HEADS // 2} heads"):
        plan.apply(tiny_model("gpt_neox", num_attention_heads=HEADS // 2), resolved=resolved)


def test_what_was_resolved_does_not_hide_that_a_plan_was_applied() -> None:
    model = tiny_model("llama")
    plan = Plan.parse("lora: rank 2, targets [attn.q]")
    resolved = plan.resolve(model)
    plan.apply(model, resolved=resolved)
    with pytest.raises(PlanError, match="applied to this model already"):
        plan.apply(model, resolved=resolved)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("text", ["train: [attn.q@2]", "freeze: [attn@50%:]", "train: all"])
def test_what_has_been_hashed_already_is_the_same_proof(family: str, text: str) -> None:
    model, plan = tiny_model(family), Plan.parse(text)
    hashed = {name: hashlib.sha256(raw(value)).hexdigest() for name, value in model.named_parameters()}
    alone = plan.apply(tiny_model(family))
    applied = apply_plan(plan, model, hashed=hashed)
    assert list(applied.frozen_sha256().items()) == list(alone.frozen_sha256().items())
    assert applied.verify().moved == ()
    for name in [name for name in applied.frozen_sha256() if "[" not in name][:1]:  # none where all trains
        with torch.no_grad():
            model.get_parameter(name).view(-1)[0] += 1
        assert applied.verify().moved == (name,)


def test_what_has_been_hashed_already_is_not_hashed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    hashed = {name: "ab" * 32 for name, _ in model.named_parameters()}
    monkeypatch.setattr(AppliedPlan, "_hash", lambda self, name: pytest.fail(f"{name} was hashed"))
    applied = apply_plan(Plan.parse("train: [mlp@-1:]"), model, hashed=hashed)
    assert set(applied.frozen_sha256().values()) == {"ab" * 32}


def test_standing_at_a_step_forgets_what_was_before() -> None:
    model = tiny_model("llama")
    applied = Plan.parse("train: [attn.q]; at 4 thaw: [mlp]; at 6 freeze: [attn.q]").apply(model)
    applied.advance(6)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)  # as loading does
    applied.set_step(3)
    trains = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert (
        trains
        == {name for name, _ in applied.trainable_parameters()}
        == {f"model.layers.{layer}.self_attn.q_proj.weight" for layer in range(4)}
    )
    assert applied.verify().moved == ()
    assert len(applied.frozen_sha256()) == len(list(model.parameters())) - 4
    change = applied.advance(4)
    assert change is not None
    assert len(change.thawed) == 12
    assert applied.moved == []


def test_all_phases_are_open_until_the_first_step() -> None:
    model = tiny_model("llama")
    applied = Plan.parse("train: [attn.q]; at 4 thaw: [mlp]").apply(model)
    names = [name for name, _ in applied.open_all_phases()]
    assert names == [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(names) == 4 + 12
    assert applied.advance(0) is None
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == [
        name for name, _ in applied.trainable_parameters()
    ]
