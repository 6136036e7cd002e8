"""How does one arm take one step? Forward, backward, clip, AdamW; nothing clever.

Read this first. The forward pass is the plain one, `ReferenceForward`, unless the arm is given another: whatever is
faster must give the same results.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from frostline.corpus import NOT_COUNTED, Batch
from frostline.engine.clock import PhaseSeconds, StepClock
from frostline.engine.device import random_devices
from frostline.engine.learning_rate import learning_rate_at
from frostline.engine.optimizer import HELD_ALIKE, make_optimizer
from frostline.engine.ordered_sum import OrderedSum
from frostline.engine.parts import split_batch
from frostline.engine.precision import autocast
from frostline.engine.prefix import Prefix, PrefixTrial
from frostline.engine.sent_batch import batch_tensors, batch_values
from frostline.engine.world import ALONE, Together, Values, World
from frostline.errors import DivergedError, ProcessesDifferError
from frostline.plans import AppliedPlan, Forward, Plan, PlanStep, ResolvedPlan, apply_plan
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
    """Positions that went through the model, padding included."""
    windows_sha256: str
    seconds: float
    phases: PhaseSeconds
    """`seconds`, divided."""
    plan_step: PlanStep | None
    """What thawed or froze at this step, if anything did."""


Beginning = Callable[[Batch], dict[nn.Module, Forward]]
"""What stands in for the first layers of a model over given windows: answers for `stand_in.answering`."""


class ForwardPass(Protocol):
    """How an arm gets from windows to their loss."""

    @property
    def stores_prefix(self) -> bool:
        """Whether a later visit of a window starts from what an earlier one stored."""
        ...

    @property
    def prefix_trial(self) -> PrefixTrial | None:
        """What the prefix of a window costs; None where it is computed with the rest, or where there is none."""
        ...

    @property
    def prefix(self) -> Prefix | None:
        """The layers at the bottom that can be stood in for by what is stored; None where nothing is."""
        ...

    @property
    def prefix_refusal(self) -> str | None:
        """Why they cannot be stood in for; None where they can, or where there are none."""
        ...

    def stored_depth(self, step: int) -> int:
        """Layers at the bottom whose stored output step `step` begins from; 0 where it begins from the tokens."""
        ...

    def __call__(self, part: Batch, step: int, predictions: int, clock: StepClock) -> Tensor:
        """Sum of the losses of the windows of `part`, in nats, over `predictions`; `backward()` fills the gradients."""
        ...

    def beginning(self, steps: int) -> Beginning | None:
        """What stands in for the frozen bottom of the model after `steps` steps, over windows that are evaluated.

        None where they are evaluated by the whole model.
        """
        ...

    def untouched_beginning(self, base: PreTrainedModel) -> Beginning | None:
        """The same for the untouched model `base`, so that an arm and its beginning are measured alike."""
        ...

    def evaluated_depth(self, steps: int) -> int:
        """How many layers that are."""
        ...

    def finish(self) -> None:
        """Training is over: undo whatever was done to the model for speed."""
        ...


class Shards(Protocol):
    """The weights of an arm that several processes hold together: see `engine.sharding`."""

    def compute_parts(self, compute: Callable[[Batch, int], Tensor], parts: Sequence[Batch]) -> Tensor:
        """The loss of a step; each process computes some of its parts, by `compute(part, index)`.

        The gradients of all parts are then in the parameters that `AppliedPlan.trainable_parameters` names.
        """
        ...

    def clip(self, parameters: Sequence[nn.Parameter], limit: float | None) -> Tensor:
        """See `clip`, over what all processes hold."""
        ...

    def weights(self, parameters: Sequence[tuple[str, nn.Parameter]]) -> Iterator[tuple[str, Tensor]]:
        """Each of these parameters whole, one after another; all processes read them at the same time."""
        ...


class ReferenceForward:
    """The whole model, all logits at once."""

    stores_prefix = False
    prefix_trial = None
    prefix = None
    prefix_refusal = "training.engine is 'reference'"

    def __init__(self, model: PreTrainedModel, device: torch.device, precision: str) -> None:
        self.model, self.device, self.precision = model, device, precision

    def __call__(self, part: Batch, step: int, predictions: int, clock: StepClock) -> Tensor:
        input_ids, labels, attention_mask = to_device(part, self.device)
        with autocast(self.precision, self.device):
            logits = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
        return next_token_loss(logits, labels) / predictions

    def beginning(self, steps: int) -> None:
        """The whole model is evaluated."""

    def untouched_beginning(self, base: PreTrainedModel) -> None:
        """The whole model is evaluated."""

    def evaluated_depth(self, steps: int) -> int:
        """None."""
        return 0

    def stored_depth(self, step: int) -> int:
        """Nothing is stored."""
        return 0

    def finish(self) -> None:
        """Nothing was done."""


class Arm:
    """One arm in training: its plan, its optimizer, and a model whose trained weights no other arm can touch."""

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
        resolved: ResolvedPlan | None = None,
        hashed: Mapping[str, str] | None = None,
        forward: Callable[[AppliedPlan], ForwardPass] | None = None,
        world: World = ALONE,
        number: int = 0,
    ) -> None:
        """`resolved`, if given, is what `plan` means for `model`: the model is not looked into again.

        Nor are parameters hashed again whose SHA-256 sums are in `hashed`, by name. The processes of `world` compute
        its steps together; they know it by its `number`.
        """
        self.name = name
        self.training = training
        self.learning_rate = learning_rate
        self.seed = seed
        self.device = device
        self.precision = precision
        self.world, self.number = world, number
        self.applied: AppliedPlan = apply_plan(
            plan, on_device(model, device).train(), resolved=resolved, seed=seed, hashed=hashed
        )
        self.model = self.applied.model
        self.forward = ReferenceForward(self.model, device, precision) if forward is None else forward(self.applied)
        self.optimizer = make_optimizer(
            [parameter for _, parameter in self.applied.trainable_parameters()],
            training,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
        )
        self.shards: Shards | None = None
        """Where several processes hold the arm's weights together (`shard_arm`)."""

    def take_step(self, batch: Batch, step: int) -> StepOutcome:
        """Train on `batch` (all windows of the step, which go through the model in parts: see `engine.parts`).

        Where several processes compute the arm, each computes some of the parts, and the outcome has the same bits;
        its seconds are those of the slowest. Raises `DivergedError` when the loss or the gradient is not finite.
        """
        if self.world.alone:
            return self._take_step(batch, step)
        order: Values = {"do": "step", "arm": self.number, "step": step, **batch_values(batch)}
        with self.world.doing(order, batch_tensors(batch) if self.world.rank == 0 else None) as together:
            outcome = self._take_step(batch, step)
            bits = [outcome.loss_nats.hex(), outcome.gradient_norm.hex()]
            together.own = {"bits": bits, "phases": asdict(outcome.phases)}
        if any(answer["bits"] != bits for answer in together.all):
            raise ProcessesDifferError(
                f"arm {self.name}, step {step}: the processes that compute it do not hold the same weights any more.",
                "They must run on machines of one kind, with the same versions.",
            )
        slowest = max((PhaseSeconds(**answer["phases"]) for answer in together.all), key=lambda own: own.total)  # type: ignore[arg-type]
        return replace(outcome, seconds=slowest.total, phases=slowest)

    def _take_step(self, batch: Batch, step: int) -> StepOutcome:
        plan_step = self.follow_plan(step)
        parts = split_batch(batch, self.training.accumulation, self.device.type)
        predictions = int((batch.labels[:, 1:] != NOT_COUNTED).sum())
        learning_rate = learning_rate_at(step, self.learning_rate, self.training)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        parameters = [parameter for _, parameter in self.applied.trainable_parameters()]

        with torch.random.fork_rng(devices=random_devices(self.device)):
            clock = StepClock(self.device)
            if self.shards is not None:
                compute = partial(self._compute_part, step=step, predictions=predictions, clock=clock)
                loss_nats = self.shards.compute_parts(compute, parts)
                gradient_norm = self.shards.clip(parameters, self.training.gradient_clipping)
            else:
                compute_all = self._compute_parts if self.world.alone else self._compute_own_parts
                loss_nats = compute_all(parts, step, predictions, clock)
                gradient_norm = clip(parameters, self.training.gradient_clipping)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            clock.ends("optimizer")

        outcome = StepOutcome(
            arm=self.name,
            step=step,
            loss_nats=loss_nats.item(),
            gradient_norm=gradient_norm.item(),
            learning_rate=learning_rate,
            predictions=predictions,
            tokens=sum(part.input_ids.size for part in parts),
            windows_sha256=batch.windows_sha256,
            seconds=clock.seconds,
            phases=clock.phases(),
            plan_step=plan_step,
        )
        if not math.isfinite(outcome.loss_nats):
            raise DivergedError(f"the loss is not a finite number at step {step}.", "Try a lower learning rate.")
        if not math.isfinite(outcome.gradient_norm):
            raise DivergedError(f"the gradient is not finite at step {step}.", "Try a lower learning rate.")
        return outcome

    def _compute_parts(self, parts: Sequence[Batch], step: int, predictions: int, clock: StepClock) -> Tensor:
        """The loss of the step; the gradients of its parts add up in the parameters, in the order of the parts."""
        loss_nats = torch.zeros((), device=self.device)
        for index, part in enumerate(parts):
            loss_nats += self._compute_part(part, index, step, predictions, clock)
        return loss_nats

    def _compute_own_parts(self, parts: Sequence[Batch], step: int, predictions: int, clock: StepClock) -> Tensor:
        """The same, where process r of W computes the parts r, r + W, ...: see `OrderedSum`."""
        world, loss_nats = self.world, torch.zeros((), device=self.device)
        gradients = OrderedSum(world, [parameter for _, parameter in self.applied.trainable_parameters()])
        for first in range(0, len(parts), world.size):
            together, index = Together(), first + world.rank
            with world.agreeing(together):
                if index < len(parts):
                    loss = self._compute_part(parts[index], index, step, predictions, clock)
                    together.own = {"loss": loss.item(), "missing": gradients.without_gradient()}
            computed = together.all[: len(parts) - first]
            for answer in computed:
                loss_nats += answer["loss"]  # type: ignore[arg-type]  # a float, which JSON gives back as it was
            gradients.add([answer["missing"] for answer in computed])  # type: ignore[misc]
            clock.ends("exchange")
        gradients.give()
        clock.ends("exchange")
        return loss_nats

    def _compute_part(self, part: Batch, index: int, step: int, predictions: int, clock: StepClock) -> Tensor:
        """The loss of one part, whose gradients are added to those of the parameters."""
        # Dropout depends on seed, step and part alone: other arms, sampling and evaluation cannot shift it.
        torch.manual_seed(dropout_seed(self.seed, step, index))
        loss = self.forward(part, step, predictions, clock)
        clock.ends("forward")
        if loss.requires_grad:  # layer drop may leave out all that trains: then it is a step without gradients
            loss.backward()
        clock.ends("backward")
        return loss.detach()

    def optimizer_bytes(self) -> int:
        """Bytes of the optimizer's state now; what its tensors share counts once.

        Of several processes that hold the arm together, the first one counts what all of them keep alike.
        """
        left_out = HELD_ALIKE if self.shards is not None and self.world.rank else ()
        states = self.optimizer.state.values()
        kept = [value for state in states for key, value in state.items() if key not in left_out]
        tensors = {value.data_ptr(): value for value in kept if isinstance(value, Tensor)}
        return sum(value.numel() * value.element_size() for value in tensors.values())

    def follow_plan(self, step: int) -> PlanStep | None:
        """Apply the plan's changes that are due at `step`; what is frozen leaves the optimizer with its state."""
        plan_step = self.applied.advance(step)
        if plan_step is None:
            return None
        trainable = [parameter for _, parameter in self.applied.trainable_parameters()]
        self.optimizer.param_groups[0]["params"] = trainable
        kept = {id(parameter) for parameter in trainable}
        for parameter in [parameter for parameter in self.optimizer.state if id(parameter) not in kept]:
            del self.optimizer.state[parameter]
        return plan_step


def clip(parameters: Sequence[nn.Parameter], limit: float | None) -> Tensor:
    """Norm of all gradients, which are then scaled down so that it is at most `limit`, where there is one."""
    if limit is not None and math.isfinite(limit):
        return torch.nn.utils.clip_grad_norm_(parameters, limit)
    return torch.nn.utils.get_total_norm([own.grad for own in parameters if own.grad is not None])


def on_device(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """`model` moved to `device`, in place."""
    model.to(device)  # type: ignore[arg-type]  # transformers wraps Module.to in a decorator that loses its signature
    return model


def next_token_loss(
    logits: Float[Tensor, "batch sequence vocabulary"], labels: Int[Tensor, "batch sequence"]
) -> Tensor:
    """Sum over counted tokens of -log P(next token), in nats; position i predicts label i + 1."""
    # Labels are shifted, not logits: a slice of the logits would be a second copy of the step's largest tensor.
    shifted = F.pad(labels[:, 1:], (0, 1), value=NOT_COUNTED)
    return F.cross_entropy(logits.flatten(0, 1).float(), shifted.flatten(), ignore_index=NOT_COUNTED, reduction="sum")


def dropout_seed(seed: int, step: int, part: int) -> int:
    """Seed of the generator that draws dropout masks in one part of one step."""
    digest = hashlib.sha256(f"dropout:{seed}:{step}:{part}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor | None]:
    """Input ids, labels and attention mask of `batch`, each [batch, sequence]."""
    mask = batch.attention_mask
    return (
        torch.from_numpy(batch.input_ids).to(device),
        torch.from_numpy(batch.labels).to(device),
        None if mask is None else torch.from_numpy(mask).to(device),
    )
