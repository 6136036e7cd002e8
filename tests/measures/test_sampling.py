"""Does sampling follow the model's own probabilities, with the same dice for every arm, and leave no trace?"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from transformers import PreTrainedModel, TopPLogitsWarper

from frostline.measures import sample_continuations
from frostline.measures.sampling import choose_tokens, gumbel_noise, keep_nucleus
from frostline.recipe import SamplingSettings
from tests.builders.models import FAMILIES, VOCABULARY, tiny_model

CPU = torch.device("cpu")


def make_prompts(count: int = 3, length: int = 5) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(3, VOCABULARY, (count, length))


def sample(
    model: PreTrainedModel,
    prompts: NDArray[np.int64],
    *,
    seed: int = 0,
    ends: tuple[int, ...] = (),
    precision: str = "fp32",
    **settings: float,
) -> list[list[int]]:
    chosen = SamplingSettings.model_validate({"new_tokens": 8, **settings})
    return sample_continuations(model, prompts, chosen, seed, ends, device=CPU, precision=precision)


@contextmanager
def recorded_positions(model: PreTrainedModel) -> Iterator[list[int]]:
    """How many positions of each text the head reads, call by call."""
    seen: list[int] = []
    head = model.get_output_embeddings()
    handle = head.register_forward_hook(lambda module, args, output: seen.append(args[0].shape[-2]))
    yield seen
    handle.remove()


def greedy_without_cache(model: PreTrainedModel, prompt: NDArray[np.int64], new_tokens: int) -> list[int]:
    ids = torch.from_numpy(prompt)[None]
    for _ in range(new_tokens):
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits
        ids = torch.cat([ids, logits[:, -1].argmax(dim=-1, keepdim=True)], dim=1)
    return [int(token) for token in ids[0, len(prompt) :]]


def sharpened(family: str) -> PreTrainedModel:
    """Tiny models are unsure of everything: larger weights give them opinions that rounding cannot turn."""
    model = tiny_model(family, layers=2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_almost_no_temperature_gives_the_most_probable_tokens_of_a_loop_without_cache(family: str) -> None:
    model = sharpened(family)
    prompts = make_prompts()
    continuations = sample(model, prompts, temperature=1e-6, new_tokens=20)
    assert continuations == [greedy_without_cache(model, prompt, 20) for prompt in prompts]


def test_two_arms_with_equal_weights_write_the_same_text() -> None:
    model = tiny_model("llama")
    prompts = make_prompts()
    assert sample(copy.deepcopy(model), prompts, seed=3) == sample(model, prompts, seed=3)


def test_another_seed_gives_another_text() -> None:
    model = tiny_model("llama")
    assert sample(model, make_prompts(), seed=1) != sample(model, make_prompts(), seed=2)


@pytest.mark.parametrize("family", ["gpt2", "mixtral"])
def test_sampling_neither_draws_from_the_global_random_state_nor_changes_the_mode(family: str) -> None:
    model = tiny_model(family).train()
    state, numpy_state = torch.get_rng_state(), np.random.get_state()
    sample(model, make_prompts(), top_p=0.9)
    assert torch.equal(torch.get_rng_state(), state)
    assert str(np.random.get_state()) == str(numpy_state)
    assert model.training


def test_a_prompts_text_does_not_depend_on_the_prompts_after_it() -> None:
    model = tiny_model("llama")
    prompts = make_prompts(6)
    assert sample(model, prompts)[:2] == sample(model, prompts[:2])


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
@pytest.mark.parametrize("by_cache", [True, False])
def test_groups_of_prompts_and_few_logits_write_the_same_text(
    family: str, by_cache: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, prompts = sharpened(family), make_prompts(5)
    settings = SamplingSettings(new_tokens=8)

    def written() -> list[list[int]]:
        return sample_continuations(model, prompts, settings, 3, (), device=CPU, precision="fp32", by_cache=by_cache)

    expected = written()
    monkeypatch.setattr("frostline.measures.sampling.MOST_TOKENS", 2 * 13)
    assert written() == expected
    monkeypatch.setattr("frostline.measures.head.CHUNK_VALUES", 2 * VOCABULARY)
    with recorded_positions(model) as positions:
        assert written() == expected
    assert max(positions) <= 32  # those on which the head is tried; a prompt pass alone would have 2 x 5
    assert sorted(set(positions[-8:])) == [1]


def test_the_noise_of_a_prompt_depends_on_its_own_number_seed_and_position_alone() -> None:
    noise = gumbel_noise(7, 3, 5, 40)
    assert torch.equal(gumbel_noise(7, 3, 2, 30), noise[:2, :30])
    assert torch.equal(gumbel_noise(7, 3, 2, 40, first=3), noise[3:])
    rows = [*noise, *gumbel_noise(7, 4, 5, 40), *gumbel_noise(8, 3, 5, 40)]
    assert len({tuple(row.tolist()) for row in rows}) == 15


def test_the_noise_is_standard_gumbel_noise() -> None:
    noise = gumbel_noise(0, 0, 4, 20_000).flatten().numpy()
    assert stats.kstest(noise, stats.gumbel_r.cdf).pvalue > 0.01
    assert np.isfinite(noise).all()
    correlation = np.corrcoef(gumbel_noise(0, 0, 4, 20_000).numpy())
    assert np.abs(correlation[~np.eye(4, dtype=bool)]).max() < 0.03


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 0.7)])
def test_over_many_seeds_tokens_come_as_often_as_softmax_says(temperature: float, top_p: float) -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, 1.5, 0.3]], dtype=torch.float64)
    draws = 4000
    counts = np.zeros(6)
    for seed in range(draws):
        counts[int(choose_tokens(logits, gumbel_noise(seed, 0, 1, 6), temperature, top_p))] += 1
    warped = logits / temperature
    if top_p < 1:
        warped = TopPLogitsWarper(top_p)(torch.zeros(1, 1, dtype=torch.long), warped)
    expected = warped[0].softmax(dim=-1).numpy() * draws
    possible = expected > 0
    assert counts[~possible].sum() == 0
    assert stats.chisquare(counts[possible], expected[possible]).pvalue > 0.01


def test_the_first_tokens_of_a_model_come_as_often_as_its_softmax_says() -> None:
    model = sharpened("llama")
    prompts = make_prompts(1)
    with torch.no_grad():
        probabilities = model(input_ids=torch.from_numpy(prompts)).logits[0, -1].double().softmax(dim=-1).numpy()
    draws = 1500
    counts = np.zeros(VOCABULARY)
    for prompt_block in range(draws // 100):
        for continuation in sample(model, prompts.repeat(100, axis=0), seed=prompt_block, new_tokens=1):
            counts[continuation[0]] += 1
    often = probabilities * draws >= 5
    observed = [*counts[often], counts[~often].sum()]
    expected = [*(probabilities[often] * draws), probabilities[~often].sum() * draws]
    assert stats.chisquare(observed, expected).pvalue > 0.01


@pytest.mark.parametrize("top_p", [0.05, 0.3, 0.9, 0.999])
def test_the_nucleus_is_that_of_transformers(top_p: float) -> None:
    scores = torch.randn(5, 60, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    expected: Tensor = TopPLogitsWarper(top_p)(torch.zeros(5, 1, dtype=torch.long), scores)
    assert torch.equal(keep_nucleus(scores, top_p), expected)


def test_the_most_probable_token_survives_any_nucleus() -> None:
    kept = keep_nucleus(torch.zeros(1, 4, dtype=torch.float64), 1e-9)
    assert kept.isfinite().tolist() == [[True, False, False, False]]


def test_a_continuation_ends_before_an_end_token_while_the_others_go_on() -> None:
    model = tiny_model("llama")
    prompts = make_prompts(4)
    free = sample(model, prompts, new_tokens=12)
    end = free[1][4]
    ended = sample(model, prompts, ends=(end,), new_tokens=12)
    assert ended == [text[: text.index(end)] if end in text else text for text in free]
    assert len(ended[1]) <= 4
    assert max(len(text) for text in ended) == 12


def test_a_continuation_may_be_empty() -> None:
    model = tiny_model("llama")
    prompts = make_prompts(2)
    first = {text[0] for text in sample(model, prompts)}
    assert sample(model, prompts, ends=tuple(first)) == [[], []]


def test_bf16_samples_from_the_logits_of_bf16() -> None:
    model = sharpened("llama")
    prompts = make_prompts(1)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = int(model(input_ids=torch.from_numpy(prompts)).logits[0, -1].argmax())
    assert sample(model, prompts, precision="bf16", temperature=1e-6, new_tokens=1) == [[expected]]


def test_each_draw_has_dice_of_its_own_and_the_first_those_of_a_single_one() -> None:
    first, again, second = (gumbel_noise(3, 5, 2, 50, *draw) for draw in ((), (0,), (1,)))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
