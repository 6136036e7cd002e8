"""How does a batch get to another process? Its arrays as tensors, the rest as JSON."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from frostline.corpus import Batch
from frostline.engine.world import Values

IDS, LABELS, MASK = "input_ids", "labels", "attention_mask"


def batch_values(batch: Batch) -> Values:
    """What of `batch` is no array."""
    return {
        "windows": list(batch.window_ids),
        "windows_sha256": batch.windows_sha256,
        "lengths": None if batch.lengths is None else list(batch.lengths),
        "widths": None if batch.widths is None else list(batch.widths),
    }


def batch_tensors(batch: Batch) -> dict[str, Tensor]:
    """The arrays of `batch`, [batch, sequence] each, by name."""
    arrays = {IDS: batch.input_ids, LABELS: batch.labels, MASK: batch.attention_mask}
    return {name: torch.from_numpy(own.copy()) for name, own in arrays.items() if own is not None}


def batch_of(values: Values, tensors: Mapping[str, Tensor]) -> Batch:
    """The batch that was sent."""
    lengths, widths = values["lengths"], values["widths"]
    return Batch(
        input_ids=tensors[IDS].numpy(),
        labels=tensors[LABELS].numpy(),
        attention_mask=tensors[MASK].numpy() if MASK in tensors else None,
        window_ids=tuple(values["windows"]),  # type: ignore[arg-type]
        windows_sha256=str(values["windows_sha256"]),
        lengths=None if lengths is None else tuple(lengths),  # type: ignore[arg-type]
        widths=None if widths is None else tuple(widths),  # type: ignore[arg-type]
    )
