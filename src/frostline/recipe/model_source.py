"""Is there what a recipe names as its model and corpora? Folder or hub id, told before anything is loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frostline.errors import CorpusError, ModelError, nearest
from frostline.hub import require_within_reach
from frostline.recipe.sources import EMBEDDED, CorpusSettings, ModelSettings

_HUB_ID = re.compile(r"(?!.*(--|\.\.))(\w[\w.-]*(?<![.-])/)?(?=.{1,96}$)\w[\w.-]*(?<![.-])(?<!\.git)", re.ASCII)
"""What the hub takes for a name; its library raises an error of its own for any other."""


@contextmanager
def loading_judge() -> Iterator[None]:
    """Errors in the block are the judge's: who loads a model takes it for the one that is trained."""
    try:
        yield
    except ModelError as error:
        error.keys = ("measures", "judge", *error.keys[1:])
        raise


def require_model(model: ModelSettings) -> None:
    """Raise `ModelError` unless `model` names a folder that is there, a model of the hub within reach, or `embedded`.

    What is wrong with the model itself is told when it is loaded.
    """
    if model.source != EMBEDDED and model_folder(model) is None:
        require_within_reach(model.source, model.revision)


def require_corpus(corpus: CorpusSettings) -> None:
    """Raise `CorpusError` where `corpus` names a path and nothing is there.

    What is wrong with what is there is told when it is read.
    """
    if not corpus.is_local:
        return
    path = corpus.place.path_of(corpus.source)
    try:
        missing = not os.path.lexists(path)
    except ValueError:  # no name that a file could have
        return
    if missing:
        try:
            close = nearest(path.name, sorted(other.name for other in path.parent.iterdir()), count=1)
        except OSError:
            close = ""
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise CorpusError(
            f"there is no file or folder '{shown}'.", close or "Paths in a recipe are relative to its folder."
        ).at("source")


def model_folder(model: ModelSettings) -> Path | None:
    """The folder that `model` names; None where it is the embedded model, or may be one of the hub.

    Raises `ModelError` where it can be neither: a path on which there is no folder.
    """
    if model.source == EMBEDDED:
        return None
    path = model.place.path_of(model.source)
    try:
        if model.source and path.is_dir():
            return path
        is_file = path.is_file()
    except OSError:  # no name that a file could have
        is_file = False
    if not is_file and _HUB_ID.fullmatch(model.source):
        return None
    found = f"'{model.source}' is a file" if is_file else f"there is no folder '{model.source}'"
    raise ModelError(
        f"{found}.",
        "Give a folder written by save_pretrained, a hub id such as 'EleutherAI/gpt-neo-125m', or 'embedded'.",
    ).at("model", "source")
