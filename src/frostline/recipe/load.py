"""How is a recipe read? YAML, overrides that win, and errors that name file, line and key."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path, PurePath

from pydantic import ValidationError

from frostline.errors import RecipeError
from frostline.recipe.explain import explain
from frostline.recipe.place import Place, places_of
from frostline.recipe.settings import Recipe
from frostline.recipe.source import RecipeSource
from frostline.recipe.sources import EMBEDDED, CorpusSettings, is_template_file
from frostline.recipe.yaml_values import read_yaml, read_yaml_value, write_yaml

MAXIMUM_BYTES = 1_000_000

Overrides = Mapping[str, object] | Sequence[str]
"""Values by key, such as `{"training.steps": 40}`; or as the command line has them, `["training.steps=40"]`."""


def load_recipe(path: str | PathLike[str], overrides: Overrides = ()) -> Recipe:
    """The recipe in the file `path` with `overrides` applied; its paths are relative to its folder.

    Raises `RecipeError` naming file, line and key.
    """
    try:
        path = Path(path).expanduser()
        content = _content_of(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: the home of nobody
        reason = (getattr(error, "strerror", None) or str(error)).rstrip(".").lower()
        raise RecipeError(f"{str(path)[:100]}: cannot be read: {reason}.") from error
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RecipeError(f"{path}:{line}: not UTF-8 text.", "A recipe is a YAML file: save it as UTF-8.") from error
    return parse_recipe(text, overrides, path=path)


def _content_of(path: Path) -> bytes:
    if not path.is_file():
        what = "a folder, not a recipe file" if path.is_dir() else "there is no such recipe file"
        raise RecipeError(
            f"{path}: {what}.", "List the shipped ones with 'frostline init', and copy one with 'frostline init NAME'."
        )
    if path.stat().st_size > MAXIMUM_BYTES:
        raise RecipeError(f"{path}: a recipe has at most {MAXIMUM_BYTES} bytes; this file is larger.")
    return path.read_bytes()


def parse_recipe(text: str, overrides: Overrides = (), *, path: Path | None = None) -> Recipe:
    """The recipe written in `text`; see `load_recipe`."""
    where = str(path) if path is not None else "recipe"
    values, lines = read_yaml(text, where)
    overridden = override(values, overrides)
    recipe = validate_recipe(values, RecipeSource(path, lines, overridden))
    return recipe.placed(_place_of(recipe, path)) if path is not None else recipe


def trusting(recipe: Recipe, pin: str | None) -> Recipe:
    """`recipe` with code trusted that comes with its model and has this pin; see `loading.remote_code`."""
    return recipe.model_copy(update={"model": recipe.model.trusting(pin)})


def validate_recipe(values: Mapping[str, object], source: RecipeSource) -> Recipe:
    """`values` as a `Recipe`; the first error becomes one sentence with its place."""
    try:
        return Recipe.model_validate(values).written_in(source)
    except ValidationError as error:
        raise explain(error.errors(include_url=False)[0], Recipe, source) from error


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every default written out."""
    values = recipe.model_dump(mode="json")
    return write_yaml(values)


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 of the resolved recipe: equal recipes, equal hash, whatever their comments and key order.

    A key that came with a later version counts where it is set: recipes without it keep the hash that they had.
    """
    values = recipe.model_dump(mode="json")
    for corpus in (values["corpus"], values["retention"] if recipe.retention_corpus is not None else {}):
        for key, default in _LATER_KEYS.items():
            if corpus.get(key) == default:
                corpus.pop(key, None)
        if corpus.get("column", "") is None:
            corpus["column"] = "text"
    for section, later in _LATER_KEYS_OF.items():
        for name, usual in later.items():
            if values[section][name] == usual:
                del values[section][name]
    values["training"]["device"] = without_number(values["training"]["device"])
    if values["measures"]["sampling"]["draws"] == 1:
        del values["measures"]["sampling"]["draws"]
    if values["training"]["prefix_cache"]["fill"] == "auto":
        del values["training"]["prefix_cache"]["fill"]
    if values["primary"] is None:
        del values["primary"]
    values["resources"] = {key: value for key, value in values["resources"].items() if value is not None}
    if not values["resources"]:
        del values["resources"]
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def without_number(device: str) -> str:
    """What `training.device` says of the results: which of several GPUs decides none."""
    return device.partition(":")[0]


_LATER_KEYS = {
    "revision": None,
    "duplicates": "keep",
    "encoding": "auto",
    "messages": None,
    "learn": "responses",
    "too_long": "cut",
    "template": None,
}
"""Keys of a corpus that came after 0.1.0, with their defaults."""
_LATER_KEYS_OF: dict[str, dict[str, object]] = {
    "windows": {"beginning": "auto", "race": 16},
    "training": {"rates": None, "optimizer": "adamw", "sharding": "auto"},
    "measures": {"judge": None},
}
"""The same of sections that every recipe has."""


@dataclass(frozen=True)
class Variant:
    """One value of the key that an experiment varies; an experiment that varies nothing has one, labelled ''."""

    label: str
    recipe: Recipe
    own_text: tuple[tuple[int, ...], ...] = ()
    """What the untouched model wrote when the run was begun, by which forgetting is measured; () if it is to write."""


def variants_of(recipe: Recipe) -> tuple[Variant, ...]:
    """The recipe once for each value under `vary:`.

    Corpora that differ in length alone hold out the same windows: those of the shortest.
    """
    if not recipe.vary:
        return (Variant("", recipe),)
    ((key, values),) = recipe.vary.items()
    variants = []
    for value in values:
        label = f"{key}={value}"
        source = replace(recipe.source, variant=label)
        varied = recipe.varied(key, value).written_in(source)
        if key == "corpus.tokens":
            corpus = varied.corpus.holding_out_within(min(int(tokens) for tokens in values))
            varied = varied.model_copy(update={"corpus": corpus})
        variants.append(Variant(label, varied))
    return tuple(variants)


def override(values: dict[str, object], overrides: Overrides) -> tuple[tuple[str, ...], ...]:
    """Change `values`, a recipe's; returns the paths of the keys that were set. Raises `RecipeError`."""
    if isinstance(overrides, Mapping):
        return tuple(_set_key(values, key, plain(value)) for key, value in overrides.items())
    written = [overrides] if isinstance(overrides, str) else overrides
    return tuple(_set_key(values, *_read_override(text)) for text in written)


def plain(value: object) -> object:
    """`value` as YAML would give it: tuples are lists, paths are texts; a copy, which may be changed."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, PurePath) else value


def _read_override(text: str) -> tuple[str, object]:
    key, separator, value = text.partition("=")
    if not separator or not all(key.split(".")):
        raise _no_override(text)
    return key, read_yaml_value(value, f"--set {text[:100]}")


def _set_key(values: dict[str, object], key: str, value: object) -> tuple[str, ...]:
    if not all(key.split(".")):
        raise _no_override(key)
    # `vary.corpus.tokens` names one key that has a dot of its own.
    keys = ["vary", key[5:]] if key.startswith("vary.") else key.split(".")
    section = values
    for name in keys[:-1]:
        inner = section.get(name)
        if inner is None:
            inner = {}
        if not isinstance(inner, dict):
            raise RecipeError(f"--set {key}: '{name}' has no keys below it.")
        section[name] = inner
        section = inner
    section[keys[-1]] = value
    return tuple(keys)


def _no_override(override: str) -> RecipeError:
    return RecipeError(f"--set {override}: an override is written key=value.", "Example: --set training.steps=80")


def _place_of(recipe: Recipe, path: Path) -> Place:
    """Of the places that the recipe in the file `path` may have, the first that has most of what it names."""

    def files_at(place: Place) -> int:
        known = (recipe.corpus, recipe.retention_corpus)
        corpora = [corpus for corpus in known if corpus is not None and corpus.is_local]
        named = [recipe.model.source, *(corpus.source for corpus in corpora), *recipe.vary.get("model.source", ())]
        named += recipe.vary.get("corpus.source", ())
        return sum(os.path.lexists(place.path_of(str(source))) for source in named)

    places = places_of(path)
    return places[0] if len(places) == 1 else max(places, key=files_at)


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """`recipe` with paths that may be read from anywhere."""

    def path(written: str) -> str:
        return str(recipe.place.path_of(written).absolute())

    def model(source: str | float) -> str | float:
        is_folder = isinstance(source, str) and source != EMBEDDED and recipe.place.path_of(source).is_dir()
        return path(str(source)) if is_folder else source

    def corpus(settings: CorpusSettings) -> CorpusSettings:
        changed = {"source": path(settings.source)} if settings.is_local else {}
        if settings.template is not None and is_template_file(settings.template):
            changed["template"] = path(settings.template)
        return settings.model_copy(update=changed) if changed else settings

    judge = recipe.measures.judge
    if judge is not None:
        judge = judge.model_copy(update={"source": model(judge.source)})

    def text(source: str | float) -> str | float:
        return corpus(recipe.corpus.model_copy(update={"source": source})).source

    varied = {"model.source": model, "corpus.source": text}
    return recipe.model_copy(
        update={
            "measures": recipe.measures.model_copy(update={"judge": judge}),
            "model": recipe.model.model_copy(update={"source": model(recipe.model.source)}),
            "corpus": corpus(recipe.corpus),
            "retention": recipe.retention if recipe.retention_corpus is None else corpus(recipe.retention_corpus),
            "vary": {
                key: tuple(map(varied[key], values)) if key in varied else values for key, values in recipe.vary.items()
            },
        }
    )
