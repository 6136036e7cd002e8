"""How does `transformers.Trainer` train an arm of a recipe, on the same windows, with the same updates?

`TrainingArguments` alone cannot say it: `Trainer` decays no norms and no biases, warms up in other steps, and shuffles
by itself. So the optimizer and its schedule are made here, and windows come in the order of the recipe.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike, fspath

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import IterableDataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from frostline.arms import PlannedArm, Prepared, model_for_arm
from frostline.corpus import NOT_COUNTED, Corpus
from frostline.engine import learning_rate_at, make_optimizer
from frostline.errors import RecipeError
from frostline.plans import AppliedPlan, Plan, ResolvedPlan
from frostline.recipe import TrainingSettings


class StepWindows(IterableDataset[dict[str, Tensor]]):
    """The windows of an arm's steps, one after another, as every arm of the replicate reads them.

    Those of one step are equally wide, so that any of them can be stacked.
    """

    def __init__(self, corpus: Corpus, seed: int, steps: int, windows: int) -> None:
        super().__init__()
        self._corpus, self._seed, self._steps, self._windows = corpus, seed, steps, windows

    def __len__(self) -> int:
        return self._steps * self._windows

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for step in range(self._steps):
            batch = self._corpus.batch(self._seed, step, self._windows)
            for row in range(self._windows):
                labels = torch.from_numpy(batch.labels[row].copy())
                labels[0] = NOT_COUNTED  # nothing predicts it: a mean over the labels is one over the predictions
                window = {"input_ids": torch.from_numpy(batch.input_ids[row].copy()), "labels": labels}
                if batch.attention_mask is not None:
                    window["attention_mask"] = torch.from_numpy(batch.attention_mask[row].copy())
                yield window


@dataclass(frozen=True)
class TrainerArm:
    """An arm of a recipe, as `Trainer` takes it."""

    arguments: TrainingArguments
    """What the recipe says, as far as it can be said there; nothing is reported and nothing saved unless changed."""
    plan: Plan
    model: PreTrainedModel
    """The untouched model in fp32, which nothing else holds."""
    tokenizer: PreTrainedTokenizerBase
    train_dataset: StepWindows
    """The windows of all steps in their order."""
    training: TrainingSettings
    learning_rate: float
    """Peak learning rate."""
    weight_decay: float
    seed: int
    _resolved: ResolvedPlan = field(repr=False)

    def apply(self) -> AppliedPlan:
        """Make `model` train by the plan, in place: before the trainer is made."""
        return self.plan.apply(self.model, resolved=self._resolved, seed=self.seed)

    def optimizers(self, applied: AppliedPlan) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """For the trainer's `optimizers`: AdamW that decays all that trains alike, and the recipe's learning rates.

        It holds whatever trains at any step of `applied`; what is frozen has no gradient and is left alone.
        """
        optimizer = make_optimizer(
            [parameter for _, parameter in applied.trained_until(self.training.steps)],
            self.training,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
        )
        return optimizer, LambdaLR(optimizer, self._share_of_peak)

    def _share_of_peak(self, step: int) -> float:
        return learning_rate_at(step, 1.0, self.training)


def trainer_arm(prepared: Prepared, name: str, seed: int, output_dir: str | PathLike[str]) -> TrainerArm:
    """The arm `name` of the replicate `seed`. Raises `RecipeError` for what a run would have to find out first."""
    planned = prepared.arms_of(seed)[name]
    _require_settled(planned)
    _require_first_gpu(prepared)
    training = prepared.recipe.training.of_steps(planned.steps)
    windows = training.batch * training.accumulation
    return TrainerArm(
        arguments=_arguments(prepared, planned, training, seed, output_dir),
        plan=planned.plan,
        model=model_for_arm(prepared, planned),
        tokenizer=prepared.tokenizer,
        train_dataset=StepWindows(prepared.corpus, seed, planned.steps, windows),
        training=training,
        learning_rate=planned.learning_rate,
        weight_decay=planned.weight_decay,
        seed=seed,
        _resolved=planned.resolved,
    )


def _require_settled(planned: PlannedArm) -> None:
    if planned.raced:
        raise RecipeError(
            "its learning rate is 'best', which a race finds at the beginning of a run.",
            f"Give the rate that a run chose: set={{'arms.{planned.name}.learning_rate': 2e-4}}.",
        ).at("arms", planned.name)
    if planned.steps == 0:
        raise RecipeError(
            "the steps of an arm follow from timing it, at the beginning of a run.",
            "Name them: set={'training.seconds': None, 'training.steps': 100}.",
        ).at("training", "seconds")


def _require_first_gpu(prepared: Prepared) -> None:
    if prepared.device.index:
        raise RecipeError(
            f"'{prepared.device}' is another GPU than the first, which transformers' Trainer takes.",
            f"Use 'cuda', and let it see that one alone: CUDA_VISIBLE_DEVICES={prepared.device.index}.",
        ).at("training", "device")


def _arguments(
    prepared: Prepared, planned: PlannedArm, training: TrainingSettings, seed: int, output_dir: str | PathLike[str]
) -> TrainingArguments:
    return TrainingArguments(
        output_dir=fspath(output_dir),
        max_steps=planned.steps,
        per_device_train_batch_size=training.batch,
        gradient_accumulation_steps=training.accumulation,
        learning_rate=planned.learning_rate,
        weight_decay=planned.weight_decay,
        adam_beta1=training.betas[0],
        adam_beta2=training.betas[1],
        adam_epsilon=training.epsilon,
        max_grad_norm=training.gradient_clipping or 0.0,
        lr_scheduler_type=training.decay,
        warmup_steps=training.warmup,
        seed=seed,
        data_seed=seed,
        bf16=prepared.precision == "bf16",
        use_cpu=prepared.device.type == "cpu",
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=[],
        save_strategy="no",
    )
