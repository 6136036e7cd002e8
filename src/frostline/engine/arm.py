"""How does one arm take one step? The plain reference: forward, backward, clip, AdamW; nothing clever.

Read this first. Whatever is faster elsewhere must give the results of `Arm.take_step`.
"""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from frostline.corpus import NOT_COUNTED, Batch
from frostline.engine.learning_rate import learning_rate_at
from frostline.engine.precision import autocast, synchronize
from frostline.errors import TrainingError
from frostline.plans import AppliedPlan, Plan, PlanStep
from frostline.recipe import TrainingSettings


@dataclass(frozen=True)
class StepOutcome:
    """What one step of one arm did. `seconds` covers forward, backward, clipping and optimizer, nothing else."""

    arm: str
    step: int
    loss_nats: float
    gradient_norm: float
    learning_rate: float
    predictions: int
    tokens: int
    windows_sha256: str
    seconds: float
    plan_step: PlanStep | None
    """What thawed or froze at this step, if anything did."""


class Arm:
    """One arm in training: its plan, its optimizer, and a model that no other arm can touch."""

    def __init__(
        self,
        name: str,
        model: PreTrainedModel,
        plan: Plan,
        training: TrainingSettings,
        *,
        learning_rate: float,
        weight_decay: float,
        seed: int,
        device: torch.device,
        precision: str,
    ) -> None:
        self.name = name
        self.training = training
        self.learning_rate = learning_rate
        self.seed = seed
        self.device = device
        self.precision = precision
        self.applied: AppliedPlan = plan.apply(on_device(model, device).train(), seed=seed)
        self.model = self.applied.model
        self.optimizer = torch.optim.AdamW(
            [parameter for _, parameter in self.applied.trainable_parameters()],
            lr=learning_rate,
            betas=training.betas,
            eps=training.epsilon,
            weight_decay=weight_decay,
            fused=True,
        )

    def take_step(self, batch: Batch, step: int) -> StepOutcome:
        """Train on `batch` (all windows of the step, cut into `accumulation` passes).

        Raises `TrainingError` when the loss or the gradient is not finite.
        """
        plan_step = self._follow_plan(step)
        passes = [_to_device(part, self.device) for part in split_batch(batch, self.training.accumulation)]
        predictions = sum(int((labels[:, 1:] != NOT_COUNTED).sum()) for _, labels, _ in passes)
        learning_rate = learning_rate_at(step, self.learning_rate, self.training)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        parameters = [parameter for _, parameter in self.applied.trainable_parameters()]
        loss_sum = torch.zeros((), device=self.device)

        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            synchronize(self.device)
            started = time.perf_counter()
            for index, (input_ids, labels, attention_mask) in enumerate(passes):
                # Dropout depends on seed, step and pass alone: other arms, sampling and evaluation cannot shift it.
                torch.manual_seed(dropout_seed(self.seed, step, index))
                with autocast(self.precision, self.device):
                    logits = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
                loss = next_token_loss(logits, labels)
                (loss / predictions).backward()
                loss_sum += loss.detach()
            limit = self.training.gradient_clipping
            gradient_norm = torch.nn.utils.clip_grad_norm_(parameters, math.inf if limit is None else limit)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            synchronize(self.device)
            seconds = time.perf_counter() - started

        outcome = StepOutcome(
            arm=self.name,
            step=step,
            loss_nats=loss_sum.item() / predictions,
            gradient_norm=gradient_norm.item(),
            learning_rate=learning_rate,
            predictions=predictions,
            tokens=batch.input_ids.size,
            windows_sha256=batch.windows_sha256,
            seconds=seconds,
            plan_step=plan_step,
        )
        if not math.isfinite(outcome.loss_nats):
            raise TrainingError(f"the loss is not a finite number at step {step}.", "Try a lower learning rate.")
        if not math.isfinite(outcome.gradient_norm):
            raise TrainingError(f"the gradient is not finite at step {step}.", "Try a lower learning rate.")
        return outcome

    def optimizer_bytes(self) -> int:
        """Bytes of the optimizer's state now."""
        return sum(
            value.numel() * value.element_size()
            for state in self.optimizer.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        )

    def _follow_plan(self, step: int) -> PlanStep | None:
        """Apply the plan's changes that are due; what is frozen leaves the optimizer with its state."""
        plan_step = self.applied.advance(step)
        if plan_step is None:
            return None
        trainable = [parameter for _, parameter in self.applied.trainable_parameters()]
        self.optimizer.param_groups[0]["params"] = trainable
        kept = {id(parameter) for parameter in trainable}
        for parameter in [parameter for parameter in self.optimizer.state if id(parameter) not in kept]:
            del self.optimizer.state[parameter]
        return plan_step


def on_device(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """`model` moved to `device`, in place."""
    model.to(device)  # type: ignore[arg-type]  # transformers wraps Module.to in a decorator that loses its signature
    return model


def next_token_loss(
    logits: Float[Tensor, "batch sequence vocabulary"], labels: Int[Tensor, "batch sequence"]
) -> Tensor:
    """Sum over counted tokens of -log P(next token), in nats; position i predicts label i + 1."""
    return F.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(),
        labels[:, 1:].flatten(),
        ignore_index=NOT_COUNTED,
        reduction="sum",
    )


def dropout_seed(seed: int, step: int, accumulation_pass: int) -> int:
    """Seed of the generator that draws dropout masks in one pass of one step."""
    digest = hashlib.sha256(f"dropout:{seed}:{step}:{accumulation_pass}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def split_batch(batch: Batch, parts: int) -> list[Batch]:
    """The windows of a step as `parts` batches of equal size, in order."""
    rows = np.split(np.arange(batch.input_ids.shape[0]), parts)
    return [
        Batch(
            input_ids=batch.input_ids[chosen],
            labels=batch.labels[chosen],
            attention_mask=None if batch.attention_mask is None else batch.attention_mask[chosen],
            window_ids=tuple(batch.window_ids[row] for row in chosen),
            windows_sha256=batch.windows_sha256,
        )
        for chosen in rows
    ]


def _to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor | None]:
    mask = batch.attention_mask
    return (
        torch.from_numpy(batch.input_ids).to(device),
        torch.from_numpy(batch.labels).to(device),
        None if mask is None else torch.from_numpy(mask).to(device),
    )
