"""Is a cache used only where it gives what the whole text gives, and is text sampled from models that have none?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from frostline.errors import ModelError
from frostline.measures import goes_on_by_cache, require_going_on, sample_continuations, state_tensors, weights_sha256
from frostline.recipe import SamplingSettings
from tests.builders.families import tiny_of_any_family
from tests.builders.models import FAMILIES, VOCABULARY, tiny_model
from tests.measures.test_sampling import greedy_without_cache

CPU = torch.device("cpu")
WITHOUT = ["mamba", "mamba2", "falcon_mamba", "rwkv", "recurrent_gemma", "openai-gpt"]
"""They hand out a state of their own, or none."""
HYBRIDS = ["jamba", "falcon_h1", "granitemoehybrid", "qwen3_next", "lfm2"]
"""They keep keys and values of some layers and a state of the others, all in `past_key_values`."""


def built(family: str) -> PreTrainedModel:
    if family in FAMILIES:
        return tiny_model(family, layers=2)
    found = tiny_of_any_family(family)
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.mark.parametrize("family", [*FAMILIES, *HYBRIDS])
def test_a_cache_that_gives_what_the_whole_text_gives_is_used(family: str) -> None:
    assert goes_on_by_cache(built(family), device=CPU)


@pytest.mark.parametrize("family", WITHOUT)
def test_a_model_without_such_a_cache_writes_what_a_loop_without_cache_writes(family: str) -> None:
    model = built(family)
    assert not require_going_on(model, device=CPU, precision="fp32")
    prompts = np.random.default_rng(0).integers(3, VOCABULARY, (2, 5))
    settings = SamplingSettings(new_tokens=6, temperature=1e-6)
    written = sample_continuations(model, prompts, settings, 0, (), device=CPU, precision="fp32")
    assert written == [greedy_without_cache(model, prompt, 6) for prompt in prompts]


def test_gpt2_with_cross_attention_is_sampled() -> None:
    model = tiny_model("gpt2", layers=2, add_cross_attention=True)
    prompts = np.random.default_rng(0).integers(3, VOCABULARY, (2, 5))
    settings = SamplingSettings(new_tokens=6, temperature=1e-6)
    written = sample_continuations(model, prompts, settings, 0, (), device=CPU, precision="fp32")
    assert written == [greedy_without_cache(model, prompt, 6) for prompt in prompts]


def test_a_cache_that_gives_other_logits_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama", layers=2)
    forward = model.forward

    def forgetful(*, input_ids: torch.Tensor, past_key_values: object = None, use_cache: bool = False) -> object:
        return forward(input_ids=input_ids, use_cache=use_cache)

    monkeypatch.setattr(model, "forward", forgetful)
    assert not goes_on_by_cache(model, device=CPU)


def test_a_cache_that_cannot_be_used_a_second_time_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama", layers=2)
    forward = model.forward

    def refusing(*, input_ids: torch.Tensor, past_key_values: object = None, use_cache: bool = False) -> object:
        if past_key_values is not None:
            raise NotImplementedError("one text at a time")
        return forward(input_ids=input_ids, use_cache=use_cache)

    monkeypatch.setattr(model, "forward", refusing)
    assert not require_going_on(model, device=CPU, precision="fp32")


def test_a_model_that_cannot_read_a_text_alone_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama", layers=2)

    def asking(**inputs: object) -> object:
        raise ValueError("You have to specify pixel_values. " * 20)

    monkeypatch.setattr(model, "forward", asking)
    with pytest.raises(ModelError, match=r"no text can be sampled from this LlamaForCausalLM") as caught:
        require_going_on(model, device=CPU, precision="fp32")
    assert len(str(caught.value)) < 300
    assert caught.value.where == "measures.sampling"


@pytest.mark.parametrize("longest", [2, 3, 5])
def test_no_more_tokens_are_read_than_are_sampled(longest: int) -> None:
    assert goes_on_by_cache(tiny_model("gpt2", layers=2, n_positions=longest), device=CPU, longest=longest)


def test_reading_leaves_mode_weights_and_random_state_alone() -> None:
    model = built("rwkv").train()
    state, before = torch.get_rng_state(), weights_sha256(state_tensors(model))
    goes_on_by_cache(model, device=CPU)
    assert torch.equal(torch.get_rng_state(), state)
    assert weights_sha256(state_tensors(model)) == before
    assert all(module.training for module in model.modules())
