"""A judge reads texts with its own tokenizer, has no weight of the model that wrote them, and is said where it is."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from frostline.errors import ModelError, RecipeError
from frostline.measures import identify, judge_of
from frostline.measures.judge import Judge, judge_losses
from frostline.recipe import load_recipe
from frostline.run_folder import Continuation, TrueContinuation, VariantPrepared, read_journal, records_of
from frostline.stats import summarise
from tests.builders.experiments import run_tiny, write_experiment
from tests.builders.models import tiny_model
from tests.builders.tokenizers import word_tokenizer

CPU = torch.device("cpu")


def other_model() -> PreTrainedModel:
    torch.manual_seed(77)
    model = tiny_model("gpt2")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def judge(longest: int | None = None) -> Judge:
    return judge_of(identify(other_model()), word_tokenizer(93), longest, of=tiny_model("llama"))


def loss_by_hand(prompt: list[int], text: list[int]) -> float:
    model = other_model().eval()
    with torch.no_grad():
        logits = model(torch.tensor([prompt + text])).logits[0].log_softmax(-1)
    return -sum(float(logits[len(prompt) + place - 1, token]) for place, token in enumerate(text))


def words_of(numbers: list[int]) -> str:
    return str(word_tokenizer(93).decode(numbers))


def ids(text: str) -> list[int]:
    return list(word_tokenizer(93)(text, add_special_tokens=False)["input_ids"])


def test_the_loss_is_that_of_the_whole_text_given_its_prompt() -> None:
    prompt, text = words_of([10, 11, 12]), words_of([20, 21, 22, 23])
    (found, nothing) = judge_losses(judge(), [prompt, prompt], [text, ""], device=CPU, precision="fp32")
    assert found == pytest.approx(loss_by_hand(ids(prompt), ids(text)), rel=1e-4)
    assert math.isnan(nothing)


def test_what_the_judge_cannot_read_at_once_is_left_out_of_the_prompt_first() -> None:
    prompt, text = words_of([10, 11, 12]), words_of([20, 21, 22, 23])
    (found,) = judge_losses(judge(6), [prompt], [text], device=CPU, precision="fp32")
    assert found == pytest.approx(loss_by_hand(ids(prompt)[-2:], ids(text)), rel=1e-4)


def test_a_relative_of_the_model_is_no_judge() -> None:
    model = tiny_model("llama")
    tuned = tiny_model("llama")
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.add_(0.01 * parameter.std() * torch.randn_like(parameter))
    for relative in (model, tuned):
        with pytest.raises(ModelError, match=r"measures\.judge: the judge shares weights with the model .*'"):
            judge_of(identify(relative), word_tokenizer(93), None, of=tiny_model("llama"))


def test_a_run_records_what_the_judge_says_of_every_text(tmp_path: Path) -> None:
    disable_progress_bar()
    other_model().save_pretrained(tmp_path / "judge")
    word_tokenizer(93).save_pretrained(tmp_path / "judge")
    sampling = {"prompts": 3, "prompt_tokens": 4, "new_tokens": 6, "draws": 2}
    recipe = write_experiment(
        tmp_path, arms={"full": {"train": "all"}}, seeds=[0],
        measures={"judge": {"source": "judge"}, "sampling": sampling, "memory": False, "common_tokens": 5},
    )  # fmt: skip
    run_tiny(recipe, tmp_path / "run")
    lines = read_journal(tmp_path / "run")
    written, true = records_of(lines, Continuation), records_of(lines, TrueContinuation)
    assert sorted((one.arm, one.draw, one.prompt_index) for one in written) == [
        (arm, draw, prompt) for arm in ("", "full") for draw in (0, 1) for prompt in range(3)
    ]
    assert all(math.isfinite(one.judge_loss_nats) for one in written if one.tokens)
    assert all(math.isfinite(one.judge_loss_nats) for one in true)
    assert len({one.text for one in written if not one.arm}) > 3
    (facts,) = records_of(lines, VariantPrepared)
    assert (facts.judge, len(facts.judge_sha256)) == ("judge", 64)
    (variant,) = summarise(tmp_path / "run").variants
    estimates = [variant.arms["full"].quality, variant.quality_before, variant.quality_reference]
    assert all(own["judge_loss"].unit == "nats per byte" and own["judge_loss"].value for own in estimates)
    assert variant.quality_reference["distance"].value == 0


def test_a_judge_that_is_not_there_is_told_with_its_key(tmp_path: Path) -> None:
    from frostline.verbs.work import meant

    recipe = write_experiment(tmp_path, measures={"judge": {"source": "no/such/folder"}})
    assert load_recipe(recipe).measures.judge is not None
    with pytest.raises((ModelError, RecipeError), match=r"key 'measures\.judge\.source'"):
        meant(recipe, (), None)
