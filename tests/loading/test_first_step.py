"""What cannot be trained is refused by one short pass over the corpus, which leaves everything as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from frostline.errors import ModelError
from frostline.loading import require_step
from frostline.loading.first_step import SHORT
from frostline.recipe import ModelSettings
from tests.builders.batches import random_batch
from tests.builders.experiments import run_tiny, write_experiment
from tests.builders.models import tiny_model

SETTINGS = ModelSettings(source="some/model")
HEAD = "lm_head.weight"


def changed(change: Callable[[Tensor], Tensor]) -> nn.Module:
    """A tiny model whose last norm gives what `change` makes of it."""
    model = tiny_model("llama", layers=2)
    model.get_submodule("model.norm").register_forward_hook(lambda module, inputs, output: change(output))
    return model


def infinite_slope(hidden: Tensor) -> Tensor:
    return hidden + ((hidden - hidden) ** 2).sum() ** 0.5


class NotWhole(torch.autograd.Function):
    """A kernel that its author gave no way back."""

    @staticmethod
    def forward(ctx: object, hidden: Tensor) -> Tensor:
        return hidden.clone()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (infinite_slope, "the gradient of 'model.norm.weight' is not finite in a training step of 'some/model'"),
        (NotWhole.apply, "the training step of 'some/model' fails: "),
        (lambda hidden: hidden * torch.inf, "the loss is not finite in a training step of 'some/model'"),
    ],
)
def test_what_has_logits_but_no_way_back_is_refused(change: Callable[[Tensor], Tensor], told: str) -> None:
    model = changed(change)
    with pytest.raises(ModelError) as caught:
        require_step(model, SETTINGS, random_batch(0), {"model.norm.weight"}, "fp32")  # type: ignore[arg-type]
    assert told in str(caught.value)
    assert len(str(caught.value)) < 300


def test_what_lies_below_what_trains_may_be_anything() -> None:
    require_step(changed(infinite_slope), SETTINGS, random_batch(0), {HEAD}, "fp32")  # type: ignore[arg-type]


def test_a_family_that_needs_whole_windows_is_given_one() -> None:
    model = tiny_model("llama", layers=2, max_position_embeddings=2 * SHORT)

    def whole_alone(module: nn.Module, inputs: tuple[object, ...], kwargs: dict[str, Tensor]) -> None:
        if kwargs["input_ids"].shape[1] != SHORT + 8:
            raise ValueError("not this length")

    model.register_forward_pre_hook(whole_alone, with_kwargs=True)
    require_step(model, SETTINGS, random_batch(0, length=SHORT + 8), {HEAD}, "fp32")
    with pytest.raises(ModelError, match="not this length"):
        require_step(model, SETTINGS, random_batch(0, length=SHORT + 9), {HEAD}, "fp32")


def test_model_and_random_state_are_left_as_they_were() -> None:
    model = tiny_model("gpt2", resid_pdrop=0.5)
    model.get_submodule("transformer.h.1").train(False)
    model.get_parameter("transformer.wte.weight").requires_grad_(False)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    needed, random = [parameter.requires_grad for parameter in model.parameters()], torch.get_rng_state()
    require_step(model, SETTINGS, random_batch(0), [name for name, _ in model.named_parameters()], "bf16")
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == needed
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_a_run_of_such_a_model_leaves_no_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    plain = LlamaRMSNorm.forward
    monkeypatch.setattr(LlamaRMSNorm, "forward", lambda self, hidden: infinite_slope(plain(self, hidden)))
    recipe = write_experiment(tmp_path)
    with pytest.raises(ModelError, match="not finite in a training step"):
        run_tiny(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
