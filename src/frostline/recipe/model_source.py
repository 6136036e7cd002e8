"""Is it a folder or a hub id that a recipe names as its model? Told by its form, before anything is loaded."""

from __future__ import annotations

import re
from pathlib import Path

from frostline.errors import ModelError
from frostline.hub import require_within_reach
from frostline.recipe.settings import EMBEDDED, ModelSettings

_HUB_ID = re.compile(r"(\w[\w.-]*/)?\w[\w.-]{0,95}", re.ASCII)


def require_model(model: ModelSettings) -> None:
    """Raise `ModelError` unless `model` names a folder that is there, a model of the hub within reach, or `embedded`.

    What is wrong with the model itself is told when it is loaded.
    """
    if model.source != EMBEDDED and model_folder(model) is None:
        require_within_reach(model.source, model.revision)


def model_folder(model: ModelSettings) -> Path | None:
    """The folder that `model` names; None where it is the embedded model, or may be one of the hub.

    Raises `ModelError` where it can be neither: a path on which there is no folder.
    """
    if model.source == EMBEDDED:
        return None
    path = Path(model.source).expanduser()
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
