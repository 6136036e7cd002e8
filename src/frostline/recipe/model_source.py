"""Is there what a recipe names as its model and corpora? Folder or hub id, told before anything is loaded."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frostline.errors import CorpusError, ModelError, nearest
from frostline.hub import require_within_reach
from frostline.recipe.sources import EMBEDDED, CorpusSettings, ModelSettings
from frostline.text import is_utf8, utf8_way_out

_NEAR = 0.75
"""Share of letters that a name has in common with what it is taken for."""
_NO_TEXT = (".py", ".yaml", ".yml", ".toml", ".html", ".safetensors")
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
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise CorpusError(f"there is no file or folder '{shown}'.", similar_name(path)).at("source")


def similar_name(path: Path) -> str:
    """A sentence naming what beside the missing `path` could be meant by it, else where paths begin.

    Nearly the same name, or the same one with another ending; never a file that cannot be a text.
    """
    try:
        beside = sorted(other for other in path.parent.iterdir() if not other.name.startswith("."))
    except OSError:
        beside = []
    texts = [other for other in beside if other.suffix.lower() not in _NO_TEXT]
    choices = {other.name for other in texts if _stem(other) == _stem(path) or _is_near(path.name, other.name)}
    return nearest(path.name, sorted(choices), count=1) or "Paths in a recipe are relative to its folder."


def _stem(path: Path) -> str:
    return path.name.lower().partition(".")[0]


def _is_near(name: str, other: str) -> bool:
    return difflib.SequenceMatcher(None, name, other).ratio() >= _NEAR


def model_folder(model: ModelSettings) -> Path | None:
    """The folder that `model` names; None where it is the embedded model, or may be one of the hub.

    Raises `ModelError` where it can be neither: a path on which there is no folder.
    """
    if model.source == EMBEDDED:
        return None
    path = model.place.path_of(model.source)
    try:
        if model.source and path.is_dir():
            if not is_utf8(path):
                raise ModelError(f"the name of '{path}' is not UTF-8, and no tokenizer is read there.", utf8_way_out())
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
