"""Reads a recipe: YAML with `safe_load` semantics, overrides that win, and errors that name file, line and key."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path, PurePath
from typing import cast, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from frostline.errors import RecipeError, nearest
from frostline.recipe.fields import as_found
from frostline.recipe.settings import EMBEDDED, CorpusSettings, Recipe
from frostline.recipe.source import Lines, RecipeSource

MAXIMUM_BYTES = 1_000_000
MAXIMUM_VALUES = 20_000


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice: YAML would silently keep the last of two arms of one name.

    It also reads `5e-4` as a number, as everyone who writes it means (YAML 1.1 demands `5.0e-4`).
    """


_Loader.yaml_implicit_resolvers = {
    first: list(resolvers) for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


_KINDS = {
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "tuple_type": "a list",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "a text",
}
"""What YAML calls the types that pydantic asks for, by its name of the error."""


Overrides = Mapping[str, object] | Sequence[str]
"""Values by key, such as `{"training.steps": 40}`; or as the command line has them, `["training.steps=40"]`."""


def load_recipe(path: str | PathLike[str], overrides: Overrides = ()) -> Recipe:
    """The recipe in the file `path` with `overrides` applied; paths made absolute.

    Raises `RecipeError` naming file, line and key.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise RecipeError(
            f"{path}: there is no such recipe file.",
            "List the shipped ones with 'frostline init', and copy one with 'frostline init NAME'.",
        )
    if path.stat().st_size > MAXIMUM_BYTES:
        raise RecipeError(f"{path}: a recipe has at most {MAXIMUM_BYTES} bytes; this file is larger.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text (byte {error.start}).", "A recipe is a YAML file.") from error
    return parse_recipe(text, overrides, path=path)


def parse_recipe(text: str, overrides: Overrides = (), *, path: Path | None = None) -> Recipe:
    """The recipe written in `text`; see `load_recipe`."""
    where = str(path) if path is not None else "recipe"
    try:
        node = yaml.compose(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _not_yaml(where, error) from error
    if not isinstance(node, yaml.MappingNode):
        raise RecipeError(f"{where}: a recipe is a mapping of keys, such as 'arms:'.", "See 'frostline init'.")
    lines: Lines = {}
    try:
        _record_lines(node, (), lines, where, depth=0)
        loader = _Loader("")
        values = cast("dict[str, object]", loader.construct_document(node))
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise _not_yaml(where, error) from error
    overridden = override(values, overrides)
    recipe = validate_recipe(values, RecipeSource(path, lines, overridden))
    return with_absolute_paths(recipe, path.resolve().parent) if path is not None else recipe


def trusting(recipe: Recipe, pin: str | None) -> Recipe:
    """`recipe` with code trusted that comes with its model and has this pin; see `loading.remote_code`."""
    return recipe.model_copy(update={"model": recipe.model.trusting(pin)})


def validate_recipe(values: Mapping[str, object], source: RecipeSource) -> Recipe:
    """`values` as a `Recipe`; the first error becomes one sentence with its place."""
    try:
        return Recipe.model_validate(values).written_in(source)
    except ValidationError as error:
        raise _explain(error.errors(include_url=False)[0], source) from error


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every default written out."""
    values = recipe.model_dump(mode="json")
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 of the resolved recipe: equal recipes, equal hash, whatever their comments and key order.

    A key that came with a later version counts where it is set: recipes without it keep the hash that they had.
    """
    values = recipe.model_dump(mode="json")
    for corpus in (values["corpus"], values["retention"] or {}):
        if corpus.get("revision") is None:
            corpus.pop("revision", None)
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True)
class Variant:
    """One value of the key that an experiment varies; an experiment that varies nothing has one, labelled ''."""

    label: str
    recipe: Recipe


def variants_of(recipe: Recipe) -> tuple[Variant, ...]:
    """The recipe once for each value under `vary:`."""
    if not recipe.vary:
        return (Variant("", recipe),)
    ((key, values),) = recipe.vary.items()
    variants = []
    for value in values:
        label = f"{key}={value}"
        source = replace(recipe.source, variant=label)
        variants.append(Variant(label, recipe.varied(key, value).written_in(source)))
    return tuple(variants)


def _not_yaml(where: str, error: Exception) -> RecipeError:
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark is not None else ""
    problem = str(getattr(error, "problem", None) or error).splitlines()[0]
    hint = "Put a selector that ends with ':' in brackets or quotes." if "mapping values" in problem else ""
    return RecipeError(f"{where}{line}: not valid YAML: {problem}.", hint)


def _record_lines(node: yaml.Node, keys: tuple[str | int, ...], lines: Lines, where: str, depth: int) -> None:
    if depth > 20:
        raise RecipeError(f"{where}:{node.start_mark.line + 1}: nested more than 20 levels deep.")
    if len(lines) > MAXIMUM_VALUES:  # aliases of aliases would grow without end
        raise RecipeError(f"{where}: a recipe has at most {MAXIMUM_VALUES} values; this one has more.")
    lines.setdefault(keys, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise RecipeError(f"{where}:{line}: a key must be a word.")
            key = str(key_node.value)
            if key in seen:
                what = "two arms have one name" if keys == ("arms",) else "the key is given twice"
                raise RecipeError(f"{where}:{line}: {what}: '{key}'.", "Rename or remove one of the two.")
            seen.add(key)
            lines[(*keys, key)] = line
            _record_lines(value_node, (*keys, key), lines, where, depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _record_lines(item, (*keys, index), lines, where, depth + 1)


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
    try:
        return key, yaml.load(value, Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RecipeError(f"--set {text}: the value is not valid YAML.") from error


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


def _explain(error: ErrorDetails, source: RecipeSource) -> RecipeError:
    keys = (*error["loc"], *error.get("ctx", {}).get("keys", ()))
    explained = _sentence_of(error, keys).at(*keys)
    explained.place = source.place(keys)
    return explained


def _sentence_of(error: ErrorDetails, keys: Sequence[str | int]) -> RecipeError:
    if error["type"] == "extra_forbidden":
        choices = _fields_at(keys[:-1])
        return RecipeError("unknown key.", nearest(str(keys[-1]), choices) or _known(choices))
    if error["type"] == "missing":
        return RecipeError("this key is missing.")
    if error["type"] == "mistake":
        return RecipeError(error["ctx"]["message"], error["ctx"]["hint"])
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return RecipeError(f"{message}.")
    shown = as_found(error["input"])
    kind = _KINDS.get(error["type"])
    if kind is not None:
        known = _known(_fields_at(keys)) if error["type"] == "model_type" else ""
        return RecipeError(f"{kind} belongs here{shown}.", known)
    return RecipeError(f"{message[:1].lower() + message[1:]}{shown}.")


def _known(choices: Sequence[str]) -> str:
    return "Known keys: " + ", ".join(choices) + "." if choices else ""


def _fields_at(keys: Sequence[str | int]) -> list[str]:
    """Field names of the settings at `keys`, following the types of `Recipe`."""
    kind: type[BaseModel] = Recipe
    for index, key in enumerate(keys):
        if (index > 0 and keys[index - 1] == "arms") or isinstance(key, int):
            continue  # an arm's name, or a place in a list: the type was found at the key before
        field = kind.model_fields.get(str(key))
        inner = _settings_in(field.annotation) if field is not None else None
        if inner is None:
            return []
        kind = inner
    return list(kind.model_fields)


def _settings_in(annotation: object) -> type[BaseModel] | None:
    """The first settings class inside an annotation such as `dict[str, ArmSettings]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        found = _settings_in(part)
        if found is not None:
            return found
    return None


def with_absolute_paths(recipe: Recipe, folder: Path) -> Recipe:
    """`recipe`, whose paths are relative to `folder`, with paths that do not depend on where one stands."""
    model = recipe.model
    if (folder / model.source).is_dir() and model.source != EMBEDDED:
        model = model.model_copy(update={"source": str(folder / model.source)})
    return recipe.model_copy(
        update={
            "model": model,
            "corpus": _absolute_corpus(recipe.corpus, folder),
            "retention": None if recipe.retention is None else _absolute_corpus(recipe.retention, folder),
        }
    )


def _absolute_corpus(corpus: CorpusSettings, folder: Path) -> CorpusSettings:
    if corpus.source == EMBEDDED or corpus.source.startswith(("hub:", "https://")):
        return corpus
    return corpus.model_copy(update={"source": str(folder / Path(corpus.source).expanduser())})
