"""A plan in anyone's hands: read it, see what it means for a model, make the model train by it.

applied = Plan.parse("train: [attn.qkv@50%:]").apply(model)
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from frostline.plans.apply import AppliedPlan, apply_plan
from frostline.plans.resolve import map_untouched, resolve_plan
from frostline.plans.types import ModelMap, ResolvedPlan
from frostline.recipe import WrittenPlan


@dataclass(frozen=True)
class Plan(WrittenPlan):
    """Which parameters train: exactly one of `train`, `freeze` and `lora` is set."""

    def resolve(
        self,
        model: PreTrainedModel,
        model_map: ModelMap | None = None,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> ResolvedPlan:
        """What the plan means for `model`, which stays untouched. Raises `PlanError` where it does not fit.

        `model_map`, if given, is that of `model` with no plan applied: it need not be made again for each plan.
        Selectors that name tokens (`embed[added]`) want the `tokenizer`.
        """
        if model_map is None and tokenizer is not None:
            model_map = map_untouched(model, tokenizer)
        return resolve_plan(self, model, model_map)

    def apply(
        self,
        model: PreTrainedModel,
        *,
        resolved: ResolvedPlan | None = None,
        seed: int = 0,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> AppliedPlan:
        """Make `model` train by this plan, in place: build the optimizer afterwards.

        Sets `requires_grad`, splits matrices where the plan treats their parts differently, and adds adapters (drawn
        by `seed`). The model computes the same outputs as before, bit for bit. `resolved` is what `resolve` found for
        this model, or another one built alike: then the model is not looked into again. Selectors that name tokens
        (`embed[added]`) want the `tokenizer`. Raises `PlanError`, with the model untouched, where the plan does not
        fit, or `resolved` is of another plan or model.
        """
        if resolved is None:
            resolved = self.resolve(model, tokenizer=tokenizer)
        return apply_plan(self, model, resolved=resolved, seed=seed)

    def trainer_callback(self) -> TrainerCallback:
        """A callback that makes a `transformers.Trainer`, or TRL's `SFTTrainer`, train by this plan.

        `Trainer(model=..., callbacks=[plan.trainer_callback()])`: changes over time, checkpoints that resume with the
        same bits and load with `from_pretrained`, and at the end of training a `FrostlineError` where something
        frozen moved. Each Trainer wants one of its own; `frostline.integrations.transformers.PlanCallback`.
        """
        # Other people's loops stand above plans, and are looked up when they are asked for.
        callback: TrainerCallback = import_module("frostline.integrations.transformers").PlanCallback(self)
        return callback
