"""Does a plan mean the right weights, layers and depth, and does every mistake come to light before training?"""

from __future__ import annotations

import pytest

from frostline.errors import PlanError
from frostline.plans import Plan, is_split, select
from tests.builders.models import tiny_model


def resolve_error(plan: str, family: str = "llama", **changed: bool) -> str:
    with pytest.raises(PlanError) as caught:
        Plan.parse(plan).resolve(tiny_model(family, **changed))
    return str(caught.value)


def test_the_original_plan_trains_query_key_value_of_the_upper_half() -> None:
    resolved = Plan.parse("train: [attn.qkv@50%:]").resolve(tiny_model("llama"))
    assert list(resolved.trained) == [
        f"model.layers.{layer}.self_attn.{side}_proj.weight" for layer in (2, 3) for side in "qkv"
    ]
    assert resolved.matched == {"attn.qkv@50%:": tuple(resolved.trained)}
    assert resolved.trained_values == 2 * (32 + 16 + 16) * 32
    assert resolved.prefix_layers == 2


def test_the_reversed_plan_trains_everything_else() -> None:
    model = tiny_model("llama")
    resolved = Plan.parse("freeze: [attn@50%:]").resolve(model)
    frozen = {name for name, _ in model.named_parameters()} - set(resolved.trained)
    assert frozen == {f"model.layers.{layer}.self_attn.{side}_proj.weight" for layer in (2, 3) for side in "qkvo"}
    assert resolved.prefix_layers == 0


@pytest.mark.parametrize(
    ("plan", "depth"),
    [
        ("train: [attn.q@3]", 3),
        ("train: [attn.q@1, mlp@3]", 1),
        ("train: [all@2:]", 2),
        ("train: [norm@2:]", 2),
        ("train: [norm]", 0),
        ("train: [name:model.norm.weight]", 4),
        ("train: [head]", 4),
        ("train: [head, attn@-1]", 3),
        ("train: [embed]", 0),
        ("train: [embed, attn@3]", 0),
        ("freeze: [embed, attn@:3, mlp@:3, norm@:3]", 3),
        ("train: [all]", 0),
        ("lora: rank 2, targets [attn.qkv@2:]", 2),
    ],
)
def test_the_prefix_is_all_layers_below_the_lowest_trained_weight(plan: str, depth: int) -> None:
    assert Plan.parse(plan).resolve(tiny_model("llama")).prefix_layers == depth


def test_a_norm_of_the_embeddings_leaves_no_prefix() -> None:
    assert Plan.parse("train: [name:*word_embeddings_layernorm*]").resolve(tiny_model("bloom")).prefix_layers == 0


def test_biases_belong_to_their_own_role() -> None:
    resolved = Plan.parse("train: [attn]").resolve(tiny_model("gpt_neox"))
    assert not any(name.endswith("bias") for name in resolved.trained)
    biases = Plan.parse("train: [bias@0]").resolve(tiny_model("gpt_neox"))
    assert [name.split(".", 3)[3] for name in biases.trained] == [
        "attention.query_key_value.bias",
        "attention.dense.bias",
        "mlp.dense_h_to_4h.bias",
        "mlp.dense_4h_to_h.bias",
    ]


@pytest.mark.parametrize(
    "plan",
    [
        "train: [head]",
        "train: [embed]",
        "freeze: [head]",
        "freeze: [embed]",
        "freeze: [embed, attn]",
        "train: [name:lm_head.weight]",
        "train: [name:model.embed_tokens.weight, attn]",
        "train: [attn]; at 3 thaw: [head]",
        "train: [all]; at 3 freeze: [embed]",
    ],
)
def test_one_side_of_tied_weights_is_an_error_that_names_both(plan: str) -> None:
    message = resolve_error(plan, tie_word_embeddings=True)
    assert "'model.embed_tokens.weight'" in message
    assert "'lm_head.weight'" in message
    assert "tied" in message
    assert "[embed, head]" in message


@pytest.mark.parametrize(
    ("plan", "trains"),
    [
        ("train: [embed, head]", True),
        ("train: [all]", True),
        ("train: [name:*]", True),
        ("train: [name:lm_head.weight, embed]", True),
        ("freeze: [head, embed]", False),
        ("train: [attn]", False),
        ("train: [all@2:]", False),
    ],
)
def test_both_sides_of_tied_weights_go_together(plan: str, trains: bool) -> None:
    model = tiny_model("llama", tie_word_embeddings=True)
    assert ("model.embed_tokens.weight" in Plan.parse(plan).resolve(model).trained) == trains


def test_untied_sides_may_differ() -> None:
    resolved = Plan.parse("train: [head]").resolve(tiny_model("llama", tie_word_embeddings=False))
    assert list(resolved.trained) == ["lm_head.weight"]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ("train: [attn@4]", "layer 4 is out of range: the model has 4 layers. They are counted from 0 to 3."),
        ("train: [attn@2:9]", "layer 9 is out of range"),
        ("train: [mlp, name:nothing.*]", "'name:nothing.*' matches nothing"),
        ("train: [bias]", "'bias' matches nothing in the model."),
        ("freeze: [re:q_prj]", "'re:q_prj' matches nothing"),
        ("train: [attn]; at 5 thaw: [mlp@9]", "layer 9 is out of range"),
        ("train: [attn]; at 5 thaw: [bias]", "'bias' matches nothing"),
        ("freeze: [all]", "'freeze: [all]' trains nothing. Leave"),
        ("train: [attn]; at 5 freeze: [attn]", "trains nothing from step 5 on"),
        ("train: [attn]; at 5 freeze: [all]; at 6 thaw: [mlp]", "trains nothing from step 5 on"),
        ("lora: rank 2, targets [norm]", "adapter"),
    ],
)
def test_a_plan_that_does_not_fit_is_explained(plan: str, message: str) -> None:
    assert message in resolve_error(plan)


def test_changes_make_phases_with_their_own_depth() -> None:
    plan = Plan.parse("train: [attn@3]; at 10 thaw: [attn@2]; at 20 thaw: [mlp@1]; at 20 freeze: [attn]")
    resolved = plan.resolve(tiny_model("llama"))
    assert [(phase.at, phase.prefix_layers) for phase in resolved.phases] == [(0, 3), (10, 2), (20, 1)]
    assert [len(resolved.trained_at(step)) for step in (0, 9, 10, 19, 20, 99)] == [4, 4, 8, 8, 3, 3]
    assert {portion.role for portion in resolved.trained_at(20).values()} == {"mlp.gate", "mlp.up", "mlp.down"}


def test_changes_at_one_step_are_done_in_the_order_given() -> None:
    model = tiny_model("llama")
    last_thaws = Plan.parse("train: [mlp]; at 5 freeze: [attn]; at 5 thaw: [attn.q]").resolve(model)
    last_freezes = Plan.parse("train: [mlp]; at 5 thaw: [attn.q]; at 5 freeze: [attn]").resolve(model)
    assert {portion.role for portion in last_thaws.trained_at(5).values()} >= {"attn.q", "mlp.up"}
    assert last_freezes.trained_at(5).keys() == last_freezes.trained.keys()


def test_thawing_what_trains_already_is_fine() -> None:
    resolved = Plan.parse("train: [attn]; at 5 thaw: [attn.q]").resolve(tiny_model("llama"))
    assert resolved.phases[0].trained == resolved.phases[1].trained


def test_adapters_train_instead_of_their_targets() -> None:
    resolved = Plan.parse("lora: rank 2, targets [attn.q@3]").resolve(tiny_model("llama"))
    assert resolved.trained == {}
    assert [portion.name for portion in resolved.targets] == ["model.layers.3.self_attn.q_proj.weight"]
    assert resolved.trained_values == 2 * (32 + 32)


def test_resolving_touches_nothing() -> None:
    model = tiny_model("gpt2")
    before = {name: (value.requires_grad, value.clone()) for name, value in model.named_parameters()}
    Plan.parse("train: [attn.q]; at 3 thaw: [attn.k]").resolve(model)
    assert not is_split(model)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == before[name][0]
        assert parameter.equal(before[name][1])


def test_selecting_gives_each_portion_once_in_the_models_order() -> None:
    portions = select(tiny_model("gpt2"), ["attn.v@0", "attn.qkv@0", "name:*h.0.attn.c_proj.weight"])
    assert [portion.role for portion in portions] == ["attn.q", "attn.k", "attn.v", "attn.o"]


def test_a_model_with_a_plan_at_work_takes_no_second_one() -> None:
    model = tiny_model("gpt2")
    applied = Plan.parse("train: [attn.q]").apply(model)
    with pytest.raises(PlanError, match=r"applied to this model already. Call release\(\)"):
        Plan.parse("train: [attn.k]").apply(model)
    applied.release()
    Plan.parse("train: [attn.k]").apply(model)


def test_a_model_of_one_layer_works() -> None:
    model = tiny_model("gpt2", layers=1)
    assert Plan.parse("train: [attn.qkv@50%:]").resolve(model).prefix_layers == 0
    assert Plan.parse("train: [attn.q@-1]").resolve(model).trained_values == 32 * 32
