"""What does a step of a model take that is too large for a step? Passes of one or two layers over few tokens, drawn on.

A pass of one layer costs something whatever its tokens (matrices that are read and cast up) and something for each of
them: two numbers of tokens tell both, as two numbers of layers tell what a layer takes. The head has few of its rows
(`head` has the rest).
Nothing here holds the moments of a large matrix: what the update of a weight takes is a rate of the machine.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from frostline.arms import (
    FEW_ROWS,
    Prepared,
    fewer_tokens,
    has_large_vocabulary,
    make_arm,
    shared_parts,
    vocabulary_of,
)
from frostline.corpus import NOT_COUNTED, Batch
from frostline.engine import (
    Arm,
    Fit,
    PhaseSeconds,
    StepClock,
    clip,
    give_back_freed_memory,
    keep_freed_memory,
    make_optimizer,
    saved_bytes,
)
from frostline.forecast.cut import StepParts, cut_prepared
from frostline.plans import decoder_stack, layer_kinds
from frostline.recipe import TrainingSettings
from frostline.storage import let_go_of

LARGEST_PASS_FLOP = {"cpu": 1e12, "cuda": 1e14}
"""Operations of a pass of two layers and head from which on smaller passes stand for it."""
SMALL_PASS_FLOP = {"cpu": 1.5e11, "cuda": 2.5e13}
"""About those of the largest of these."""
LARGEST_CUT_BYTES = 2_500_000_000
"""What two layers and the vocabulary may take with moments and gradients, else their passes are small ones, too."""
TRAINED_BYTES = 18
"""Of a weight that trains: itself, its bf16 copy, gradient and two moments."""
FEWEST_TOKENS = 48
FEWER = 8
"""The smaller of the two passes has one token in so many of the larger one's."""
ROUNDS = 2
UPDATED_VALUES, UPDATES = 1 << 23, 3
"""Weights on which the optimizer is timed, and how often."""


@dataclass(frozen=True)
class SmallPasses:
    """How small they are; and those that were measured, since arms have layers of one kind in common."""

    tokens: int
    """Tokens of the larger pass."""
    rows: int | None
    """Rows that are left of the vocabulary; None: all."""
    known: dict[object, StepParts] = field(default_factory=dict)
    fits: dict[str, Fit] = field(default_factory=dict)
    """What was found out about the cut models, whose layers and head are of one kind."""

    def measure(self, prepared: Prepared, name: str, batch: Batch, layers: Sequence[int]) -> StepParts:
        """A pass of a model of `layers` alone over all of `batch`; the update is left out."""
        sizes = [self._part(batch, tokens) for tokens in (max(1, self.tokens // FEWER), self.tokens)]
        # Shortcuts are tried on windows of the smaller pass.
        cut = cut_prepared(prepared, name, layers, self.rows, sizes[0].input_ids.shape[1])
        # Dense layers and those of experts may train the same roles.
        question = (cut.recipe.arms[name].model_dump_json(), *layer_kinds(cut.model))
        if question not in self.known:
            self.known[question] = self._measured(cut, name, batch, sizes)
            let_go_of(prepared.model.parameters())
        return self.known[question]

    def _part(self, batch: Batch, tokens: int) -> Batch:
        length = batch.input_ids.shape[1]
        return fewer_tokens(batch, self.rows, min(tokens, length), max(1, tokens // length))

    def _measured(self, cut: Prepared, name: str, whole: Batch, sizes: Sequence[Batch]) -> StepParts:
        # Nothing is hashed: that frozen weights stay is proved where they are trained.
        unproved = dict.fromkeys((own for own, _ in cut.model.named_parameters()), "")
        with shared_parts(replace(cut, fits=self.fits), None) as sharing:
            arm = make_arm(sharing, cut.arms[name], cut.recipe.seeds[0], hashed=unproved)
            assert sharing.shared is not None
            self.fits.update(sharing.shared.fits)
        for parameter in arm.model.parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(_forget)
        saved = [saved_bytes(arm, size) for size in sizes]
        phases: list[list[PhaseSeconds]] = [[] for _ in sizes]
        for index in (0, *[1] * ROUNDS):  # the larger one decides what a token takes
            phases[index].append(_pass(arm, sizes[index]))
        few, many = (
            StepParts(min(phase.forward + phase.backward for phase in own), 0.0, kept)
            for own, kept in zip(phases, saved, strict=True)
        )
        each = many.beyond(few)
        lengths = (whole.input_ids.shape[1], sizes[-1].input_ids.shape[1])
        longer, shorter = (_products_of_a_token(cut, length) for length in lengths)
        each = replace(each, pass_seconds=each.pass_seconds * longer / shorter)
        fewest, most = (size.input_ids.size for size in sizes)
        del arm
        gc.collect()
        give_back_freed_memory()
        return few.plus(each, (whole.input_ids.size - fewest) / (most - fewest)) if most > fewest else many


def _products_of_a_token(cut: Prepared, length: int) -> float:
    """Multiplications of a token in a layer: in a longer window it meets more others, which is counted, not timed."""
    _, stack = decoder_stack(cut.model)
    width: int = cut.model.config.get_text_config().hidden_size
    return sum(value.numel() for value in stack[0].parameters()) + 2.0 * length * width


def small_passes(prepared: Prepared, batch: Batch, free_bytes: int) -> SmallPasses | None:
    """How small passes have to be; None where whole ones do."""
    kind = "cuda" if prepared.device.type == "cuda" else "cpu"
    _, stack = decoder_stack(prepared.model)
    layer = max(sum(value.numel() for value in own.parameters()) for own in stack)
    rows = FEW_ROWS if has_large_vocabulary(prepared.model) else None
    width = prepared.model.config.get_text_config().hidden_size
    head = vocabulary_of(prepared.model) * width
    whole_flop = 6.0 * batch.input_ids.size * (2 * layer + head)
    whole_bytes = TRAINED_BYTES * (2 * layer + head)
    if whole_flop <= LARGEST_PASS_FLOP[kind] and whole_bytes <= min(LARGEST_CUT_BYTES, free_bytes):
        return None
    left = 2 * layer + width * (vocabulary_of(prepared.model) if rows is None else rows)
    tokens = max(FEWEST_TOKENS, int(SMALL_PASS_FLOP[kind] / (6.0 * left)))
    return SmallPasses(min(tokens, batch.input_ids.size), rows)


def update_seconds(training: TrainingSettings, values: int, device: torch.device) -> float:
    """Seconds of clipping and the optimizer's update for so many weights, by those of fewer."""
    block = nn.Parameter(torch.zeros(min(values, UPDATED_VALUES), device=device))
    optimizer = make_optimizer([block], training, learning_rate=1e-5, weight_decay=0.0)
    seconds = []
    for _ in range(1 + UPDATES):
        block.grad = torch.full_like(block, 1e-3)
        clock = StepClock(device)
        clip([block], training.gradient_clipping)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        clock.ends("optimizer")
        seconds.append(clock.seconds)
    return min(seconds) * values / block.numel()


def _pass(arm: Arm, batch: Batch) -> PhaseSeconds:
    keep_freed_memory()
    clock = StepClock(arm.device)
    predictions = max(1, int((batch.labels[:, 1:] != NOT_COUNTED).sum()))
    loss = arm.forward(batch, 0, predictions, clock)
    clock.ends("forward")
    if loss.requires_grad:
        loss.backward()
    clock.ends("backward")
    return clock.phases()


def _forget(parameter: torch.Tensor) -> None:
    parameter.grad = None
