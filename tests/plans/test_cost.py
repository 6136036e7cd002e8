"""Is the arithmetic that a plan is said to need what PyTorch itself counts?"""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from frostline.plans.adapters import adapter_modules, inject_adapters
from frostline.plans.cost import ceiling_sentence, plan_cost
from frostline.plans.order import places_of
from frostline.plans.plan import Plan
from tests.builders.models import VOCABULARY, tiny_model

WINDOWS, LENGTH = 2, 16
TOKENS = WINDOWS * LENGTH
PLANS = (
    "train: all",
    "train: attn.qkv@50%:",
    "train: attn.q@2",
    "train: attn.v@2",
    "train: attn.o@50%:",
    "train: mlp@50%:",
    "train: mlp.down@-1:",
    "train: norm@50%:",
    "train: bias@50%:",
    "freeze: attn@50%:",
    "freeze: embed",
)


def flops_counted_by_torch(model: PreTrainedModel) -> int:
    """Without the angles of rotary positions, which some versions of transformers compute by a product of matrices."""
    tokens = torch.arange(TOKENS).reshape(WINDOWS, LENGTH) % VOCABULARY
    with FlopCounterMode(display=False) as counter:
        model(input_ids=tokens, labels=tokens).loss.backward()
    counts = counter.get_flop_counts()
    angles = sum(sum(own.values()) for module, own in counts.items() if module.endswith("rotary_emb"))
    return int(counter.get_total_flops() - angles)


def train_only(model: PreTrainedModel, names: set[str]) -> None:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)


@pytest.mark.parametrize("text", PLANS)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_step_costs_what_torch_counts(family: str, text: str) -> None:
    if family == "llama" and "bias" in text:
        text = "train: norm@3"  # a llama has no biases
    if family == "gpt2" and text in ("train: attn.q@2", "train: attn.v@2"):
        text = "train: attn.qkv@2"  # torch has no gradient of a part of a matrix
    if text == "freeze: embed":
        text = "freeze: norm"  # both families tie the head here
    model = tiny_model(family, attn_implementation="eager", tie_word_embeddings=True)
    resolved = Plan.parse(text).resolve(model)
    train_only(model, {portion.parameter for portion in resolved.trained.values()})
    cost = plan_cost(model, resolved, TOKENS, sequence_length=LENGTH)
    assert cost.step_flops == flops_counted_by_torch(model)


@pytest.mark.parametrize("family", ["gpt_neox", "gptj", "falcon", "phi", "cohere"])
@pytest.mark.parametrize("text", ["train: all", "train: attn.qkv@50%:", "train: mlp@50%:", "train: [attn.qkv, mlp.up]"])
def test_attention_and_mlp_side_by_side_send_no_gradient_through_each_other(family: str, text: str) -> None:
    model = tiny_model(family, attn_implementation="eager")
    resolved = Plan.parse(text).resolve(model)
    train_only(model, {portion.parameter for portion in resolved.trained.values()})
    cost = plan_cost(model, resolved, TOKENS, sequence_length=LENGTH)
    assert cost.step_flops == flops_counted_by_torch(model)


@pytest.mark.parametrize("text", ["train: all", "freeze: embed", "train: head", "train: attn.k@3"])
def test_an_untied_head_costs_what_torch_counts(text: str) -> None:
    model = tiny_model("llama", attn_implementation="eager", tie_word_embeddings=False)
    resolved = Plan.parse(text).resolve(model)
    train_only(model, {portion.parameter for portion in resolved.trained.values()})
    cost = plan_cost(model, resolved, TOKENS, sequence_length=LENGTH)
    assert cost.step_flops == flops_counted_by_torch(model)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("targets", ["attn.qkv", "attn.qkv@50%:", "mlp.down@50%:", "mlp@50%:"])
def test_a_step_with_adapters_costs_what_torch_counts(family: str, targets: str) -> None:
    model = tiny_model(family, attn_implementation="eager")
    resolved = Plan.parse(f"lora: rank 3, targets [{targets}]").resolve(model)
    assert resolved.lora is not None
    cost = plan_cost(model, resolved, TOKENS, sequence_length=LENGTH)
    inject_adapters(model, resolved.lora, adapter_modules(model, resolved.targets), seed=0)
    assert cost.step_flops == flops_counted_by_torch(model)
    assert plan_cost(model, resolved, TOKENS, sequence_length=LENGTH) == cost
    places = places_of(model, resolved)
    assert plan_cost(model, resolved, TOKENS, sequence_length=LENGTH, places=places) == cost


@pytest.mark.parametrize("text", ["train: all", "train: mlp@50%:"])
def test_a_mixture_of_experts_costs_its_routed_share(text: str) -> None:
    model = tiny_model("mixtral", attn_implementation="eager", experts_implementation="eager")
    resolved = Plan.parse(text).resolve(model)
    train_only(model, {portion.parameter for portion in resolved.trained.values()})
    cost = plan_cost(model, resolved, TOKENS, sequence_length=LENGTH)
    assert cost.step_flops == flops_counted_by_torch(model)


def test_the_upper_half_of_query_key_value_saves_what_the_field_says() -> None:
    model = tiny_model("gpt2", layers=24)
    resolved = Plan.parse("train: [attn.qkv@50%:]").resolve(model)
    plain = plan_cost(model, resolved, TOKENS, include_head=False, truncated=False)
    truncated = plan_cost(model, resolved, TOKENS, include_head=False)
    assert plain.ceiling == pytest.approx(0.29, abs=0.005)
    assert truncated.ceiling == pytest.approx(0.46, abs=0.005)
    assert truncated.ceiling_cached == pytest.approx(0.63, abs=0.005)


def test_the_reversed_plan_saves_next_to_nothing() -> None:
    model = tiny_model("gpt2")
    resolved = Plan.parse("freeze: [attn@50%:]").resolve(model)
    cost = plan_cost(model, resolved, TOKENS, include_head=False)
    assert 0.04 <= cost.ceiling <= 0.06
    assert cost.ceiling_cached == cost.ceiling


def test_a_tied_head_costs_its_product_though_it_has_no_parameter() -> None:
    model = tiny_model("gpt2")
    resolved = Plan.parse("train: attn@3").resolve(model)
    with_head = plan_cost(model, resolved, TOKENS)
    without = plan_cost(model, resolved, TOKENS, include_head=False)
    product = 2 * TOKENS * VOCABULARY * model.config.hidden_size
    assert with_head.forward_flops - without.forward_flops == product
    assert with_head.input_gradient_flops - without.input_gradient_flops == product
    assert with_head.weight_gradient_flops == without.weight_gradient_flops


def test_a_cached_prefix_saves_its_forward_pass_as_well() -> None:
    model = tiny_model("llama")
    resolved = Plan.parse("train: attn@3").resolve(model)
    cost = plan_cost(model, resolved, TOKENS, sequence_length=LENGTH, include_head=False)
    prefix_share = 3 / 4  # equal layers, three of four below
    cached = (cost.step_flops - prefix_share * cost.forward_flops) / cost.full_step_flops
    assert cost.ceiling_cached == pytest.approx(1 - cached, rel=1e-12)


def test_a_saving_below_one_percent_is_not_rounded_to_none() -> None:
    model = tiny_model("llama", layers=8)
    resolved = Plan.parse("freeze: attn.k@3").resolve(model)
    cost = plan_cost(model, resolved, TOKENS)
    assert 0 < cost.ceiling < 0.005
    assert ceiling_sentence(cost, resolved).startswith("can save less than 1 %: the embeddings train")


def test_a_plan_that_thaws_costs_more_afterwards() -> None:
    model = tiny_model("llama")
    resolved = Plan.parse("train: attn@3; at 5 thaw: all").resolve(model)
    assert plan_cost(model, resolved, TOKENS, step=4) == plan_cost(model, resolved, TOKENS)
    assert plan_cost(model, resolved, TOKENS, step=5).ceiling == 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("train: all", "can save nothing: everything trains"),
        ("freeze: norm", "can save nothing: every matrix trains"),
        ("train: attn.qkv@50%:", "can save at most 46 % of the arithmetic (62 % with a cached prefix)"),
        ("freeze: attn@50%:", "can save at most 6 %: the embeddings train, so the backward pass cannot stop early"),
        ("freeze: attn.k@3", "can save at most 1 %: the embeddings train, so the backward pass cannot stop early"),
        ("train: [attn, mlp]", "can save at most 5 %: layer 0 trains, so the backward pass cannot stop early"),
        (
            "lora: rank 64, targets [attn, mlp]",
            "can save no arithmetic: the adapters cost more than the gradients that they spare",
        ),
    ],
)
def test_the_ceiling_is_said_in_plain_words(text: str, sentence: str) -> None:
    model = tiny_model("llama", tie_word_embeddings=True)
    resolved = Plan.parse(text).resolve(model)
    assert ceiling_sentence(plan_cost(model, resolved, TOKENS), resolved) == sentence
