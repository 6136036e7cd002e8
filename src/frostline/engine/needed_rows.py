"""How is a token looked up where only some rows of the embeddings train? In the portion that has its row.

Put together from its portions (`plans/fused.py`), the matrix would be copied for each look-up, and its gradient would
be a matrix as large. Here each portion is looked up by itself: nothing is copied, and no gradient is larger than what
trains. The sums are those of the whole matrix: each row's gradient adds its positions in their order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import parametrize

from frostline.plans import JoinedPortions
from frostline.tensor_bytes import value_type


class NeededRows:
    """The forward pass of one embedding whose rows are split.

    An object and not a closure, so that a deep copy of the model has one of its own.
    """

    def __init__(self, module: nn.Embedding) -> None:
        self.module = module
        self._joined: JoinedPortions | None = None
        self._portion_of = torch.empty(0, dtype=torch.int64)
        """[vocabulary] the portion that has each row."""
        self._place_of = torch.empty(0, dtype=torch.int64)
        """[vocabulary] where it stands there."""
        self._padding: list[int | None] = []
        """In each portion, the row that gets no gradient."""

    def __call__(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch hidden"]:
        joined = split_rows(self.module)
        if joined is None:
            self._joined = None
            return nn.Embedding.forward(self.module, ids)
        if self._joined is not joined or self._portion_of.device != ids.device:
            self._find(joined, ids.device)
        holder = self.module.get_submodule("parametrizations.weight")
        portion, place = self._portion_of[ids], self._place_of[ids]
        found: Tensor | None = None
        for index, padding in enumerate(self._padding):
            own = portion == index
            # Elsewhere the first row stands in, and gets no gradient.
            rows = F.embedding(place.masked_fill(~own, 0), holder.get_parameter(f"original{index}"), padding)
            rows = rows.to(value_type(rows))  # what is held as its file has it hands out fp32
            found = rows if found is None else torch.where(own.unsqueeze(-1), rows, found)
        assert found is not None
        return found

    def _find(self, joined: JoinedPortions, device: torch.device) -> None:
        self._joined = joined
        self._portion_of = torch.empty(joined.portions[0].shape[0], dtype=torch.int64, device=device)
        self._place_of = torch.empty_like(self._portion_of)
        for index, portion in enumerate(joined.portions):
            rows = portion.index_tensor(device)
            self._portion_of[rows] = index
            self._place_of[rows] = torch.arange(len(rows), device=device)
        padding = self.module.padding_idx
        found = None if padding is None else int(self._portion_of[padding])
        self._padding = [
            int(self._place_of[padding]) if padding is not None and index == found else None
            for index in range(len(joined.portions))
        ]


def split_rows(module: nn.Module) -> JoinedPortions | None:
    """What joins the rows of an embedding; None where they are not split, or its class makes more of a look-up."""
    if type(module).forward is not nn.Embedding.forward or not parametrize.is_parametrized(module, "weight"):
        return None
    assert isinstance(module, nn.Embedding)
    joined, *others = module.get_submodule("parametrizations.weight").children()
    plain = module.max_norm is None and not module.scale_grad_by_freq and not module.sparse
    return joined if isinstance(joined, JoinedPortions) and not others and plain else None
