"""Is each file of a model folder what its name says? Configuration and tokenizer, before a library reads them."""

from __future__ import annotations

import json
from pathlib import Path

from transformers.utils import CONFIG_NAME

from frostline.errors import ModelError
from frostline.loading.boundary import SOURCE_KEY

_ADAPTER = "adapter_config.json"
_POINTER = b"version https://git-lfs.github.com/spec/"
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "chat_template.jinja",
    "chat_template.json",
)  # fmt: skip
_TOKENIZER_PARTS = ("tok", "vocab", "merges", "spiece", "sentencepiece", ".model")
"""What the name of a file has in it that may be one of a tokenizer."""
FROM_GGUF = "Give the folder that was converted to GGUF, as save_pretrained writes it."
_AGAIN = "Copy or download it again."


def require_configuration(folder: Path, shown: str) -> None:
    """Raise `ModelError` unless `folder`, called `shown` in errors, has the configuration of a whole model."""
    adapter = folder / _ADAPTER
    if adapter.is_file():
        base = read_object(adapter, shown).get("base_model_name_or_path")
        into = f"its base model '{base}'" if isinstance(base, str) and base else "its base model"
        raise ModelError(
            f"'{shown}' holds an adapter ({_ADAPTER}), no model of its own.",
            f"Merge it into {into} first (merge_and_unload of peft, then save_pretrained), and give that folder.",
        ).at(*SOURCE_KEY)
    file = folder / CONFIG_NAME
    if not file.is_file():
        require_no_broken_link(file, shown)
        names = sorted(path.name for path in folder.iterdir())
        found = f"it has {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}" if names else "it is empty"
        gguf = any(name.endswith(".gguf") for name in names)
        raise ModelError(
            f"the configuration of '{shown}' could not be loaded: there is no {CONFIG_NAME}; {found}.",
            _folder_inside(folder) or (FROM_GGUF if gguf else "Give a folder written by save_pretrained."),
        ).at(*SOURCE_KEY)
    configuration = read_object(file, shown)
    if not configuration.get("model_type") and not configuration.get("auto_map"):
        raise unreadable(file, shown, "it names no 'model_type'", "Give a folder written by save_pretrained.")


def require_tokenizer_files(folder: Path, shown: str) -> None:
    """Raise `ModelError` where no file could be one of a tokenizer, or one is a pointer or cannot be read as JSON."""
    names = [path.name for path in folder.iterdir()]
    if not any(part in name for name in names for part in _TOKENIZER_PARTS):
        raise ModelError(
            f"the tokenizer of '{shown}' could not be loaded: there is no tokenizer.json.",
            "Copy the files of the model's tokenizer there, or write them with its save_pretrained.",
        ).at(*SOURCE_KEY)
    for file in (folder / name for name in _TOKENIZER_FILES):
        if file.exists():
            require_no_pointer(file, shown)
            if file.suffix == ".json":
                read_object(file, shown)


def read_object(file: Path, shown: str, *, unique: bool = False) -> dict[str, object]:
    """The JSON object in `file`. Raises `ModelError` where there is none; if `unique`, where a name stands in it twice.

    JSON leaves open what a name means that comes twice; libraries take the last, or the first.
    """
    require_no_pointer(file, shown)

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(found := dict(pairs)) < len(pairs):
            names = [name for name, _ in pairs]
            raise unreadable(file, shown, f"it names '{next(name for name in names if names.count(name) > 1)}' twice")
        return found

    try:
        text = file.read_text(encoding="utf-8")
        content: object = json.loads(text, object_pairs_hook=once if unique else None)
    except OSError as error:
        raise unreadable(file, shown, str(error.strerror or error)) from error
    except (ValueError, RecursionError) as error:
        raise unreadable(file, shown, f"it is not valid JSON ({str(error)[:80]})") from error
    if not isinstance(content, dict):
        raise unreadable(file, shown, "it is valid JSON, but no object of names and values")
    return content


def require_no_pointer(file: Path, shown: str) -> None:
    """Raise `ModelError` where `file` is what git leaves of a large file without its extension for them."""
    try:
        with file.open("rb") as content:
            beginning = content.read(len(_POINTER))
    except OSError as error:
        raise unreadable(file, shown, str(error.strerror or error)) from error
    if beginning == _POINTER:
        raise unreadable(file, shown, "it is a Git LFS pointer, not the file itself", "Run: git lfs pull")


def require_no_broken_link(file: Path, shown: str) -> None:
    """Raise `ModelError` where `file` is a link whose target is not there, as in a copied part of the hub's cache."""
    if file.is_symlink() and not file.exists():
        raise unreadable(file, shown, "it is a link, and what it leads to is not there", "Copy the file itself there.")


def _folder_inside(folder: Path) -> str:
    """What to give instead, where models lie in folders of `folder`: that of the last checkpoint."""
    inside = [path for path in folder.iterdir() if (path / CONFIG_NAME).is_file()]
    if not inside:
        return ""
    last = max(inside, key=lambda path: (path / CONFIG_NAME).stat().st_mtime)
    return f"There is one in its folder '{last.name}': give that."


def unreadable(file: Path, shown: str, finding: str, way_out: str = _AGAIN) -> ModelError:
    """The error that `file` of the model `shown` is not what it should be."""
    return ModelError(f"'{shown}', {file.name}: {finding}.", way_out).at(*SOURCE_KEY)
