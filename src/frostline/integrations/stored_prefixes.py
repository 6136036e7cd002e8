"""How does someone else's loop begin from stored prefixes? The layers below the frost line answer with what they gave.

What the frozen layers at the bottom give for a window is computed once, by itself, and kept by the window's content;
whenever the window comes back, the model's own forward runs with these layers stood in for (`engine.prefix`). Loss and
gradients are those of the whole model: bit for bit where a window is computed alone, and else as near as the kernels of
a batch are to those of one window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Int
from torch import Tensor, nn

from frostline.corpus import Batch
from frostline.engine import (
    FrozenWeights,
    Prefix,
    PrefixIdentity,
    PrefixStore,
    SharedParts,
    Tried,
    body_of,
    default_memory_bytes,
    prefix_depths,
    random_devices,
    try_prefix,
    untouched_depth,
)
from frostline.errors import ModelError, TrainingError
from frostline.plans import PROBE_ERRORS, AppliedPlan, Forward, Phase, answering, decoder_stack

_PLAIN = "Train it without stored prefixes."


def prefix_rows(applied: AppliedPlan, *, memory_bytes: int | None = None) -> PrefixRows:
    """Stored prefixes for the model that `applied` is at work on, in a loop of your own.

        rows = prefix_rows(applied)
        for input_ids in windows:
            with rows.of(input_ids):
                loss = model(input_ids=input_ids, labels=input_ids).loss
            loss.backward()

    `memory_bytes` is the most that is kept (None: a quarter of the free memory); what has no room is computed each
    time, with the same result. Raises `ModelError` where the bottom of this model is no constant of a window (dropout
    in it), or hands on more than one hidden state.
    """
    return PrefixRows(applied, default_memory_bytes() if memory_bytes is None else memory_bytes)


class PrefixRows:
    """The rows of one model in training, in memory: see `prefix_rows`.

    They follow the plan as `applied.advance` does: what a phase changes below its frost line is never read from before.
    """

    def __init__(self, applied: AppliedPlan, memory_bytes: int) -> None:
        self._applied, self._memory_bytes = applied, memory_bytes
        _, self._layers = decoder_stack(applied.model)
        self._depths = prefix_depths(applied.resolved)
        self._examples: dict[str, object] = {}
        """What a layer returns, by precision."""
        self._untouched: dict[str, Prefix] = {}
        """Rows of layers that no step has trained yet, by precision."""
        self._of_phase: dict[str, Prefix] = {}
        """Rows of layers that trained in an earlier phase, and are frozen in this one."""
        self._phase: Phase | None = None
        self.found = 0
        """Windows whose rows were there."""
        self.computed = 0
        """Windows whose rows were computed."""

    @contextmanager
    def of(
        self, input_ids: Int[Tensor, "batch sequence"], attention_mask: Int[Tensor, "batch sequence"] | None = None
    ) -> Iterator[None]:
        """Inside, the model runs from the rows of these windows: call it with the same `input_ids` and mask.

        Enter it inside `torch.autocast`, where that is used. Under a plan whose phase has no frozen bottom (the
        embeddings train), the whole model runs. The backward pass may come after the block.
        """
        answers = self._answers(input_ids, attention_mask)
        with answering(answers):
            yield

    def forget(self) -> None:
        """Drop all rows: for weights that were loaded into the model meanwhile."""
        for prefix in (*self._untouched.values(), *self._of_phase.values()):
            prefix.store.close()
        self._untouched, self._of_phase = {}, {}

    def _answers(self, input_ids: Tensor, attention_mask: Tensor | None) -> dict[nn.Module, Forward]:
        depth = self._applied.prefix_layers
        if depth == 0:
            return {}
        device = next(self._layers[0].parameters()).device
        precision = _precision(device)
        windows = _as_batch(input_ids, attention_mask)
        with torch.inference_mode(False):  # evaluation may come first, and training reads the same rows
            prefix = self._prefix(depth, precision, device, windows)
            found, computed = prefix.counts.found, prefix.counts.computed
            hidden = prefix.rows(windows, depth)
        self.found += prefix.counts.found - found
        self.computed += prefix.counts.computed - computed
        return {
            layer: _in_precision(answer, precision, device) for layer, answer in prefix.answers(hidden, depth).items()
        }

    def _prefix(self, depth: int, precision: str, device: torch.device, windows: Batch) -> Prefix:
        """Where the rows of the present phase are."""
        phase = self._applied.phase
        if self._phase is not phase:
            for old in self._of_phase.values():
                old.store.close()
            self._phase, self._of_phase = phase, {}
        if precision not in self._examples:
            self._examples[precision] = self._tried(precision, device, windows)
        known = self._untouched if depth <= untouched_depth(self._applied.resolved, phase.at) else self._of_phase
        if precision not in known:
            depths = self._depths if known is self._untouched else [depth]
            known[precision] = self._opened(precision, device, depths)
        return known[precision]

    def _opened(self, precision: str, device: torch.device, depths: list[int]) -> Prefix:
        return Prefix(
            self._applied.model,
            self._layers,
            _memory(self._memory_bytes),
            device=device,
            precision=precision,
            keep=True,
            depths=depths,
            example=self._examples[precision],
        )

    def _tried(self, precision: str, device: torch.device, windows: Batch) -> object:
        """What a layer returns, once it is sure that the bottom of the model can be stood in for."""
        applied = self._applied
        shared = SharedParts(FrozenWeights(precision), _memory(self._memory_bytes), tuple(self._depths), keep_base=True)
        refusal, example = "its head cannot be told from its body", None
        try:
            with torch.random.fork_rng(devices=random_devices(device)):
                body = body_of(applied.model)
                if body is not None:
                    running = range(len(self._layers))
                    trial, example = try_prefix(applied, shared, body, Tried(windows, device, precision), running)
                    refusal = trial.refusal or ""
        except PROBE_ERRORS as error:
            raise ModelError(
                f"this model does not run with its layers stood in for ({type(error).__name__}).", _PLAIN
            ) from error
        finally:
            shared.store.close()
        if refusal:
            raise ModelError(f"prefixes cannot be stored: {refusal}.", _PLAIN)
        return example


def _memory(size: int) -> PrefixStore:
    return PrefixStore(PrefixIdentity("", ""), folder=None, memory_bytes=size, disk_bytes=0)


def _as_batch(input_ids: Tensor, attention_mask: Tensor | None) -> Batch:
    ids = input_ids.detach().cpu().numpy()
    mask = None if attention_mask is None else attention_mask.detach().to("cpu", torch.int64).numpy()
    return Batch(ids, ids, mask, window_ids=tuple(range(len(ids))), windows_sha256="")


def _precision(device: torch.device) -> str:
    """The arithmetic of the forward pass that is about to run."""
    if not torch.is_autocast_enabled(device.type):
        return "fp32"
    dtype = torch.get_autocast_dtype(device.type)
    if dtype != torch.bfloat16:
        raise TrainingError(f"prefixes are stored under autocast to bfloat16, not {dtype}.", "Use bfloat16.")
    return "bf16"


def _in_precision(answer: Callable[..., object], precision: str, device: torch.device) -> Forward:
    def checked(*args: object, **kwargs: object) -> object:
        if _precision(device) != precision:
            raise TrainingError(
                "the rows were made in another arithmetic than the model runs in.",
                "Enter 'with rows.of(...)' inside torch.autocast.",
            )
        return answer(*args, **kwargs)

    return checked
