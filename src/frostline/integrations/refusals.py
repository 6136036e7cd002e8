"""With which Trainers can a plan not go along? Found before a step is taken, and told in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import PreTrainedModel

from frostline.errors import PlanError
from frostline.plans import AppliedPlan, Plan

if TYPE_CHECKING:
    from transformers import Trainer


def refuse_adapters(plan: Plan) -> None:
    """Raise `PlanError` for a plan with 'lora'."""
    if plan.lora is not None:
        raise PlanError(
            "a plan with 'lora' does not go into a Trainer: its checkpoints would hold no model that can be loaded.",
            "Give the adapters to the Trainer itself, as TRL's peft_config or by peft.get_peft_model.",
        )


def refuse_model(model: nn.Module) -> PreTrainedModel:
    """`model`, if it is one that a plan can be applied to. Raises `PlanError` otherwise."""
    if hasattr(model, "peft_config"):
        raise PlanError(
            "a plan and adapters of peft do not go together: both say what trains.",
            "Leave out peft_config, or the plan.",
        )
    if not isinstance(model, PreTrainedModel):
        raise PlanError(
            f"a plan is for a model of transformers; this is {type(model).__name__}.",
            "Give the Trainer the model itself; torch_compile=True compiles it.",
        )
    return model


def refuse_sharding(trainer: Trainer, model: nn.Module) -> None:
    """Raise `PlanError` where weights are cut up among processes: what is frozen cannot be hashed there."""
    kinds = {
        "DeepSpeed": trainer.is_deepspeed_enabled,
        "FSDP": trainer.is_fsdp_enabled or bool(trainer.args.fsdp),
        "DistributedConfig": any(hasattr(parameter, "device_mesh") for parameter in model.parameters()),
    }
    for kind in (name for name, used in kinds.items() if used):
        raise PlanError(
            f"a plan does not go into training by {kind}, which cuts weights up among processes.",
            "Train in one process, or by DDP (torchrun).",
        )


def refuse_model_init(trainer: Trainer) -> None:
    """Raise `PlanError` where the model is made anew in each call of `train`."""
    if trainer.model_init is not None:
        raise PlanError(
            "a plan cannot follow model_init, which makes another model when training begins.",
            "Pass model=... to the Trainer.",
        )


def let_weights_rest(plan: Plan, trainer: Trainer) -> None:
    """Let DDP go on where weights have no gradient for a while. Raises `PlanError` where the Trainer forbids it."""
    args = trainer.args
    if not plan.changes or args.world_size == 1:
        return
    static = getattr(args, "ddp_static_graph", False)  # which transformers has not always had
    if args.ddp_find_unused_parameters is False or static:
        wrong = "ddp_static_graph=True" if static else "ddp_find_unused_parameters=False"
        raise PlanError(
            f"a plan that changes over time does not go with {wrong}: what is frozen has no gradient for a while.",
            "Leave it out.",
        )
    trainer.accelerator.ddp_handler.find_unused_parameters = True


def refuse_changes_that_never_come(plan: Plan, steps: int) -> None:
    """Raise `PlanError` where the plan changes after the last of `steps`."""
    late = [change.at for change in plan.changes if change.at >= steps]
    if late:
        raise PlanError(
            f"a change at step {late[0]} never happens in {steps} steps.",
            "Steps are those of the optimizer, counted from 0: see max_steps.",
        )


def refuse_optimizer(applied: AppliedPlan, optimizer: object) -> None:
    """Raise `PlanError` where `optimizer` does not hold what the plan trains, or cannot forget what is frozen."""
    inner: object = getattr(optimizer, "optimizer", optimizer)
    assert isinstance(inner, torch.optim.Optimizer)
    held = {id(parameter) for group in inner.param_groups for parameter in group["params"]}
    phases = applied.resolved.phases
    missing = [name for name, value in applied.trained_until(phases[-1].at) if id(value) not in held]
    if missing:
        raise PlanError(
            f"the optimizer ({type(inner).__name__}) does not hold '{missing[0]}', which the plan trains.",
            "Let the Trainer make it, as by optim='adamw_torch', or call the callback's apply(model) before you do.",
        )
    if isinstance(inner, torch.optim.Adagrad) and len(phases) > 1:
        raise PlanError(
            "Adagrad makes its state before the first step, so that a plan that changes over time cannot drop it.",
            "Use another optimizer, such as optim='adamw_torch'.",
        )
