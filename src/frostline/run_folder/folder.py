"""What lies where in a run folder."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from frostline.errors import RunFolderError
from frostline.text import is_utf8, utf8_way_out

RECIPE_FILE = "experiment.yaml"
"""The resolved recipe, every default written out."""
JOURNAL_FOLDER = "journal"
RUN_FILE = "run.jsonl"
"""The journal's own file for what belongs to no arm."""
CHECKPOINT_FOLDER = "checkpoints"
WEIGHTS_FOLDER = "_weights"
"""Below the folder of checkpoints, beside trained models, which bear the names of arms."""
FAILURE_FOLDER = "failures"
"""What Python said about arms that failed, in full."""
SESSIONS_FILE = "sessions.jsonl"
"""Which processes have written here, and how long."""
UNITS_FOLDER = "units"
"""What machines of a cluster are at, or have done and nobody has taken in yet; gone when the run has ended."""
UNITS_FILE = "units.jsonl"
"""Which kind of machine did which unit of a run on a cluster."""
LONGEST_LABEL = 120
"""Letters of a folder's name that tell of which variant and arm a trained model is; file systems take 255 bytes."""
SUMMARY_FILE = "summary.json"
REPORT_FILE = "report.html"


def usual_folder(name: str) -> Path:
    """Where the experiment `name` goes unless told otherwise: into a folder in `runs`, whatever it is called."""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).strip(".-")
    return Path("runs") / (safe or "experiment")


def holds_run(folder: Path) -> bool:
    """Whether `folder` is a run folder, rather than that of a model."""
    return (folder / JOURNAL_FOLDER).is_dir()


def require_run_folder(folder: Path, holding: str = JOURNAL_FOLDER) -> None:
    """Raise `RunFolderError` where `folder` is none that a run has made: a run folder is `holding` something."""
    if (folder / holding).exists():
        return
    what = f"not a run folder (it has no '{holding}')"
    if not folder.is_dir():
        what = "a file, not a run folder" if folder.exists() else "there is no such run folder"
    raise RunFolderError(
        f"{folder}: {what}.", "Give the folder that 'frostline run' made; start one with 'frostline run RECIPE'."
    )


def refuse_existing(run_folder: Path) -> None:
    """Raise `RunFolderError` if there is anything at `run_folder`."""
    if run_folder.exists() or run_folder.is_symlink():
        raise RunFolderError(
            f"{run_folder} exists already and a run never overwrites another.",
            "Choose another folder with --out, or remove this one.",
        )


def require_can_be_made(run_folder: Path) -> None:
    """Raise `RunFolderError` where `run_folder` could not be filled, before anything slow is done for it.

    What is of no permission (a full disk, a quota) is told when it is met.
    """
    if not is_utf8(run_folder):
        raise RunFolderError(f"{run_folder}: its name is not UTF-8, and no weights are saved there.", utf8_way_out())
    there = run_folder
    try:
        while not os.path.lexists(there) and there != there.parent:
            there = there.parent
        reason = "" if there.is_dir() else f"'{there}' is not a folder"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    if not reason and not os.access(there, os.W_OK | os.X_OK):
        reason = f"no right to write into '{there}'"
    if reason:
        raise RunFolderError(f"{run_folder}: cannot be made: {reason}.", "Choose another folder with --out.")


def saved_model_folder(run_folder: Path, variant: str, arm: str) -> Path:
    """Where the trained model of `arm` is kept: a folder that is called after both, and after no others."""
    label = f"{variant}-{arm}" if variant else arm
    name = re.sub(r"[^A-Za-z0-9.=_+-]+", "-", label)[:LONGEST_LABEL]
    if name != label or (variant and "-" in arm):  # another variant, or arm, may be left with the same letters
        name += "-" + hashlib.sha256(f"{variant}\n{arm}".encode()).hexdigest()[:8]
    return run_folder / CHECKPOINT_FOLDER / name


def name_of_arm(variant: int, seed: int, arm: str) -> str:
    """What files of an arm of one replicate are called; variants are counted from 0, '' is the untouched model."""
    return f"variant{variant}-seed{seed}-{arm or 'untouched model'}"


def kept_weights_folder(run_folder: Path, name: str) -> Path:
    """Where the trained tensors of an arm of one replicate are kept; `name` as `name_of_arm` gives it."""
    return run_folder / CHECKPOINT_FOLDER / WEIGHTS_FOLDER / name
