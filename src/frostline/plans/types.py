"""What is known about a model's parameters and about a plan made for it? Frozen values, shared by all of `plans`.

The unit of everything is the *portion*: those elements of one parameter that play one role. Most parameters are one
portion; a fused matrix (GPT-2's `c_attn`) holds several. The portions of a model never overlap and together are
the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from frostline.recipe import ROW_ROLES, LoraSettings

Side = Literal["below", "layers", "above"]
"""Where a parameter works: below the first decoder layer, in the decoder layers, or above the last one."""
Verb = Literal["train", "freeze", "thaw", "target"]
"""What a plan does with what a selector matched; `target` carries an adapter."""


@dataclass(frozen=True)
class Portion:
    """The elements of one parameter that play one role."""

    parameter: str
    """Full name of the parameter, as `named_parameters()` of the untouched model gives it."""
    layer: int | None
    """Decoder layer, counted from 0; None outside the layers."""
    role: str
    """Leaf role, such as `attn.q`."""
    shape: tuple[int, ...]
    """Shape of the whole parameter."""
    side: Side
    dimension: int = 0
    """The dimension along which a fused parameter is divided; meaningless for a whole one."""
    indices: tuple[range, ...] | None = None
    """Places along `dimension`, ascending; None where the portion is the whole parameter."""
    aliases: tuple[str, ...] = ()
    """Further names of the same parameter, where it is tied."""
    label: str = ""
    """The selector that asked for these rows of the vocabulary; empty for all else."""

    @property
    def whole(self) -> bool:
        """Whether the portion is all of its parameter."""
        return self.indices is None

    @property
    def of_rows(self) -> bool:
        """Whether the portion is some of the rows of the vocabulary."""
        return not self.whole and self.role in ROW_ROLES

    @property
    def name(self) -> str:
        """`PARAMETER`, or `PARAMETER[ROLE]` for a portion of a fused one: unique within a model.

        For rows of the vocabulary `PARAMETER[embed[TOKENS]]`, and `PARAMETER[embed]` for all others.
        """
        return self.parameter if self.whole else f"{self.parameter}[{self.label or self.role}]"

    @property
    def portion_shape(self) -> tuple[int, ...]:
        """Shape of the portion alone."""
        if self.indices is None:
            return self.shape
        places = sum(len(part) for part in self.indices)
        return (*self.shape[: self.dimension], places, *self.shape[self.dimension + 1 :])

    @property
    def values(self) -> int:
        """Number of values in the portion."""
        count = 1
        for size in self.portion_shape:
            count *= size
        return count

    def index_tensor(self, device: torch.device | str = "cpu") -> Tensor:
        """Places along `dimension` as int64."""
        ranges = (range(self.shape[self.dimension]),) if self.indices is None else self.indices
        return torch.tensor([place for part in ranges for place in part], dtype=torch.int64, device=device)

    def view_of(self, tensor: Tensor) -> Tensor:
        """This portion's values out of `tensor`, which has the parameter's shape (its value, gradient or change).

        The tensor itself where the portion is whole, a view where it is one evenly spaced run, else a copy.
        """
        if self.indices is None:
            return tensor
        if len(self.indices) == 1:
            run = self.indices[0]
            slices = [slice(None)] * self.dimension + [slice(run.start, run.stop, run.step)]
            return tensor[tuple(slices)]
        return tensor.index_select(self.dimension, self.index_tensor(tensor.device))


@dataclass(frozen=True)
class ModelMap:
    """All parameters of a model, by role."""

    layers: int
    portions: tuple[Portion, ...]
    """Every element of every parameter exactly once, in the order of `named_parameters()`."""
    tied: tuple[tuple[str, ...], ...]
    """Groups of names that share one parameter; the first is the name that `named_parameters()` gives."""
    head_name: str | None = None
    """Name of the matrix that computes the logits, also where it is tied to the embeddings."""
    layout: str = ""
    """Class of the model and its heads: with equal shapes, its fused matrices may be divided in other ways."""
    embedding_name: str | None = None
    """Name of the matrix in which tokens are looked up."""
    tokenizer: PreTrainedTokenizerBase | None = field(default=None, compare=False, repr=False)
    """What tells the ids of tokens; None where selectors may name ids alone."""

    @property
    def values(self) -> int:
        """Number of values of the model; shared ones count once."""
        return sum(portion.values for portion in self.portions)


@dataclass(frozen=True)
class Match:
    """What one selector of a plan matched."""

    selector: str
    verb: Verb
    at: int
    """Step from which it holds; 0 is the start of training."""
    portions: tuple[Portion, ...]


@dataclass(frozen=True)
class Phase:
    """What trains from step `at` on, until the next phase."""

    at: int
    trained: frozenset[str]
    """Names of the portions that train."""
    prefix_layers: int
    """Decoder layers below the lowest parameter that trains: the backward pass never reaches them."""


@dataclass(frozen=True)
class ResolvedPlan:
    """A plan made concrete for one model; nothing has been touched yet."""

    text: str
    """The plan, in canonical form."""
    map: ModelMap
    matches: tuple[Match, ...]
    phases: tuple[Phase, ...]
    """What trains from which step on: one or more; the first begins at step 0."""
    lora: LoraSettings | None = None
    targets: tuple[Portion, ...] = ()
    """What carries an adapter, where `lora` is set: then no portion of the model itself trains."""

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return self.map.layers

    @property
    def portions(self) -> tuple[Portion, ...]:
        """Every portion of the model."""
        return self.map.portions

    @property
    def tied(self) -> tuple[tuple[str, ...], ...]:
        """Groups of names that share one parameter."""
        return self.map.tied

    @property
    def matched(self) -> dict[str, tuple[str, ...]]:
        """Names of the portions that each selector matched."""
        found: dict[str, tuple[str, ...]] = {}
        for match in self.matches:
            found.setdefault(match.selector, tuple(portion.name for portion in match.portions))
        return found

    @property
    def trained(self) -> dict[str, Portion]:
        """The portions that train at the first step, by name, in the model's order."""
        return self.trained_at(0)

    def trained_at(self, step: int) -> dict[str, Portion]:
        """The portions that train at `step`, by name, in the model's order."""
        names = self.phase_at(step).trained
        return {portion.name: portion for portion in self.portions if portion.name in names}

    @property
    def trained_layers(self) -> set[int]:
        """Decoder layers of which any step trains something, counted from 0."""
        names = frozenset().union(*(phase.trained for phase in self.phases))
        portions = (*self.targets, *(portion for portion in self.portions if portion.name in names))
        return {portion.layer for portion in portions if portion.layer is not None}

    def phase_at(self, step: int) -> Phase:
        """The phase that `step` belongs to."""
        return [phase for phase in self.phases if phase.at <= step][-1]

    @property
    def prefix_layers(self) -> int:
        """Decoder layers below the lowest parameter that trains, at the first step."""
        return self.phases[0].prefix_layers

    @property
    def parameters(self) -> int:
        """Number of values of the model, without adapters."""
        return self.map.values

    @property
    def trained_values(self) -> int:
        """Number of values that train at the first step; those of the adapters where `lora` is set."""
        if self.lora is not None:
            shapes = {portion.parameter: portion.shape for portion in self.targets}
            return self.lora.rank * sum(sum(shape) for shape in shapes.values())
        return sum(portion.values for portion in self.trained.values())

    def partly_trained(self) -> Iterator[str]:
        """Names of parameters of which some portions train at some step while others do not."""
        parts: dict[str, list[str]] = {}
        for portion in self.portions:
            parts.setdefault(portion.parameter, []).append(portion.name)
        for parameter, names in parts.items():
            if any(0 < sum(name in phase.trained for name in names) < len(names) for phase in self.phases):
                yield parameter


@dataclass(frozen=True, eq=False)
class PlanStep:
    """What a change of the plan did at one step."""

    thawed: tuple[str, ...]
    """Names of the portions that train from this step on."""
    frozen: tuple[str, ...]
    """Names of the portions that stop training at this step."""
    thawed_parameters: tuple[nn.Parameter, ...] = field(default=(), repr=False)
    """Parameters to be added to the optimizer."""
    frozen_parameters: tuple[nn.Parameter, ...] = field(default=(), repr=False)
    """Parameters to be dropped from the optimizer, with their state."""


@dataclass(frozen=True, eq=False)
class Shard:
    """The rows of one parameter that this process holds, where several processes hold it together."""

    rows: nn.Parameter
    """A slice along dimension 0, perhaps empty: what an optimizer is given."""
    in_module: nn.Parameter
    """What the module names as its parameter between two passes."""
    shape: tuple[int, ...]
    """Shape of the whole parameter."""

    @property
    def values(self) -> int:
        """Number of values of the whole parameter."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class FrozenCheck:
    """Whether what the plan froze kept its bytes."""

    checked_values: int
    """Number of values compared with their hash."""
    moved: tuple[str, ...]
    """Names of the frozen portions whose bytes changed; empty is what must be."""


def as_ranges(places: Sequence[int]) -> tuple[range, ...]:
    """Ascending places as few ranges: one if they are evenly spaced, else the runs of consecutive ones."""
    steps = {second - first for first, second in pairwise(places)}
    if len(steps) <= 1:
        step = steps.pop() if steps else 1
        return (range(places[0], places[-1] + 1, step),)
    runs = [[places[0], places[0] + 1]]
    for place in places[1:]:
        if place == runs[-1][1]:
            runs[-1][1] = place + 1
        else:
            runs.append([place, place + 1])
    return tuple(range(start, stop) for start, stop in runs)
