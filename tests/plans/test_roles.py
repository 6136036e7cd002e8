"""Does every weight of every family get its one right role, from the structure alone?"""

from __future__ import annotations

from collections import Counter
from typing import NoReturn

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, T5Config, T5ForConditionalGeneration

from frostline.errors import ModelError
from frostline.plans import ModelMap, Portion, map_model
from frostline.plans.probe import InconclusiveProbeError
from frostline.recipe import GROUP_ROLES, LEAF_ROLES
from tests.builders.models import FAMILIES, HEADS, HIDDEN, tiny_model

HEAD = HIDDEN // HEADS
GROUPED = {"num_attention_heads": HEADS, "num_key_value_heads": 2}


@pytest.fixture(scope="module")
def maps() -> dict[str, tuple[PreTrainedModel, ModelMap]]:
    found = {}
    for family in FAMILIES:
        model = tiny_model(family)
        found[family] = (model, map_model(model))
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_every_element_of_every_parameter_has_exactly_one_role(
    family: str, maps: dict[str, tuple[PreTrainedModel, ModelMap]]
) -> None:
    model, found = maps[family]
    times = {name: torch.zeros_like(parameter, dtype=torch.int32) for name, parameter in model.named_parameters()}
    for portion in found.portions:
        assert portion.role in LEAF_ROLES
        before = times[portion.parameter].sum()
        mask = torch.zeros(portion.shape, dtype=torch.int32)
        mask.index_add_(portion.dimension, portion.index_tensor(), torch.ones(portion.portion_shape, dtype=torch.int32))
        times[portion.parameter] += mask
        assert times[portion.parameter].sum() - before == portion.values
    assert all(bool((count == 1).all()) for count in times.values())
    assert found.values == sum(parameter.numel() for parameter in model.parameters())
    assert len({portion.name for portion in found.portions}) == len(found.portions)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_has_query_key_value_output_up_and_down_matrices(
    family: str, maps: dict[str, tuple[PreTrainedModel, ModelMap]]
) -> None:
    model, found = maps[family]
    assert found.layers == model.config.num_hidden_layers == 4
    for layer in range(4):
        roles = Counter(portion.role for portion in found.portions if portion.layer == layer)
        for role in ("attn.q", "attn.k", "attn.v", "attn.o", "mlp.up", "mlp.down"):
            assert roles[role] == 1, role
        assert roles["mlp.gate"] == ("gate" in " ".join(dict(model.named_parameters())).replace("mlp.gate.", ""))


def role_by_name(name: str) -> str | None:
    """The role that the names of separate matrices state in most families: the independent reference."""
    words = {
        "attn.q": "q_proj",
        "attn.k": "k_proj",
        "attn.v": "v_proj",
        "attn.o": "o_proj out_proj attention.dense self_attn.dense attn.c_proj",
        "mlp.gate": ".gate_proj",
        "mlp.up": ".up_proj fc1 fc_in c_fc dense_h_to_4h",
        "mlp.down": "down_proj fc2 fc_out mlp.c_proj dense_4h_to_h",
        "norm": "norm ln_",
    }
    if name.endswith("bias") and not any(word in name for word in words["norm"].split()):
        return "bias"
    found = [role for role, listed in words.items() if any(f"{word}." in f"{name}." for word in listed.split())]
    found += ["norm"] * ("ln_" in name)
    return found[0] if len(found) == 1 else None


@pytest.mark.parametrize("family", FAMILIES)
def test_roles_found_by_probing_agree_with_the_names_of_separate_matrices(
    family: str, maps: dict[str, tuple[PreTrainedModel, ModelMap]]
) -> None:
    checked = 0
    for portion in maps[family][1].portions:
        expected = role_by_name(portion.parameter)
        if expected is not None and portion.whole and portion.layer is not None:
            assert portion.role == expected, portion.name
            checked += 1
    assert checked >= 4 * 3


def positions(portion: Portion) -> list[int]:
    return portion.index_tensor().tolist()


def fused_reference(family: str) -> Tensor:
    """0, 1, 2 for query, key, value of each output feature of the fused matrix, by each family's own layout."""
    by_head = torch.arange(3).repeat_interleave(HEAD).repeat(HEADS)  # [heads, 3, head size]
    blocks = torch.arange(3).repeat_interleave(HIDDEN)
    if family in ("gpt_neox", "bloom"):
        return by_head
    if family == "phi3":
        return torch.tensor([0] * HIDDEN + [1] * 2 * HEAD + [2] * 2 * HEAD)
    if family in ("falcon", "gpt_bigcode"):  # multi-query: one key and one value head
        return torch.tensor([0] * HIDDEN + [1] * HEAD + [2] * HEAD)
    if family == "codegen":  # four groups for as many TPU cores, each query, value, key
        return torch.tensor([0, 2, 1]).repeat_interleave(HIDDEN // 4).repeat(4)
    return blocks


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "bloom", "phi3", "falcon", "codegen", "mpt", "gpt_bigcode"])
def test_fused_matrices_are_divided_as_the_family_lays_them_out(
    family: str, maps: dict[str, tuple[PreTrainedModel, ModelMap]]
) -> None:
    layout = fused_reference(family)
    fused = [portion for portion in maps[family][1].portions if portion.role in GROUP_ROLES["attn.qkv"]]
    assert len(fused) == 4 * 3
    for portion in fused:
        kind = ("attn.q", "attn.k", "attn.v").index(portion.role)
        assert portion.dimension == (1 if family == "gpt2" else 0)
        assert positions(portion) == (layout == kind).nonzero().flatten().tolist()


def test_falcons_grouped_layout_is_found_too() -> None:
    model = tiny_model("falcon", new_decoder_architecture=True, num_kv_heads=2)
    layout = torch.tensor([0, 0, 1, 2]).repeat_interleave(HEAD).repeat(2)  # [groups, two queries, key, value]
    for portion in map_model(model).portions:
        if portion.role in GROUP_ROLES["attn.qkv"]:
            kind = ("attn.q", "attn.k", "attn.v").index(portion.role)
            assert positions(portion) == (layout == kind).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("family", "dimension", "gate"),
    [("phi3", 0, range(48)), ("mixtral", 1, range(48)), ("qwen3_moe", 1, range(24)), ("gpt_oss", 2, range(0, 96, 2))],
)
def test_fused_gate_and_up_matrices_are_divided(
    family: str, dimension: int, gate: range, maps: dict[str, tuple[PreTrainedModel, ModelMap]]
) -> None:
    for portion in maps[family][1].portions:
        if portion.role == "mlp.gate":
            assert portion.dimension == dimension
            assert positions(portion) == list(gate)


def test_routers_and_sinks_stay_at_the_group_roles(maps: dict[str, tuple[PreTrainedModel, ModelMap]]) -> None:
    by_name = {portion.name: portion.role for portion in maps["gpt_oss"][1].portions}
    assert by_name["model.layers.0.mlp.router.weight"] == "mlp"
    assert by_name["model.layers.0.self_attn.sinks"] == "attn"
    assert by_name["model.layers.0.mlp.experts.gate_up_proj_bias"] == "bias"


def test_a_latent_that_key_and_value_share_is_plain_attention() -> None:
    model = tiny_model(
        "deepseek_v3",
        layers=2,
        **{"hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 16, "num_attention_heads": 4},
        **{"num_key_value_heads": 4, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "v_head_dim": 8},
        **{"qk_nope_head_dim": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
        **{"first_k_dense_replace": 1, "n_shared_experts": 1, "max_position_embeddings": 64},
    )
    rows = {
        portion.name: portion.portion_shape
        for portion in map_model(model).portions
        if "layers.0.self_attn" in portion.name
    }
    prefix = "model.layers.0.self_attn."
    assert rows[f"{prefix}q_a_proj.weight"] == (8, 32)
    assert rows[f"{prefix}kv_a_proj_with_mqa.weight[attn]"] == (8, 32)
    assert rows[f"{prefix}kv_a_proj_with_mqa.weight[attn.k]"] == (4, 32)
    assert rows[f"{prefix}kv_b_proj.weight[attn.k]"] == (16, 8)
    assert rows[f"{prefix}kv_b_proj.weight[attn.v]"] == (32, 8)


def test_a_tied_head_is_listed_and_an_untied_one_has_its_role() -> None:
    tied = map_model(tiny_model("gpt2"))
    assert tied.tied == (("transformer.wte.weight", "lm_head.weight"),)
    assert "head" not in {portion.role for portion in tied.portions}
    untied = map_model(tiny_model("gpt2", tie_word_embeddings=False))
    assert untied.tied == ()
    assert [portion.name for portion in untied.portions if portion.role == "head"] == ["lm_head.weight"]


def test_what_lies_outside_the_layers_knows_its_side(maps: dict[str, tuple[PreTrainedModel, ModelMap]]) -> None:
    sides = {
        portion.name: (portion.role, portion.side) for portion in maps["bloom"][1].portions if portion.layer is None
    }
    assert sides == {
        "transformer.word_embeddings.weight": ("embed", "below"),
        "transformer.word_embeddings_layernorm.weight": ("norm", "below"),
        "transformer.word_embeddings_layernorm.bias": ("norm", "below"),
        "transformer.ln_f.weight": ("norm", "above"),
        "transformer.ln_f.bias": ("norm", "above"),
    }


@pytest.mark.parametrize("family", ["gpt2", "phi3", "gpt_oss"])
def test_mapping_leaves_model_and_random_state_untouched(family: str) -> None:
    model = tiny_model(family).train()
    model.requires_grad_(False)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    map_model(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("family", ["llama", "bloom", "phi3", "mixtral"])
def test_the_map_depends_on_structure_alone(family: str) -> None:
    model = tiny_model(family)
    expected = map_model(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert map_model(model) == expected
    nn.Module.to(model, torch.bfloat16)
    assert map_model(model) == expected
    assert map_model(tiny_model(family, seed=5)) == expected


def test_one_layer_and_one_head_are_enough() -> None:
    model = tiny_model("llama", layers=1, num_attention_heads=1, num_key_value_heads=1)
    roles = [portion.role for portion in map_model(model).portions if portion.layer == 0]
    assert roles == ["attn.q", "attn.k", "attn.v", "attn.o", "mlp.gate", "mlp.up", "mlp.down", "norm", "norm"]


def test_an_encoder_decoder_has_no_decoder_stack() -> None:
    config = T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    model = T5ForConditionalGeneration(config)
    with pytest.raises(ModelError, match="has no decoder stack of its own: it is an encoder-decoder model"):
        map_model(model)


def refusal(parts: nn.Module) -> str:
    """What is said of a model that consists of `parts`, called one after another."""

    class Unusual(PreTrainedModel):
        def __init__(self) -> None:
            config = tiny_model("llama", layers=2).config
            config._attn_implementation = "eager"
            super().__init__(config)
            self.embedding = nn.Embedding(10, HIDDEN)
            self.parts = parts

        def get_input_embeddings(self) -> nn.Module:
            return self.embedding

        def forward(self, input_ids: Tensor, **_: object) -> Tensor:
            hidden: Tensor = self.embedding(input_ids)
            for part in self.parts.children():
                hidden = part(hidden)
            return hidden

    with pytest.raises(ModelError) as caught:
        map_model(Unusual())
    return str(caught.value)


def test_a_model_without_layers_has_no_decoder_stack() -> None:
    message = refusal(nn.Sequential(nn.Linear(HIDDEN, HIDDEN)))
    assert message.startswith("Unusual has no decoder stack: no list of equal layers was found")


def test_layers_without_attention_are_refused() -> None:
    layers = [nn.Sequential(nn.Linear(HIDDEN, 8), nn.ReLU(), nn.Linear(8, HIDDEN)) for _ in range(2)]
    assert "no layer of Unusual mixes positions as attention does" in refusal(nn.ModuleList(layers))


def test_a_layer_that_mixes_positions_in_another_way_keeps_the_group_role() -> None:
    model = tiny_model("lfm2", layers=2, hidden_size=32, intermediate_size=48, full_attn_idxs=[1], **GROUPED)
    convolution, attention = (
        {portion.role for portion in map_model(model).portions if portion.layer == layer} for layer in (0, 1)
    )
    assert convolution == {"attn", "attn.o", "mlp.gate", "mlp.up", "mlp.down", "norm"}
    assert attention == {"attn.q", "attn.k", "attn.v", "attn.o", "mlp.gate", "mlp.up", "mlp.down", "norm"}


def fail(*_: object) -> NoReturn:
    raise InconclusiveProbeError


@pytest.mark.parametrize("family", ["llama", "opt", "gpt_neo", "qwen3"])
def test_where_probes_do_not_tell_the_names_of_matrices_do(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> bool:
        raise RuntimeError("this kernel needs another machine")

    model = tiny_model(family)
    attention = [portion for portion in map_model(model).portions if portion.role.startswith("attn")]
    monkeypatch.setattr("frostline.plans.roles.mixes_positions", refuse)
    monkeypatch.setattr("frostline.plans.roles.probe_attention", fail)
    assert [portion for portion in map_model(model).portions if portion.role.startswith("attn")] == attention


def test_where_neither_probe_nor_name_tells_the_group_role_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frostline.plans.roles.probe_attention", fail)
    monkeypatch.setattr("frostline.plans.roles.probe_mlp", fail)
    roles = {portion.name.split(".", 3)[-1]: portion.role for portion in map_model(tiny_model("gpt2")).portions}
    assert roles["attn.c_attn.weight"] == "attn"
    assert roles["mlp.c_fc.weight"] == "mlp"
