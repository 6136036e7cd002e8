"""What does a user take away from a run? One arm of one replicate, as a model, a patch or an adapter, checked.

It is written beside its place, loaded as anybody will load it, compared with the run's own held-out loss, and only then
moved to its place: interrupted at any moment, nothing half is left there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from frostline.arms import PlannedArm, Prepared
from frostline.errors import FrostlineError
from frostline.export.adapter import require_adapter, with_adapter, write_adapter
from frostline.export.card import Contents, write_card
from frostline.export.filed import BaseFiles, base_files
from frostline.export.folder import Unchanged, write_model_folder
from frostline.export.kept import Choice, Kept, Say, find_kept, planned_arm, prepare_base
from frostline.export.losses import CheckedLoss, Expected, check_loss, folder_for_a_check, held_out_loss
from frostline.export.patch import PATCH_FILE, Patch, read_patch, write_patch
from frostline.export.push import push, require_pushable
from frostline.export.trained import WIDE, narrowed, patch_of
from frostline.loading import load_model, runs_code, trusting_folder, weight_files
from frostline.readable import size
from frostline.recipe import ModelSettings
from frostline.stats import summary_in_its_time
from frostline.storage import NO_SPACE, place_folder

Kind = Literal["folder", "patch", "adapter"]
DType = Literal["base", "float32"]
Drawing = Callable[[PlannedArm], str]


@dataclass(frozen=True)
class Wish:
    """What is to be written, and where."""

    kind: Kind
    out: Path
    dtype: DType = "base"
    push: str | None = None
    """Repository of the hub onto which it goes, too."""
    public: bool = False
    """Whether a repository that is made for it is public."""


@dataclass(frozen=True)
class Exported:
    """What was exported."""

    folder: Path
    """Where it is."""
    kind: str
    """`folder`, `patch` or `adapter`."""
    arm: str
    """Name of the arm."""
    seed: int
    """Its replicate."""
    bytes: int
    """Bytes of all its files."""
    loss_nats: float
    """Held-out loss of what was written, loaded again."""
    run_loss_nats: float
    """The run's own held-out loss at the end."""
    unchanged: str
    """What of the base model it keeps, in sentences."""
    remarks: tuple[str, ...] = ()
    """What a user should know, in sentences."""
    pushed: str = ""
    """Address of the repository that it was pushed to; '' where it was not."""


@dataclass(frozen=True)
class _Work:
    """All that is written, from what is known before."""

    wish: Wish
    kept: Kept
    prepared: Prepared
    base: BaseFiles
    weights: Mapping[str, Tensor]
    cache: Path
    with_code: bool
    """Whether the model's own code, which was trusted, comes along."""

    def patch(self, dtype: str) -> Patch:
        return patch_of(self.kept, self.prepared, self.weights, self.base, dtype=dtype)

    def model_folder(self, patch: Patch, folder: Path) -> Unchanged:
        return write_model_folder(self.base, patch, self.prepared.tokenizer, folder, with_code=self.with_code)

    def loss_of(self, folder: Path, precision: str | None = None) -> float:
        """Held-out loss of the model in `folder`, loaded as anybody loads it; in the run's arithmetic by default."""
        settings = ModelSettings(source=str(folder))
        settings = trusting_folder(settings) if self.with_code else settings
        precision = precision or self.prepared.precision
        return held_out_loss(self.prepared, load_model(settings, self.cache, as_filed=precision), precision)

    def loss_in_fp32_as_kept(self, beside: Path) -> float:
        """Held-out loss, in fp32, of what the run kept: its adapters beside the base, or the model they were merged to.

        `beside` is a folder on a disk with room for the adapters.
        """
        if self.kept.is_model:
            return self.loss_of(self.kept.folder, "fp32")
        require_adapter(self.kept, self.prepared)
        base = load_model(self.prepared.recipe.model, self.cache, as_filed="fp32")
        with folder_for_a_check(beside) as folder:
            write_adapter(self.kept, self.prepared, self.weights, folder)
            return held_out_loss(self.prepared, with_adapter(base, folder), "fp32")


def export_arm(
    choice: Choice,
    wish: Wish,
    cache: Path,
    *,
    draw: Drawing,
    recipe_folder: Path | None = None,
    trusted_code: str | None = None,
    say: Say = lambda sentence: None,
) -> Exported:
    """Export what `choice` means as `wish` wants it; `draw` draws in letters which weights trained.

    Raises `FrostlineError` in one sentence where it cannot be; then nothing is left of the attempt.
    """
    kept = find_kept(choice)
    require_free(wish.out)
    if wish.push is not None:
        require_pushable(wish.push)
    say("Loading the base model and the held-out text")
    prepared = prepare_base(kept, cache, recipe_folder=recipe_folder, trusted_code=trusted_code)
    if wish.kind == "adapter":
        require_adapter(kept, prepared)
    settings = prepared.recipe.model
    work = _Work(
        wish,
        kept,
        prepared,
        base_files(weight_files(settings, cache)),
        kept.weights(prepared, cache),
        cache,
        runs_code(settings, cache),
    )
    exported = _write(work, draw, say)
    if wish.push is None:
        return exported
    say(f"Pushing to {wish.push}")
    return replace(exported, pushed=push(wish.out, wish.push, public=wish.public))


def require_free(out: Path) -> None:
    """Raise `FrostlineError` unless `out` is not there, or an empty folder."""
    free = not os.path.lexists(out) or (out.is_dir() and not out.is_symlink() and not any(out.iterdir()))
    if not free:
        raise FrostlineError(
            f"{out}: something is there, and an export overwrites nothing.", "Choose another with --out."
        )


def placed(out: Path, write: Callable[[Path], None], bytes_needed: int) -> None:
    """Make `out` with what `write` writes, whole or not at all. Raises `FrostlineError` where the disk says no."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out.parent).free
        if free < bytes_needed:
            raise FrostlineError(
                f"{out}: the export takes {size(bytes_needed)}, and the disk has {size(free)} left.",
                "Free some space, or choose another disk with --out.",
            )
        place_folder(out, write)
    except OSError as error:
        reason = "no space is left on the disk" if error.errno in NO_SPACE else error.strerror or str(error)
        raise FrostlineError(f"{out}: cannot be written: {reason}.", "Choose another with --out.") from error


def _write(work: _Work, draw: Drawing, say: Say) -> Exported:
    wish, kept, prepared = work.wish, work.kept, work.prepared
    found: list[tuple[str, CheckedLoss]] = []

    def write(folder: Path) -> None:
        say(f"Writing the {'model' if wish.kind == 'folder' else wish.kind}")
        unchanged, checked = {"folder": _folder, "patch": _patch, "adapter": _adapter}[wish.kind](work, folder, say)
        prepared.require_unchanged()
        found.append((unchanged, checked))
        names = tuple(file.path.name for file in work.base.files) if wish.kind == "patch" else ()
        drawing = draw(planned_arm(kept, prepared))
        contents = Contents(wish.kind, unchanged, checked, drawing, names)
        write_card(folder, kept, prepared, contents, summary_in_its_time(kept.run_folder), work.base.folder)

    placed(wish.out, write, _bytes_needed(work))
    unchanged, checked = found[-1]
    remarks = [checked.remark] if checked.remark else []
    if work.with_code and wish.kind == "folder":
        remarks.append("The model's own Python code, which you trusted, lies beside its weights.")
    return Exported(
        folder=wish.out,
        kind=wish.kind,
        arm=kept.arm.name,
        seed=kept.arm.seed,
        bytes=sum(path.stat().st_size for path in wish.out.rglob("*") if path.is_file()),
        loss_nats=checked.exported,
        run_loss_nats=checked.run,
        unchanged=unchanged,
        remarks=tuple(remarks),
    )


def _folder(work: _Work, folder: Path, say: Say) -> tuple[str, CheckedLoss]:
    patch = work.patch(work.wish.dtype)
    unchanged = work.model_folder(patch, folder)
    say("Loading what was written, and taking its held-out loss")
    return _of_unchanged(unchanged), _checked(work, patch, work.loss_of(folder), folder)


def _patch(work: _Work, folder: Path, say: Say) -> tuple[str, CheckedLoss]:
    write_patch(work.patch(work.wish.dtype), work.base, folder / PATCH_FILE)
    patch = read_patch(folder / PATCH_FILE)
    say("Putting the patch onto its base, loading that, and taking its held-out loss")
    with folder_for_a_check(folder) as whole:
        unchanged = work.model_folder(patch, whole)
        loss = work.loss_of(whole)
    return _of_unchanged(unchanged), _checked(work, patch, loss, folder)


def _adapter(work: _Work, folder: Path, say: Say) -> tuple[str, CheckedLoss]:
    values = write_adapter(work.kept, work.prepared, work.weights, folder)
    say("Loading the adapter with PEFT, and taking its held-out loss")
    base = load_model(work.prepared.recipe.model, work.cache, as_filed=work.prepared.precision)
    loss = held_out_loss(work.prepared, with_adapter(base, folder))
    expected = Expected(work.kept.loss, work.prepared.precision, False, work.prepared.recipe.training.inexact)
    said = f"The base model stays as it is: {values:,} values of adapters are added, in fp32."
    return said, check_loss(expected, loss, lambda: loss)


def _checked(work: _Work, patch: Patch, loss: float, beside: Path) -> CheckedLoss:
    """The loss, compared with the run's; where it differs, that of the same with trained weights in fp32 tells why."""

    def unrounded() -> float:
        with folder_for_a_check(beside) as whole:
            work.model_folder(work.patch(WIDE), whole)
            return work.loss_of(whole)

    def merged_in_fp32() -> tuple[float, float]:
        with folder_for_a_check(beside) as whole:
            work.model_folder(work.patch(WIDE), whole)
            return work.loss_in_fp32_as_kept(beside), work.loss_of(whole, "fp32")

    training, precision = work.prepared.recipe.training, work.prepared.precision
    merges = precision == "bf16" and planned_arm(work.kept, work.prepared).resolved.lora is not None
    expected = Expected(
        work.kept.loss, precision, narrowed(patch), training.inexact, merged_in_fp32 if merges else None
    )
    return check_loss(expected, loss, unrounded)


def _of_unchanged(unchanged: Unchanged) -> str:
    share = f"{unchanged.values:,} of {unchanged.of_values:,} values have the bytes of the base model's file"
    if not unchanged.tensors:
        return f"{share}: every tensor has trained." if not unchanged.values else f"{share}."
    return (
        f"{share}. {unchanged.tensors:,} tensors are the base's as a whole: SHA-256 of their bytes, in the files' "
        f"order, `{unchanged.sha256}`."
    )


def _bytes_needed(work: _Work) -> int:
    """Bytes on the disk while it is written and checked, about."""
    weights = sum(own.end - own.begin for own in work.base.tensors.values())
    trained = sum(tensor.nbytes for tensor in work.weights.values())
    return trained if work.wish.kind == "adapter" else weights + trained
