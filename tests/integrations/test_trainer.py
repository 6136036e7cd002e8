"""Does a Trainer train by a plan as a loop by hand does, go on from its checkpoints, and prove what was frozen?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel, Trainer, default_data_collator

from frostline import FrostlineError
from frostline.integrations.transformers import PlanCallback
from frostline.plans import Plan
from tests.builders.models import tiny_model
from tests.builders.trainers import CHECKPOINTED, CHECKPOINTING, AtStep, Windows, backward_passes, raw, trainer_of

CHANGING = (
    "train: [attn.q@50%:, mlp.down@-1]; at 3 thaw: [mlp.up@0, norm]; at 5 freeze: [attn.q@-1]; at 7 thaw: [attn.q@-1]"
)
STEPS = 9


def trained(family: str, folder: Path, plan: str = CHANGING, *, seed: int = 0, **changed: Any) -> Trainer:
    """A Trainer that has trained a tiny model by `plan`, from a checkpoint where `resume` names one."""
    resume = changed.pop("resume", None)
    callback = Plan.parse(plan).trainer_callback()
    trainer = trainer_of(tiny_model(family, seed=seed), folder, [callback], **{"max_steps": STEPS, **changed})
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    return trainer


def weights_of(trainer: Trainer) -> dict[str, bytes]:
    assert isinstance(trainer.model, PreTrainedModel)
    return raw(trainer.model.state_dict())


def adamw_by_hand(
    model: PreTrainedModel, batches: Iterator[dict[str, Tensor]], trains: Sequence[dict[str, slice]]
) -> None:
    """AdamW as its paper has it, element by element: of each weight, the columns that `trains` names for a step.

    What begins to train, or does so again, begins with moments of zero.
    """
    weights = dict(model.named_parameters())
    moments: dict[str, tuple[int, Tensor, Tensor]] = {}
    for now in trains:
        model.zero_grad()
        for _ in range(2):
            (model(**next(batches)).loss / 2).backward()
        moments = {name: held for name, held in moments.items() if name in now}
        for name, columns in now.items():
            weight, gradient = weights[name].data[..., columns], weights[name].grad
            assert gradient is not None
            gradient = gradient[..., columns]
            step, first, second = moments.get(name, (0, torch.zeros_like(gradient), torch.zeros_like(gradient)))
            step, first = step + 1, first.lerp(gradient, 1 - 0.9)
            second = (second * 0.999).addcmul(gradient, gradient, value=1 - 0.999)
            moments[name] = step, first, second
            if weight.dim() > 1:  # the Trainer's rule: neither norms nor biases decay
                weight.mul_(1 - 1e-2 * 0.1)
            scale = (second.sqrt() / (1 - 0.999**step) ** 0.5).add_(1e-8)
            weight.addcdiv_(first, scale, value=-1e-2 / (1 - 0.9**step))


ALL = slice(None)
LLAMA = {f"model.layers.{layer}.self_attn.q_proj.weight": ALL for layer in (2, 3)}
GPT2 = {f"transformer.h.{layer}.attn.c_attn.weight": slice(0, 32) for layer in (2, 3)}


@pytest.mark.parametrize(
    ("family", "first", "more"),
    [
        ("llama", LLAMA, {"model.layers.0.mlp.up_proj.weight": ALL, "model.norm.weight": ALL}),
        (
            "gpt2",
            GPT2,
            {"transformer.h.0.mlp.c_fc.weight": ALL, "transformer.ln_f.weight": ALL},
        ),
    ],
)
def test_a_plan_that_changes_trains_what_a_loop_by_hand_trains(
    family: str, first: dict[str, slice], more: dict[str, slice], tmp_path: Path
) -> None:
    read: list[dict[str, Tensor]] = []

    def collate(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        read.append(default_data_collator(rows))
        return read[-1]

    thawed = ", ".join(f"name:{name}" for name in more)
    one = next(reversed(first))
    text = f"train: [attn.q@50%:]; at 2 thaw: [{thawed}]; at 4 freeze: [attn.q@-1]; at 5 thaw: [attn.q@-1]"
    without = {name: columns for name, columns in first.items() if name.split(".")[2] != one.split(".")[2]}
    trainer = trainer_of(
        tiny_model(family),
        tmp_path,
        [PlanCallback(text)],
        max_steps=6,
        gradient_accumulation_steps=2,
        max_grad_norm=0.0,
        lr_scheduler_type="constant",
        optim="adamw_torch",
    )
    trainer.data_collator, trainer.model_accepts_loss_kwargs = collate, False  # a mean for each batch of two
    trainer.train()
    model = tiny_model(family).train()
    adamw_by_hand(model, iter(read), [first, first, first | more, first | more, without | more, first | more])
    assert weights_of(trainer) == raw(model.state_dict())


@pytest.mark.parametrize(
    ("family", "changed"),
    [
        ("llama", {}),
        ("gpt2", {"optim": "adafactor"}),
        ("gpt2", {"gradient_accumulation_steps": 2, "restore_callback_states_from_checkpoint": True}),
        ("phi3", {"bf16": True}),
        ("mixtral", {}),
        (
            "gpt_neox",
            {"optim": "sgd", "plan": f"{CHANGING}; at 4 thaw: [head]", "save_only_model": False, CHECKPOINTING: True},
        ),
    ],
)
def test_a_run_goes_on_from_any_checkpoint_with_the_same_bits(
    family: str, changed: dict[str, Any], tmp_path: Path
) -> None:
    straight = trained(family, tmp_path / "straight", save_strategy="steps", save_steps=1, **changed)
    for step in (3, 6):  # where something thaws, and after something froze
        folder = tmp_path / "straight" / f"checkpoint-{step}"
        # Other weights at first: all that counts is in the checkpoint.
        resumed = trained(family, tmp_path / "resumed", seed=1, resume=folder, **changed)
        assert weights_of(resumed) == weights_of(straight), step


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "bloom", "phi3"])
def test_a_checkpoint_loads_as_a_plain_model(family: str, tmp_path: Path) -> None:
    trainer = trained(family, tmp_path, save_strategy="steps", save_steps=STEPS, save_total_limit=1)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        tmp_path / f"checkpoint-{STEPS}", dtype=torch.float32, output_loading_info=True
    )
    model, info = loaded
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert raw(model.state_dict()) == weights_of(trainer)
    assert {name.split(".parametrizations")[0] for name in weights_of(trainer)} == set(tiny_model(family).state_dict())


def test_the_best_checkpoint_is_proved_though_others_were_frozen_when_it_was_written(tmp_path: Path) -> None:
    best: dict[str, Any] = {
        "eval_dataset": Windows(),
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "save_total_limit": 1,
        "load_best_model_at_end": True,
        "greater_is_better": True,  # so that it is an early one
        "metric_for_best_model": "eval_loss",
    }
    trainer = trained("gpt2", tmp_path, max_steps=STEPS, **best)
    (folder,) = tmp_path.glob("checkpoint-*")
    assert folder.name != f"checkpoint-{STEPS}"
    assert raw(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()) == weights_of(trainer)
    moving = tiny_model("gpt2")
    moved = AtStep(STEPS, moving.get_parameter("transformer.wte.weight"))
    trainer = trainer_of(moving, tmp_path / "moved", [PlanCallback(CHANGING), moved], max_steps=STEPS, **best)
    with pytest.raises(FrostlineError, match=r"^frozen weights moved in training: 'transformer\.wte\.weight'"):
        trainer.train()


@pytest.mark.parametrize(
    ("weight", "when"), [("lm_head", "in training"), ("model.layers.0.mlp.up_proj", "before step 3")]
)
def test_training_fails_where_something_frozen_moved(weight: str, when: str, tmp_path: Path) -> None:
    model = tiny_model("llama", tie_word_embeddings=False)
    moved = AtStep(2, model.get_submodule(weight).get_parameter("weight"))
    trainer = trainer_of(model, tmp_path, [PlanCallback(CHANGING), moved], max_steps=STEPS)
    with pytest.raises(FrostlineError, match=rf"^frozen weights moved {when}: '{weight}\.weight'\. Something other"):
        trainer.train()


def test_gradient_checkpointing_leaves_the_layers_below_out_of_the_backward_pass(tmp_path: Path) -> None:
    plan = Plan.parse("train: [all@50%:]")
    model, plain = tiny_model("llama"), tiny_model("llama")
    trainer = trainer_of(model, tmp_path, [plan.trainer_callback()], max_steps=1, **CHECKPOINTED)
    reached = backward_passes(model)
    trainer.train()
    plan.apply(plain)
    without = trainer_of(plain, tmp_path, max_steps=1, **CHECKPOINTED)
    all_of_them = backward_passes(plain)
    without.train()
    assert (reached, all_of_them) == ({2, 3}, {0, 1, 2, 3})
    assert weights_of(trainer) == weights_of(without)


@pytest.mark.filterwarnings("ignore:.*requires_grad=True:UserWarning")
def test_what_reentrant_checkpointing_would_leave_out_still_trains(tmp_path: Path) -> None:
    reentrant: dict[str, Any] = {CHECKPOINTING: True, f"{CHECKPOINTING}_kwargs": {"use_reentrant": True}}
    trainer = trained("llama", tmp_path / "reentrant", "train: [all@50%:]", **reentrant)
    assert weights_of(trainer) == weights_of(trained("llama", tmp_path / "plain", "train: [all@50%:]"))


def test_a_second_training_begins_anew_with_what_is_there(tmp_path: Path) -> None:
    trainer = trained("gpt2", tmp_path)
    before = weights_of(trainer)
    trainer.train()
    assert weights_of(trainer) != before


def test_a_model_is_plain_again_once_the_plan_is_released(tmp_path: Path) -> None:
    callback = PlanCallback(CHANGING)
    model = tiny_model("gpt2")
    trainer_of(model, tmp_path, [callback], max_steps=STEPS).train()
    held = raw(model.state_dict())
    callback.applied.release()
    assert raw(dict(model.named_parameters())) == {name: held[name] for name, _ in model.named_parameters()}
    trainer_of(model, tmp_path, [PlanCallback("train: [attn.v@0]")], max_steps=1).train()


def test_an_optimizer_of_ones_own_holds_what_the_plan_trains(tmp_path: Path) -> None:
    model, callback = tiny_model("gpt2"), PlanCallback(CHANGING)
    callback.apply(model)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, weight_decay=0.1)
    start = raw({"k": nn.Parameter(model.state_dict()["transformer.h.3.attn.c_attn.weight"][:, 32:64])})
    trainer_of(model, tmp_path, [callback], max_steps=STEPS, optimizers=(optimizer, None)).train()
    assert raw({"k": model.state_dict()["transformer.h.3.attn.c_attn.weight"][:, 32:64]}) == start
