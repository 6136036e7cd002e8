"""What a model computes is proved before it is trained: finite logits of each token, of earlier tokens alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from frostline.errors import ModelError
from frostline.loading.proof import embedding_rows, require_trainable
from frostline.recipe import ModelSettings
from tests.builders.models import FAMILIES, tiny_model
from tests.loading.folders import change_json, refusal, saved

SETTINGS = ModelSettings(source="some/model")


def encoder(family: str, **changed: object) -> PreTrainedModel:
    sizes: dict[str, object] = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    config = AutoConfig.for_model(family, **sizes, num_attention_heads=4, **changed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: object = AutoModelForCausalLM.from_config(config)
    assert isinstance(model, PreTrainedModel)
    return model


@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
def test_a_model_that_sees_later_tokens_is_refused(family: str, tmp_path: Path) -> None:
    saved(tmp_path, encoder(family))
    assert "a later token changes earlier logits of the model 'FOLDER'" in (told := refusal(tmp_path))
    assert "it is not causal" in told
    change_json(tmp_path / "config.json", is_decoder=True)
    assert refusal(tmp_path) == "", "the way out that was told"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_causal(family: str) -> None:
    require_trainable(tiny_model(family), SETTINGS)


def test_logits_that_are_not_finite_are_refused() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.get_parameter("model.layers.0.mlp.down_proj.weight").mul_(1e38)
        model.get_parameter("model.layers.0.mlp.up_proj.weight").mul_(1e38)
    with pytest.raises(ModelError, match="gives logits that are not finite"):
        require_trainable(model, SETTINGS)


def test_a_body_that_gives_no_logits_is_refused() -> None:
    body = tiny_model("llama").get_decoder()
    with pytest.raises(ModelError, match="does not give logits for each token"):
        require_trainable(body, SETTINGS)


def test_what_the_forward_pass_raises_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")

    def fails(**_: object) -> None:
        raise KeyError("missing")

    monkeypatch.setattr(model, "forward", fails)
    with pytest.raises(ModelError, match=r"the forward pass of 'some/model' could not be .*: KeyError 'missing'\."):
        require_trainable(model, SETTINGS)


def test_random_state_and_modes_are_left_as_they_were() -> None:
    model = tiny_model("gpt2", resid_pdrop=0.5).train()
    model.get_submodule("transformer.h.1").eval()
    modes, state = [module.training for module in model.modules()], torch.get_rng_state()
    require_trainable(model, SETTINGS)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


def test_rows_are_those_that_have_both_an_embedding_and_a_logit() -> None:
    assert embedding_rows(tiny_model("llama", vocab_size=50)) == 50
    assert embedding_rows(tiny_model("opt")) == 97


def test_few_tokens_and_few_positions_are_enough() -> None:
    require_trainable(tiny_model("gpt2", vocab_size=5, n_positions=3), SETTINGS)
    require_trainable(tiny_model("gpt2", n_positions=1), SETTINGS)
