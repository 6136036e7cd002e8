"""What of a recipe may be passed on? All of it, but where files lie on the machine: of a path its last name is left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

import yaml

from frostline.errors import FrostlineError
from frostline.recipe import EMBEDDED, HUB_PREFIX, CorpusSettings, ModelSettings, Recipe, model_folder


def shareable_recipe(recipe: Recipe) -> str:
    """What `recipe` sets, as YAML, without defaults and without local paths."""
    values = recipe.model_dump(mode="json", exclude_defaults=True)
    values["model"] = {**values.get("model", {}), "source": model_name(recipe.model)}
    values["corpus"] = _named(values.get("corpus", {}), recipe.corpus)
    if recipe.retention_corpus is not None:
        values["retention"] = _named(values["retention"], recipe.retention_corpus)
    judge = recipe.measures.judge
    if judge is not None:
        values["measures"]["judge"] = {**values["measures"]["judge"], "source": model_name(judge)}
    for key, varied in values.get("vary", {}).items():
        if key == "model.source":
            values["vary"][key] = [model_name(recipe.varied(key, source).model) for source in varied]
        elif key == "corpus.source":
            values["vary"][key] = [_source(recipe.varied(key, source).corpus) for source in varied]
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def model_name(model: ModelSettings) -> str:
    """Hub id, `embedded`, or the name of the folder."""
    if model.source == EMBEDDED:
        return EMBEDDED
    try:
        folder = model_folder(model)
    except FrostlineError:  # a path on which there is nothing any more
        return last_name(model.source)
    return model.source if folder is None else last_name(model.source)


def corpus_name(corpus: CorpusSettings) -> str:
    """`hub:ID`, an address, or the name of the file."""
    if corpus.source == EMBEDDED:
        return "the embedded text"
    return _source(corpus)


def hub_dataset(corpus: CorpusSettings) -> str:
    """Hub id of the data set; '' where the corpus is none."""
    return corpus.source.removeprefix(HUB_PREFIX) if corpus.source.startswith(HUB_PREFIX) else ""


def last_name(path: str) -> str:
    """The name of what lies at `path`, without where that is."""
    return PurePath(path).name or "model"


def _source(corpus: CorpusSettings) -> str:
    return last_name(corpus.source) if corpus.is_local else corpus.source


def _named(values: object, corpus: CorpusSettings) -> dict[str, object]:
    assert isinstance(values, Mapping)
    changed: dict[str, object] = {**values, "source": _source(corpus)}
    if corpus.template is not None:
        changed["template"] = last_name(corpus.template)
    return changed
