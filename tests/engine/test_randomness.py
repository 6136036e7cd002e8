"""Dropout of every family, whatever it is called, is what the recipe says."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from frostline.engine.randomness import draws, random_module, set_randomness
from frostline.errors import ModelError
from frostline.loading import load_model
from frostline.plans import Plan
from frostline.recipe import ModelSettings, TrainingSettings
from tests.builders.arms import make_arm
from tests.builders.batches import random_batch
from tests.builders.engines import make_fast_arm, make_pair, make_plain_arm
from tests.builders.models import FAMILIES, tiny_model

DRAWING: dict[str, dict[str, Any]] = {
    "opt": {"dropout": 0.2, "attention_dropout": 0.2, "layerdrop": 0.4},
    "biogpt": {
        "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 64,
        "hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2, "activation_dropout": 0.2, "layerdrop": 0.4,
    },
    "xglm": {
        "d_model": 32, "ffn_dim": 48, "attention_heads": 4, "max_position_embeddings": 64, "num_layers": 4,
        "dropout": 0.2, "activation_dropout": 0.2, "layerdrop": 0.4,
    },
    "bart": {
        "d_model": 32, "decoder_ffn_dim": 48, "decoder_attention_heads": 4, "decoder_layers": 4,
        "max_position_embeddings": 64, "dropout": 0.2, "decoder_layerdrop": 0.4, "is_decoder": True,
    },
    "mixtral": {"router_jitter_noise": 0.2, "attention_dropout": 0.2},
    "bert-generation": {
        "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "is_decoder": True,
        "hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2,
    },
    "gpt2": {"resid_pdrop": 0.2, "embd_pdrop": 0.2, "attn_pdrop": 0.2},
    "starcoder2": {"residual_dropout": 0.2, "embedding_dropout": 0.2},
    "gpt_neo": {"resid_dropout": 0.2, "embed_dropout": 0.2},
}  # fmt: skip


def trained_logits(model: PreTrainedModel, seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    model.train()
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.arange(3, 11).unsqueeze(0), use_cache=False).logits
        return logits


@pytest.mark.parametrize("family", DRAWING)
def test_a_rate_of_zero_switches_everything_off_that_draws(family: str) -> None:
    model = tiny_model(family, **DRAWING[family])
    with torch.no_grad():
        quiet = model(input_ids=torch.arange(3, 11).unsqueeze(0), use_cache=False).logits
    with torch.random.fork_rng(devices=[]):
        assert any(not torch.equal(trained_logits(model, seed), quiet) for seed in range(8))
        assert random_module(model) is not None
        set_randomness(model, 0.0)
        assert all(torch.equal(trained_logits(model, seed), quiet) for seed in range(8))
    assert random_module(model) is None
    assert not any(draws(module) for module in model.modules())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_can_be_made_to_drop_and_to_stop(family: str) -> None:
    model = tiny_model(family)
    with torch.no_grad():
        quiet = model(input_ids=torch.arange(3, 11).unsqueeze(0), use_cache=False).logits
    set_randomness(model, 0.5)
    with torch.random.fork_rng(devices=[]):
        dropped = [trained_logits(model, seed) for seed in range(2)]
        assert not torch.equal(*dropped)
        set_randomness(model, 0.0)
        assert torch.equal(trained_logits(model, 0), quiet)


def test_a_model_with_another_rate_can_be_saved_and_loaded(tmp_path: Path) -> None:
    model = tiny_model("mpt")  # its configuration wants whole numbers for some rates
    for rate in (0.3, 0.0):
        set_randomness(model, rate)
        model.save_pretrained(tmp_path)
        load_model(ModelSettings(source=str(tmp_path)), tmp_path, dropout=rate)


def test_layers_are_dropped_at_the_rate_where_any_are_and_kept_where_none_are() -> None:
    dropping, keeping = tiny_model("opt", layerdrop=0.4), tiny_model("opt")
    for model in (dropping, keeping):
        set_randomness(model, 0.1)
    assert dropping.model.decoder.layerdrop == 0.1
    assert keeping.model.decoder.layerdrop == 0.0


class Shaken(nn.Module):
    """Draws from a source that no name tells of."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + torch.randn_like(hidden) if self.training else hidden


def test_what_cannot_be_set_is_named() -> None:
    model = tiny_model("llama")
    model.model.layers[1].mlp.act_fn = Shaken()
    with pytest.raises(ModelError, match=r"'model\.layers\.1\.mlp\.act_fn' of this model draws random numbers"):
        set_randomness(model, 0.0)
    set_randomness(model, 0.1)


def test_a_router_that_draws_its_experts_takes_the_likeliest_where_nothing_is_to_be_drawn() -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2, "max_position_embeddings": 64}
    model = tiny_model("phimoe", **sizes, **experts, router_jitter_noise=0.2, input_jitter_noise=0.2)
    assert random_module(model) is not None
    set_randomness(model, 0.0)
    with torch.random.fork_rng(devices=[]):
        assert torch.equal(trained_logits(model, 0), trained_logits(model, 1))


def test_a_loaded_model_trains_as_a_loop_without_dropout_does(tmp_path: Path) -> None:
    model = tiny_model("opt", **DRAWING["opt"])
    model.save_pretrained(tmp_path)
    reference = copy.deepcopy(model).eval()  # evaluation mode drops nothing
    arm = make_arm(load_model(ModelSettings(source=str(tmp_path)), tmp_path, dropout=0.0))
    optimizer = torch.optim.AdamW(reference.parameters(), lr=1e-2, weight_decay=0.1, fused=True)
    for step in range(3):
        batch = random_batch(step)
        tokens = torch.from_numpy(batch.input_ids)
        logits = reference(input_ids=tokens, use_cache=False).logits
        loss = nn.functional.cross_entropy(logits[:, :-1].reshape(-1, 97), tokens[:, 1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        assert arm.take_step(batch, step).loss_nats == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("engine", ["plain", "fast"])
def test_a_step_in_which_every_trained_layer_is_dropped_is_a_step(engine: str) -> None:
    base = tiny_model("opt", layerdrop=0.999)
    plan, settings = Plan.parse("train: [attn@-1]"), TrainingSettings(steps=4, learning_rate=1e-2)
    arm = (make_plain_arm if engine == "plain" else make_fast_arm)(base, plan, settings)
    before = {name: value.detach().clone() for name, value in arm.applied.trainable_parameters()}
    outcome = arm.take_step(random_batch(0), 0)
    assert math.isfinite(outcome.loss_nats)
    assert outcome.gradient_norm == 0.0
    assert all(torch.equal(value, before[name]) for name, value in arm.applied.trainable_parameters())
    base.model.decoder.layerdrop = arm.model.model.decoder.layerdrop = 0.0
    assert arm.take_step(random_batch(1), 1).gradient_norm > 0


def test_the_fast_engine_drops_the_layers_that_the_plain_loop_drops() -> None:
    plain, fast = make_pair(tiny_model("opt", layerdrop=0.5), "train: [attn@2:]")
    for step in range(6):
        one, two = (arm.take_step(random_batch(step), step) for arm in (plain, fast))
        assert two.loss_nats == pytest.approx(one.loss_nats, rel=1e-6)
        assert two.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-5)
