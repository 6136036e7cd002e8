"""How do the tests train in `transformers.Trainer`? A few steps of two windows, on the CPU, with nothing printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from frostline.plans import decoder_stack
from tests.builders.models import VOCABULARY

WINDOWS, LENGTH = 24, 12
CHECKPOINTING = (
    "activation_checkpointing"
    if "activation_checkpointing" in {own.name for own in fields(TrainingArguments)}
    else "gradient_checkpointing"
)
"""What transformers calls gradient checkpointing."""
CHECKPOINTED: dict[str, Any] = {CHECKPOINTING: True}
COMMON: dict[str, Any] = {
    "per_device_train_batch_size": 2,
    "learning_rate": 1e-2,
    "weight_decay": 0.1,
    "report_to": [],
    "save_strategy": "no",
    "use_cpu": True,
    "disable_tqdm": True,
    "dataloader_pin_memory": False,
    "logging_strategy": "no",
}


class Windows(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Random training windows, always the same."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self._windows = torch.randint(3, VOCABULARY, (WINDOWS, LENGTH), generator=generator)

    def __len__(self) -> int:
        return WINDOWS

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self._windows[index], "labels": self._windows[index]}


def trainer_of(
    model: PreTrainedModel, folder: Path, callbacks: Sequence[TrainerCallback] = (), **changed: Any
) -> Trainer:
    """A Trainer that writes into `folder`; `changed` are training arguments, or the Trainer's own."""
    own = {name: changed.pop(name) for name in ("model_init", "optimizers", "eval_dataset") if name in changed}
    arguments = TrainingArguments(output_dir=str(folder), **{**COMMON, **changed})
    given: dict[str, Any] = {} if "model_init" in own else {"model": model}
    return Trainer(
        args=arguments,
        train_dataset=Windows(),
        callbacks=list(callbacks),
        **given,
        **own,
    )


class AtStep(TrainerCallback):
    """Sets a value of a weight after `step` steps, as nothing should."""

    def __init__(self, step: int, weight: Tensor) -> None:
        self.step, self.weight = step, weight

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if state.global_step == self.step:
            with torch.no_grad():
                self.weight.view(-1)[0] += 1


def backward_passes(model: PreTrainedModel) -> set[int]:
    """The decoder layers that got a backward pass, filled while `model` trains."""
    reached: set[int] = set()
    for index, layer in enumerate(decoder_stack(model)[1]):

        def note(module: nn.Module, inputs: object, output: object, index: int = index) -> None:
            value = output[0] if isinstance(output, tuple) else output
            assert isinstance(value, Tensor)
            if value.requires_grad:
                value.register_hook(lambda gradient: reached.add(index))

        layer.register_forward_hook(note)
    return reached


def raw(values: dict[str, Tensor]) -> dict[str, bytes]:
    """The bytes of each tensor."""
    return {name: value.detach().contiguous().view(torch.uint8).numpy().tobytes() for name, value in values.items()}
