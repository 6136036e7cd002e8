"""Is what was written the model that was trained? It is loaded, and its held-out loss is the run's own.

Both are taken on the same windows in the same arithmetic. Weights are trained in fp32; where the base's file has 16
bits, what trained is rounded to them, and the loss may be another one: then the same is written in fp32 and loaded too,
so that rounding is told from a mistake. In bf16 a matrix into which an adapter is merged is rounded otherwise than the
two beside one another: then what was kept and what was written are compared in fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import PreTrainedModel

from frostline.arms import Prepared
from frostline.engine import on_device
from frostline.errors import FrostlineError
from frostline.measures import EVALUATION_WINDOWS, evaluate_loss

SAME_NATS = {"fp32": 1e-4, "bf16": 2e-3}
"""Largest difference of a loss that the same weights may have when it is taken twice, by the arithmetic."""
ROUNDING_NATS = 1e-3
"""Largest difference that rounding trained weights to the base's 16 bits may make without a word."""


@dataclass(frozen=True)
class CheckedLoss:
    """The held-out loss of what was exported, beside the run's own, in nats a token."""

    exported: float
    run: float
    remark: str = ""
    """What makes them differ, and what to do about it; '' where they do not."""


@dataclass(frozen=True)
class Expected:
    """What the loss is to be, and what may make it another one."""

    loss: float
    precision: str
    rounded: bool
    """Whether trained weights were rounded to 16 bits."""
    inexact: tuple[str, ...]
    """What of the training was inexact, in phrases: frozen matrices that were held otherwise than they are exported."""
    merged_in_fp32: Callable[[], tuple[float, float]] | None = None
    """Losses in fp32 of what the run kept and of what is written, trained weights in fp32; None but for adapters that
    were trained in bf16 and are merged."""


def held_out_loss(prepared: Prepared, model: PreTrainedModel, precision: str | None = None) -> float:
    """Loss of `model` on the held-out windows of the run, nats a token; in its own arithmetic unless `precision` is."""
    return evaluate_loss(
        on_device(model, prepared.device),
        prepared.corpus.held_out_batches(EVALUATION_WINDOWS),
        device=prepared.device,
        precision=precision or prepared.precision,
    ).loss_nats


def check_loss(expected: Expected, exported: float, unrounded: Callable[[], float]) -> CheckedLoss:
    """What became of the loss; `unrounded` gives that of the same model with its trained weights in fp32.

    Raises `FrostlineError` where the difference cannot come of how weights are held.
    """
    same, own = SAME_NATS[expected.precision], expected.loss
    if abs(exported - own) <= (max(same, ROUNDING_NATS) if expected.rounded else same):
        return CheckedLoss(exported, own)
    if expected.rounded and abs(unrounded() - own) <= same:
        return CheckedLoss(
            exported,
            own,
            f"Its held-out loss is {exported:.4f} nats and the run's was {own:.4f}: trained weights are rounded to the "
            "16 bits of the base. --dtype float32 keeps them whole.",
        )
    if expected.merged_in_fp32 is not None:
        kept, written = expected.merged_in_fp32()
        if abs(kept - written) <= SAME_NATS["fp32"]:
            return CheckedLoss(
                exported,
                own,
                f"Its held-out loss is {exported:.4f} nats and the run's was {own:.4f}: in bf16 merged matrices are "
                f"rounded otherwise than adapters beside the base. In fp32 both have {written:.4f} nats. --as adapter "
                "exports the adapters as they are.",
            )
    if expected.inexact:
        phrases = " and ".join(expected.inexact)
        return CheckedLoss(
            exported,
            own,
            f"Its held-out loss is {exported:.4f} nats and the run's was {own:.4f}: the run had {phrases}, and what "
            "is exported has the base's.",
        )
    raise FrostlineError(
        f"what was written has a held-out loss of {exported:.6f} nats, and the run's was {own:.6f}: nothing is kept.",
        "Is it the machine and the versions of the run? 'frostline verify' looks at the run itself.",
    )


@contextmanager
def folder_for_a_check(beside: Path) -> Iterator[Path]:
    """A folder on the disk of `beside` that is gone after the block."""
    with TemporaryDirectory(dir=beside, prefix=".check-") as folder:
        yield Path(folder)
