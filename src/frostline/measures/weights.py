"""How far does training move each watched matrix, in a step and from the start?

A watched matrix is a portion of a parameter: `attn.q` of a fused query/key/value matrix is measured alone, and gives
the same numbers whether the plan has split the parameter or not. An adapted matrix is W + (alpha / rank) B A; since W
stays, the product alone is followed, which loses no digits in a sum with W. What the plan never trains is not followed:
that it stayed is proved by the hashes of `AppliedPlan.verify`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

from frostline.measures.spectrum import stable_rank
from frostline.plans import AppliedPlan, Portion, adapted_modules, adapter_delta, value_of
from frostline.run_folder import FinalNorms

OUTSIDE_LAYERS = -1
"""Stands for the layer of a matrix that lies in none, such as the embeddings."""


@dataclass(frozen=True)
class WeightNorms:
    """Frobenius norms, one for each watched matrix."""

    change: list[float]
    """Frobenius norm of W_t - W_(t-1)."""
    drift: list[float]
    """Frobenius norm of W_t - W_0."""


class WeightWatch:
    """Keeps W_(t-1) of those watched matrices that the plan trains at any step; W_0 is that of the untouched model.

    Create it after the plan was applied and before the first step; call `after_step` after every step.
    """

    def __init__(
        self,
        applied: AppliedPlan,
        selectors: Sequence[str],
        *,
        every: int = 1,
        base: nn.Module | None = None,
        whole: Callable[[int | None], AbstractContextManager[None]] = lambda layer: nullcontext(),
    ) -> None:
        """Watch what `selectors` name, every `every` steps (0: only the end). Raises `PlanError` as resolving does.

        W_0 is read from `base`, the untouched model, which nothing may train meanwhile; without one it is copied. In
        the block of `whole` the model has all weights of a layer (None: those outside), where several processes hold
        it together (`experiment.held_together.whole_layer`).
        """
        self._applied = applied
        self._base = base
        self._every = every
        self._whole = whole
        self._portions = applied.select(selectors)
        self._adapted = frozenset(f"{name}.weight" for name in adapted_modules(applied.model))
        self._trained = self.trained
        self._copies: list[Tensor | None] = []
        self._previous: list[Tensor | None] = []
        self._norms: list[float] = []
        for place in self._read():
            portion, trained = self._portions[place], self._trained[place]
            self._norms.append(_norm(self._effective(portion) if base is None else value_of(base, portion)))
            self._copies.append(self._copied_start(portion) if trained else None)
            self._previous.append(self._moving(portion).clone() if trained and every else None)
        self._previous_step = -1

    @property
    def copied_bytes(self) -> int:
        """Bytes of all that is kept of weights beside the model and its base."""
        kept = [value for value in (*self._copies, *self._previous) if value is not None]
        return sum(value.numel() * value.element_size() for value in kept)

    @property
    def names(self) -> list[str]:
        """`PARAMETER` or `PARAMETER[ROLE]`, in the model's order: the order of every list here."""
        return [portion.name for portion in self._portions]

    @property
    def layers(self) -> list[int]:
        """Decoder layers, counted from 0; -1 outside them."""
        return [OUTSIDE_LAYERS if portion.layer is None else portion.layer for portion in self._portions]

    @property
    def roles(self) -> list[str]:
        return [portion.role for portion in self._portions]

    @property
    def trained(self) -> list[bool]:
        """Whether the plan trains the matrix at any step, itself or by an adapter."""
        resolved = self._applied.resolved
        trained = {name for phase in resolved.phases for name in phase.trained}
        trained |= {portion.name for portion in resolved.targets}
        return [portion.name in trained for portion in self._portions]

    @torch.no_grad()
    def after_step(self, step: int) -> WeightNorms | None:
        """What step `step` (counted from 0) changed, if it is one of those measured: every - 1, 2 every - 1, ...

        The change is always that of this one step. Raises `ValueError` if the call after the step before was left out.
        """
        measured = self._is_measured(step)
        if measured and self._previous_step != step - 1:
            raise ValueError(f"after_step({step}) was called without after_step({step - 1}) before it")
        change, drift = [], []
        for index in self._read():
            previous = self._previous[index]
            if previous is None:
                change.append(0.0)
                drift.append(0.0)
                continue
            # All of one matrix while it is in the processor's cache: the next comes from memory only once.
            now = self._moving(self._portions[index])
            if measured:
                change.append(_norm(_difference(now, previous)))
                drift.append(_norm(_difference(now, self._start(index))))
            if self._is_measured(step + 1):
                previous.copy_(now)
        if self._is_measured(step + 1):
            self._previous_step = step
        return WeightNorms(change, drift) if measured else None

    @torch.no_grad()
    def resume_after(self, step: int) -> None:
        """Take the present weights for those after step `step`: training goes on from a checkpoint."""
        for index in self._read():
            if (previous := self._previous[index]) is not None:
                previous.copy_(self._moving(self._portions[index]))
        self._previous_step = step

    @torch.no_grad()
    def final(self) -> FinalNorms:
        """What training did, from the start until now."""
        drift, ranks = [], []
        for index in self._read():
            if not self._trained[index]:
                drift.append(0.0)
                ranks.append(0.0)
                continue
            moved = _difference(self._moving(self._portions[index]), self._start(index))
            drift.append(_norm(moved))
            ranks.append(stable_rank(_as_matrix(moved)))
        return FinalNorms(list(self._norms), drift, list(map(_ratio, drift, self._norms)), ranks)

    def _by_layer(self) -> Iterator[tuple[int | None, list[int]]]:
        """Neighbours of one layer, by their places in the lists."""
        for layer, places in groupby(range(len(self._portions)), key=lambda place: self._portions[place].layer):
            yield layer, list(places)

    def _read(self) -> Iterator[int]:
        """The places of all watched matrices, each while the model has all of it."""
        for layer, places in self._by_layer():
            if any(self._trained[place] for place in places):
                with self._whole(layer):
                    yield from places
            else:
                yield from places

    def _is_measured(self, step: int) -> bool:
        return self._every > 0 and (step + 1) % self._every == 0

    def _copied_start(self, portion: Portion) -> Tensor | None:
        """W_0 of what training moves, where it must be copied: not where it is in the base, or where it is all 0."""
        if self._base is not None and portion.parameter not in self._adapted:
            return None
        start = self._moving(portion)
        return start.clone() if start.any() else start.new_zeros(())

    @torch.no_grad()
    def _start(self, index: int) -> Tensor:
        """W_0 of what training moves, or 0 where all of it began there. May share memory with the base."""
        copied = self._copies[index]
        if copied is not None:
            return copied
        assert self._base is not None
        return value_of(self._base, self._portions[index])

    @torch.no_grad()
    def _moving(self, portion: Portion) -> Tensor:
        """The part of `portion` that training can move: all of it, or the adapter's product. May share memory."""
        if portion.parameter in self._adapted:
            delta = adapter_delta(self._applied.model, portion.parameter.removesuffix(".weight"))
            return portion.view_of(delta)
        return self._applied.value_of(portion)

    @torch.no_grad()
    def _effective(self, portion: Portion) -> Tensor:
        """The weight that the model computes with."""
        value = self._applied.value_of(portion)
        return value + self._moving(portion) if portion.parameter in self._adapted else value


def _difference(value: Tensor, other: Tensor) -> Tensor:
    return value.float() - other.float()


def _norm(value: Tensor) -> float:
    return float(torch.linalg.vector_norm(value.float()))


def _ratio(drift: float, norm: float) -> float:
    if drift == 0:
        return 0.0
    return drift / norm if norm else math.inf


def _as_matrix(value: Tensor) -> Tensor:
    """[rows, columns]: the matrices of stacked experts below each other, a vector as one column."""
    return value[:, None] if value.dim() == 1 else value.reshape(-1, value.shape[-1])
