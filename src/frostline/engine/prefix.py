"""How do the layers below the frost line get computed once and then never again?

Below the lowest weight that trains nothing changes from step to step: what these layers (the *prefix*) give for a
window is a constant. It is computed one window at a time, whatever batch the window stands in, so that a stored row
and one computed anew have the same bits; and the model's own forward then runs with the layers of the prefix stood in
for by the stored row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from frostline.corpus import Batch
from frostline.engine.precision import autocast
from frostline.engine.prefix_store import PrefixStore, window_key
from frostline.engine.stand_in import handing_out, hidden_of, outputs_of_layers, with_hidden
from frostline.plans import Forward


@dataclass
class PrefixCounts:
    """How the rows of this arm came about, in windows."""

    found: int = 0
    computed: int = 0


@dataclass(frozen=True)
class PrefixTrial:
    """What came of running the prefix of one window apart from the rest."""

    refusal: str | None
    """Why it cannot be stood in for; None if it can."""
    seconds: float = 0.0
    row_bytes: int = 0


class Prefix:
    """The bottom of one arm's model; the store of rows is shared between arms."""

    def __init__(
        self,
        model: PreTrainedModel,
        layers: Sequence[nn.Module],
        store: PrefixStore,
        *,
        device: torch.device,
        precision: str,
        keep: bool,
        depths: Sequence[int],
        example: object,
    ) -> None:
        """`example` is what a layer returned once: the kind of output that the model's loop over its layers expects."""
        self.model, self.layers, self.store = model, layers, store
        self.device, self.precision = device, precision
        self.keep = keep
        """Whether rows are put into the store; if not, each is computed when it is needed."""
        self.depths = tuple(depths)
        """Depths at which any arm of the experiment starts: rows are kept at each of them on the way."""
        self.counts = PrefixCounts()
        self._example = example

    def rows(self, part: Batch, depth: int) -> Float[Tensor, "batch sequence hidden"]:
        """The hidden states that come out of the first `depth` layers for the windows of `part`.

        Each is computed at the window's own width, and filled up with zeros where others of `part` are wider.
        """
        width = part.input_ids.shape[1]
        rows = []
        for index in range(len(part.input_ids)):
            ids, mask = part.at_own_width(index)
            masked = None if mask is None else torch.from_numpy(mask[None])
            row = self._row(torch.from_numpy(ids[None]), masked, window_key(ids, mask), depth)
            rows.append(F.pad(row, (0, 0, 0, width - len(row))) if len(row) < width else row)
        return torch.stack(rows)

    def answers(self, hidden: Float[Tensor, "batch sequence hidden"], depth: int) -> dict[nn.Module, Forward]:
        """Stand-ins for the first `depth` layers that hand out `hidden`."""
        return handing_out(self.layers[:depth], self._as_output(hidden))

    def compute(
        self,
        input_ids: Int[Tensor, "1 sequence"],
        attention_mask: Int[Tensor, "1 sequence"] | None,
        depths: Sequence[int],
        start: tuple[int, Tensor] | None = None,
    ) -> dict[int, Tensor]:
        """Rows of one window ([sequence, hidden]) at each of `depths`, from a row at a lower depth if there is one."""
        begin = None if start is None else (start[0], self._as_output(start[1].to(self.device).unsqueeze(0)))
        with torch.no_grad(), autocast(self.precision, self.device):
            outputs = outputs_of_layers(
                self.model,
                self.layers,
                input_ids.to(self.device),
                None if attention_mask is None else attention_mask.to(self.device),
                wanted=depths,
                start=begin,
            )
        rows = {}
        for depth, output in outputs.items():
            hidden = hidden_of(output)
            if hidden is None:
                raise NotStorableError("its layers return no hidden state")
            if hidden.ndim != 3 or hidden.shape[:2] != input_ids.shape:
                raise NotStorableError("its layers hand on more than one hidden state")
            rows[depth] = hidden[0]
        return rows

    def compute_by_layers(
        self, input_ids: Int[Tensor, "1 sequence"], attention_mask: Int[Tensor, "1 sequence"] | None, depth: int
    ) -> dict[int, Tensor]:
        """The rows of one window at every depth up to `depth`, each layer run alone on what the one below handed on."""
        rows: dict[int, Tensor] = {}
        start = None
        for reached in range(1, depth + 1):
            rows |= self.compute(input_ids, attention_mask, [reached], start)
            start = (reached, rows[reached])
        return rows

    def row_bytes(self, tokens: int) -> int:
        """Size of the row of a window of so many tokens."""
        hidden = hidden_of(self._example)
        assert hidden is not None
        return tokens * hidden.shape[-1] * hidden.element_size()

    def _row(self, input_ids: Tensor, attention_mask: Tensor | None, window: bytes, depth: int) -> Tensor:
        stored = self.store.deepest(window, depth)
        if stored is not None and stored[0] == depth:
            self.counts.found += 1
            return stored[1].to(self.device)
        begin = stored[0] if stored is not None else 0
        rows = self.compute(
            input_ids,
            attention_mask,
            [wanted for wanted in (*self.depths, depth) if begin < wanted <= depth],
            stored,
        )
        self.counts.computed += 1
        if self.keep:
            for reached, row in rows.items():
                self.store.put(window, reached, row)
        return rows[depth]

    def _as_output(self, hidden: Tensor) -> object:
        return with_hidden(self._example, hidden)


class NotStorableError(Exception):
    """Why the prefix of a model cannot be stood in for; the engine then computes it with the rest."""
