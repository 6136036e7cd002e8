"""How does an arm get to the same loss with less work? Everything that is frozen is left out, where that is exact.

The parts, each a module of its own: the prefix is computed once a window (`prefix`, `prefix_store`, `prefix_choice`);
frozen matrices are held in the precision in which they are used (`frozen_weights`); head and loss go without the
logits (`head_loss`); a fused matrix gets the gradient of its trained part alone (`partly_trained`). Autograd does the
rest: with the prefix stood in for, nothing below the lowest trained weight is in the graph.

Nothing is taken for granted about a family: `fit` tries each part beside the plain model first, and a part that does
not give the same is not used; its notes say which, and why.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from frostline.corpus import NOT_COUNTED, Batch
from frostline.engine.arm import Beginning, next_token_loss, to_device
from frostline.engine.clock import StepClock
from frostline.engine.compiled import compile_suffix
from frostline.engine.filed_weights import FILED_TYPES, wider_copy
from frostline.engine.fit import FittedModel, HeadKind, SharedParts, run_head
from frostline.engine.frozen_weights import FrozenWeights, own_adapted_weights, trained_parameters
from frostline.engine.head_loss import chunked_loss, own_head_loss
from frostline.engine.precision import autocast
from frostline.engine.prefix import Prefix, PrefixTrial
from frostline.engine.prefix_store import window_key
from frostline.engine.stand_in import body_output, hidden_of
from frostline.engine.suffix_checkpointing import checkpoint_suffix
from frostline.plans import Forward, ResolvedPlan, answering, decoder_stack
from frostline.recipe import TrainingSettings
from frostline.storage import let_go_of

FEW_NOT_COUNTED = 0.1
"""Share of positions without a label that a head that trains computes all the same."""


class FastForward:
    """The forward pass of one arm, over a model that was fitted (`fit_model`)."""

    def __init__(
        self,
        fitted: FittedModel,
        shared: SharedParts,
        training: TrainingSettings,
        *,
        keep_rows: bool,
        device: torch.device,
        precision: str,
        keep_evaluated: bool = False,
    ) -> None:
        """With `keep_rows` the output of the prefix is put into the shared store, for later visits of a window.

        With `keep_evaluated` that of windows which are evaluated is, too.
        """
        self.fitted, self.applied, self.training, self.shared = fitted, fitted.applied, training, shared
        self.keep_evaluated = keep_evaluated
        self.model = self.applied.model
        self.device, self.precision = device, precision
        _, self.layers = decoder_stack(self.model)
        self.body = fitted.body
        self.prefix = self._prefix_of(self.model, keep=keep_rows)
        self._head_weight = self._converted_head(shared.frozen)
        self._shaped_for: int | None = None
        self._most_stored: int | None = None

    @property
    def head(self) -> HeadKind:
        """How the logits come out of the hidden states."""
        return self.fitted.fit.head

    @property
    def prefix_trial(self) -> PrefixTrial | None:
        """What the prefix of a window costs; None where it is computed with the rest, or where there is none."""
        return self.fitted.prefix_trial

    @property
    def prefix_refusal(self) -> str | None:
        """Why the prefix cannot be stood in for; None where it can, or where there is none."""
        trial = self.fitted.fit.prefix
        return None if trial is None else trial.refusal

    @property
    def stores_prefix(self) -> bool:
        """Whether a later visit of a window starts from what an earlier one stored."""
        return self.prefix.keep

    def __call__(self, part: Batch, step: int, predictions: int, clock: StepClock) -> Tensor:
        """See `ForwardPass`."""
        input_ids, labels, attention_mask = to_device(part, self.device)
        self._shape_suffix(self.applied.prefix_layers)
        answers = {}
        if depth := self.stored_depth(step):
            answers = self.prefix.answers(self.prefix.rows(part, depth), depth)
            clock.ends("prefix")
        with answering(answers), autocast(self.precision, self.device):
            if self.body is None or self.head == "plain":
                output = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
                return next_token_loss(output.logits, labels) / predictions
            hidden = hidden_of(body_output(self.model, self.body, input_ids, attention_mask))
        assert hidden is not None
        return self._loss(hidden, part, 1 / predictions)

    def evaluated_depth(self, steps: int) -> int:
        """See `ForwardPass`."""
        return self.stored_depth(max(0, steps - 1))

    def beginning(self, steps: int) -> Beginning | None:
        """See `ForwardPass`. Whether a row is found or computed changes no bit of what is measured."""
        depth = self.evaluated_depth(steps)
        return partial(self._answers, self._prefix_of(self.model, keep=self.keep_evaluated), depth) if depth else None

    def untouched_beginning(self, base: PreTrainedModel) -> Beginning | None:
        """See `ForwardPass`. Rows of a model with other frozen weights than `base` are not those of `base`."""
        depth = self.evaluated_depth(0)
        if depth == 0 or self.training.frozen_weights == "int8":
            return None
        return partial(self._answers, self._prefix_of(base, keep=self.keep_evaluated), depth)

    def stored_depth(self, step: int) -> int:
        """Layers at the bottom whose stored output step `step` begins from; 0 where it begins from the tokens."""
        if self.prefix_trial is None:
            return 0
        depth = untouched_depth(self.applied.resolved, step)
        return depth if self._most_stored is None else min(depth, self._most_stored)

    def store_below(self, depth: int) -> None:
        """Store no output of a layer from `depth` on: those are run by several processes together.

        A row that one of them has and another has not would let the other wait.
        """
        self._most_stored = depth

    def finish(self) -> None:
        """Give the model back as the plain one that it was, with its trained weights."""
        self.fitted.held.restore()
        if self.applied.plan.lora is not None:
            own_adapted_weights(self.model)

    def _prefix_of(self, model: PreTrainedModel, *, keep: bool) -> Prefix:
        _, layers = decoder_stack(model)
        return Prefix(
            model,
            layers,
            self.shared.store,
            device=self.device,
            precision=self.precision,
            keep=keep,
            depths=self.shared.depths,
            example=self.fitted.fit.layer_output,
        )

    def _answers(self, prefix: Prefix, depth: int, windows: Batch) -> dict[nn.Module, Forward]:
        """Answers for windows that are evaluated; their rows may be read in training."""
        for row in range(len(windows.input_ids)):
            self.shared.evaluated.add(window_key(*windows.at_own_width(row)))
        # Evaluation runs in inference mode, whose tensors no later step could be given.
        with torch.inference_mode(False):
            return prefix.answers(prefix.rows(windows, depth), depth)

    def _loss(self, hidden: Tensor, part: Batch, scale: float) -> Tensor:
        """Position i predicts label i + 1; positions whose label is not counted do not reach the head.

        A head that trains sums its gradient over positions, and a sum over fewer is rounded otherwise: where they are
        but few, such as the last of each window, all go through it as in the plain loop.
        """
        # Found on the host, which has the labels: asking the device would wait for all that it still has to do.
        shifted = np.pad(part.labels[:, 1:], ((0, 0), (0, 1)), constant_values=NOT_COUNTED).reshape(-1)
        places = torch.from_numpy(np.flatnonzero(shifted != NOT_COUNTED)).to(self.device)
        counted, rows = torch.from_numpy(shifted).to(self.device), hidden.flatten(0, 1)
        trains = any(parameter.requires_grad for parameter in self.model.get_output_embeddings().parameters())
        if not trains or len(places) < (1 - FEW_NOT_COUNTED) * len(counted):
            rows, counted = rows.index_select(0, places), counted[places]
        if self.head == "linear":
            head = self.model.get_output_embeddings()
            if self.precision == "bf16":
                rows = rows.to(torch.bfloat16)
            weight = head.weight if self._head_weight is None else self._head_weight
            # Held as its file has it, the head is cast up once a pass, whatever the number of chunks.
            matrix = wider_copy(weight.detach(), rows.dtype) if weight.dtype in FILED_TYPES else weight.to(rows.dtype)
            if matrix is not weight:
                let_go_of((weight,))
            return chunked_loss(rows, matrix, head.bias, counted, scale)
        body, output = self.body, self.fitted.fit.body_output
        assert body is not None
        assert output is not None
        below = {id(parameter) for parameter in body.parameters()}
        tied = {id(parameter) for parameter in self.model.get_output_embeddings().parameters()}
        return own_head_loss(
            lambda chunk: run_head(self.model, body, output, chunk, self.device, self.precision),
            [
                parameter
                for parameter in self.model.parameters()
                if parameter.requires_grad and (id(parameter) not in below or id(parameter) in tied)
            ],
            rows,
            counted,
            scale,
            self.model.config.get_text_config().vocab_size,
        )

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
