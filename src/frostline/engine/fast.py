"""How does an arm get to the same loss with less work? Everything that is frozen is left out, where that is exact.

The parts, each a module of its own: the prefix is computed once a window (`prefix`, `prefix_store`, `prefix_choice`);
frozen matrices are held in the precision in which they are used (`frozen_weights`); head and loss go without the
logits (`head_loss`); a fused matrix gets the gradient of its trained part alone (`partly_trained`). Autograd does the
rest: with the prefix stood in for, nothing below the lowest trained weight is in the graph.

Nothing is taken for granted about a family: `settle` tries each part beside the plain model first, and a part that
does not give the same is not used. `notes` says which, and why.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.utils.generic import ModelOutput

from frostline.corpus import NOT_COUNTED, Batch
from frostline.engine.arm import next_token_loss, to_device
from frostline.engine.clock import StepClock
from frostline.engine.compiled import compile_suffix
from frostline.engine.frozen_weights import FrozenWeights, HeldWeights, leave_weight_file, trained_parameters
from frostline.engine.head_loss import chunked_loss, own_head_loss
from frostline.engine.int8_weights import quantise_frozen
from frostline.engine.partly_trained import use_needed_gradients
from frostline.engine.precision import autocast
from frostline.engine.prefix import Prefix, PrefixCounts
from frostline.engine.prefix_store import PrefixStore
from frostline.engine.settle import (
    HeadKind,
    PrefixTrial,
    Settled,
    logits_of,
    run_body,
    run_head,
    settle_head,
    settle_prefix,
)
from frostline.engine.stand_in import answering, body_of, body_output, hidden_of
from frostline.engine.suffix_checkpointing import checkpoint_suffix
from frostline.plans import AppliedPlan, ResolvedPlan, decoder_stack
from frostline.recipe import TrainingSettings

FEW_NOT_COUNTED = 0.1
"""Share of positions without a label that a head that trains computes all the same."""


@dataclass(frozen=True)
class SharedParts:
    """What the arms of an experiment have in common."""

    frozen: FrozenWeights
    store: PrefixStore
    depths: tuple[int, ...]
    """Prefix depths of all arms, ascending: rows are kept at each of them on the way up."""
    keep_base: bool
    """Whether the base model stays in memory beside the arms."""
    settled: dict[str, Settled] = field(default_factory=dict)
    """What was found out about the model under each plan, or under all that begin alike, so that it is tried once."""


class FastForward:
    """The forward pass of one arm. `sample` is a window or two on which its parts are tried."""

    def __init__(
        self,
        applied: AppliedPlan,
        shared: SharedParts,
        training: TrainingSettings,
        *,
        device: torch.device,
        precision: str,
        sample: Batch,
    ) -> None:
        self.applied, self.model, self.training = applied, applied.model, training
        self.device, self.precision = device, precision
        self.notes: list[str] = []
        """What was found out about the model, in sentences."""
        _, self.layers = decoder_stack(self.model)
        use_needed_gradients(self.model)
        self.body = body_of(self.model)
        self.prefix = Prefix(
            self.model, self.layers, shared.store, device=device, precision=precision, keep=False, depths=shared.depths
        )
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            self._settled = self._settle(shared, sample)
        self.prefix.example = self._settled.layer_output
        self._head_weight = self._converted_head(shared.frozen)
        self._shaped_for: int | None = None

    @property
    def head(self) -> HeadKind:
        """How the logits come out of the hidden states."""
        return self._settled.head

    @property
    def prefix_trial(self) -> PrefixTrial | None:
        """What the prefix of a window costs; None where it is computed with the rest, or where there is none."""
        trial = self._settled.prefix
        return trial if trial is not None and trial.refusal is None else None

    def __call__(self, part: Batch, step: int, predictions: int, clock: StepClock) -> Tensor:
        """See `ForwardPass`."""
        input_ids, labels, attention_mask = to_device(part, self.device)
        self._shape_suffix(self.applied.prefix_layers)
        answers = {}
        if self.prefix_trial is not None and (depth := untouched_depth(self.applied.resolved, step)):
            answers = self.prefix.answers(self.prefix.rows(part, depth), depth)
            clock.ends("prefix")
        with answering(answers), autocast(self.precision, self.device):
            if self.body is None or self.head == "plain":
                output = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
                return next_token_loss(output.logits, labels) / predictions
            hidden = hidden_of(body_output(self.model, self.body, input_ids, attention_mask))
        assert hidden is not None
        return self._loss(hidden, labels, 1 / predictions)

    def finish(self) -> None:
        """Give the model back as the plain one that it was, with its trained weights."""
        self._held.restore()
        if self.applied.plan.lora is not None:
            # Merging adapters writes into frozen weights, which the base model and other arms share.
            for parameter in self.model.parameters():
                if not parameter.requires_grad:
                    parameter.data = parameter.data.clone()

    def _loss(self, hidden: Tensor, labels: Tensor, scale: float) -> Tensor:
        """Position i predicts label i + 1; positions whose label is not counted do not reach the head.

        A head that trains sums its gradient over positions, and a sum over fewer is rounded otherwise: where they are
        but few, such as the last of each window, all go through it as in the plain loop.
        """
        counted = F.pad(labels[:, 1:], (0, 1), value=NOT_COUNTED).flatten()
        rows = hidden.flatten(0, 1)
        places = (counted != NOT_COUNTED).nonzero().squeeze(1)
        trains = any(parameter.requires_grad for parameter in self.model.get_output_embeddings().parameters())
        if not trains or len(places) < (1 - FEW_NOT_COUNTED) * len(counted):
            rows, counted = rows.index_select(0, places), counted[places]
        if self.head == "linear":
            head = self.model.get_output_embeddings()
            if self.precision == "bf16":
                rows = rows.to(torch.bfloat16)
            weight = head.weight if self._head_weight is None else self._head_weight
            return chunked_loss(rows, weight, head.bias, counted, scale)
        body, output = self.body, self._settled.body_output
        assert body is not None
        assert output is not None
        below = {id(parameter) for parameter in body.parameters()}
        tied = {id(parameter) for parameter in self.model.get_output_embeddings().parameters()}
        return own_head_loss(
            lambda chunk: run_head(self.model, body, output, chunk, self.device, self.precision),
            [
                parameter
                for _, parameter in self.applied.trainable_parameters()
                if id(parameter) not in below or id(parameter) in tied
            ],
            rows,
            counted,
            scale,
            self.model.config.get_text_config().vocab_size,
        )

    def _settle(self, shared: SharedParts, sample: Batch) -> Settled:
        """Find out, or remember, what is exact for this model under this plan; holds frozen weights accordingly."""
        question = self._question()
        known = shared.settled.get(question)
        if known is None:
            converted = self._hold_frozen(shared, sample, trying=True)
            head = settle_head(self.model, self.body, sample, self.device, self.precision)
            trial = self._try_prefix(head, sample)
            known = Settled(converted, head, trial, self.prefix.example, self._run_body(sample))
            shared.settled[question] = known
        elif known.converted:
            self._hold_frozen(shared, sample, trying=False)
        if not known.converted:
            self.notes.append("Frozen weights stay in fp32: this family uses them in more than one precision.")
        if known.prefix is not None and known.prefix.refusal is not None:
            self.notes.append(f"Frozen layers at the bottom are computed in each step: {known.prefix.refusal}.")
        return known

    def _question(self) -> str:
        """What the answer depends on: the plan; where all arms begin as the same bits, only where its prefixes end."""
        plan = self.applied.plan
        if self.precision == "fp32" and plan.lora is None and self.training.frozen_weights != "int8":
            return f"prefixes of {self._depths()}"
        return plan.text

    def _depths(self) -> list[int]:
        return sorted({phase.prefix_layers for phase in self.applied.resolved.phases} - {0})

    def _hold_frozen(self, shared: SharedParts, sample: Batch, *, trying: bool) -> bool:
        """Whether the frozen weights could be held in another precision; if so, they are."""
        if self.training.frozen_weights == "int8":
            bases = {name: value.data for name, value in self.model.named_parameters()} if shared.keep_base else {}
            report = quantise_frozen(self.applied)
            self._held = HeldWeights(self.applied)
            for name, parameter in self.model.named_parameters():
                if name in bases and parameter.dtype != bases[name].dtype:
                    self._held.replace(name.replace(".base_layer.", "."), parameter, parameter.data, bases[name])
            if not shared.keep_base:
                leave_weight_file(self.model)
            self.notes.append(
                f"{report.matrices} frozen matrices are held in int8: inexact, by up to "
                f"{100 * report.largest_relative_error:.1f} % of their norm."
            )
            return True
        changes = trying and self.precision == "bf16"
        expected = logits_of(self.model, sample, self.device, self.precision) if changes else None
        self._held = shared.frozen.hold(self.applied)
        if expected is not None and not torch.equal(
            expected, logits_of(self.model, sample, self.device, self.precision)
        ):
            self._held.restore()
            return False
        if not shared.keep_base:
            shared.frozen.forget_bases()
            self._held.forget_bases()
            leave_weight_file(self.model)
        return True

    def _try_prefix(self, head: HeadKind, sample: Batch) -> PrefixTrial | None:
        depths = self._depths()
        if not depths:
            return None
        if self.body is None or head == "plain":
            return PrefixTrial("its head cannot be told from its body")
        trial = settle_prefix(self.prefix, self.body, sample, depths)
        self.prefix.counts = PrefixCounts()
        return trial

    def _run_body(self, sample: Batch) -> ModelOutput | None:
        if self.body is None:
            return None
        output = run_body(self.model, self.body, sample, self.device, self.precision)
        return output if isinstance(output, ModelOutput) else None

    def _converted_head(self, frozen: FrozenWeights) -> Tensor | None:
        """A frozen head in bf16, where the model keeps it in fp32 because it is tied to the embeddings."""
        head = self.model.get_output_embeddings()
        if self.head != "linear" or self.precision != "bf16" or head.weight.dtype == torch.bfloat16:
            return None
        resolved = self.applied.resolved
        ever_trained = trained_parameters(resolved)
        trains = any(
            portion.parameter in ever_trained
            for portion in resolved.portions
            if resolved.map.head_name in (portion.parameter, *portion.aliases)
        )
        return None if trains else frozen.converted(head.weight.detach())

    def _shape_suffix(self, prefix_layers: int) -> None:
        """Compile or checkpoint the layers from `prefix_layers` on, where the recipe asks for it."""
        if self._shaped_for == prefix_layers:
            return
        self._shaped_for = prefix_layers
        if self.training.checkpointing:
            checkpoint_suffix(self.model, self.layers, prefix_layers)
        if self.training.compile:
            compile_suffix(self.layers, prefix_layers)


def untouched_depth(resolved: ResolvedPlan, step: int) -> int:
    """Layers at the bottom that no step up to `step` has trained: those above may hold weights of this arm alone."""
    return min(phase.prefix_layers for phase in resolved.phases if phase.at <= step)
