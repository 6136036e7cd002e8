"""How does a patch become a model again? The base model's files with what is new in them, and all that goes with them.

Of the base's folder nothing is copied that was not asked for: its configuration and generation settings, which are
JSON, and its code only where that was trusted. No link is followed out of it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from transformers import PreTrainedTokenizerBase
from transformers.utils import CONFIG_NAME, GENERATION_CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME

from frostline.export.filed import TYPES, BaseFile, BaseFiles, FiledTensor
from frostline.export.patch import NewTensor, Patch
from frostline.export.writing import Entry, bytes_of, write_tensors
from frostline.storage import write_file

_OF_CODE, _OF_ORIGIN = "auto_map", "_name_or_path"
_TYPE_KEYS = ("dtype", "torch_dtype")


@dataclass(frozen=True)
class Unchanged:
    """What a folder has of its base model, byte for byte."""

    values: int
    """Values whose bytes are those of the base's file."""
    of_values: int
    """Values of all its tensors."""
    tensors: int
    """Tensors that are the base's as a whole."""
    sha256: str
    """SHA-256 of the bytes of these tensors, in the files' order."""


def write_model_folder(
    base: BaseFiles, patch: Patch, tokenizer: PreTrainedTokenizerBase, folder: Path, *, with_code: bool
) -> Unchanged:
    """Write the base model with `patch` into the empty `folder`, &

    `with_code` copies the Python files of the base, which came with it.
    """
    unchanged = write_weights(base, patch, folder)
    widened = any(own.dtype != base.tensors[name].dtype for name, own in patch.tensors.items())
    _write_configuration(base.folder, folder, widened=widened, with_code=with_code)
    generation = own_file(base.folder, GENERATION_CONFIG_NAME)
    if generation is not None:
        write_file(folder / GENERATION_CONFIG_NAME, generation.read_bytes())
    tokenizer.save_pretrained(folder)
    if with_code:
        for path in sorted(base.folder.glob("*.py")):
            if (code := own_file(base.folder, path.name)) is not None:
                shutil.copyfile(code, folder / path.name)
    return unchanged


def write_weights(base: BaseFiles, patch: Patch, folder: Path) -> Unchanged:
    """Write the base's weight files into `folder`, what `patch` has in its place, all else byte for byte."""
    digest = hashlib.sha256()

    def copied(own: FiledTensor) -> Iterator[bytes]:
        for chunk in own.chunks():
            digest.update(chunk)
            yield chunk

    size = 0
    for file in base.files:
        entries = []
        for own in file.tensors:
            new = patch.tensors.get(own.name)
            if new is None:
                entries.append(Entry(own.name, own.dtype, own.shape, own.end - own.begin, partial(copied, own)))
            else:
                bytes_ = own.values * TYPES[new.dtype].itemsize
                entries.append(Entry(own.name, new.dtype, own.shape, bytes_, partial(_new_bytes, new, own)))
        size += sum(entry.size for entry in entries)
        header = file.header if _keeps_types(file, patch) else None
        write_tensors(folder / file.path.name, entries, file.metadata, header=header)
    if base.index is not None:
        content = json.loads(base.index.read_text(encoding="utf-8"))
        content.setdefault("metadata", {})["total_size"] = size
        same = all(_keeps_types(file, patch) for file in base.files)
        text = base.index.read_bytes() if same else json.dumps(content, indent=2).encode() + b"\n"
        write_file(folder / SAFE_WEIGHTS_INDEX_NAME, text)
    whole = [own for own in base.tensors.values() if own.name not in patch.tensors]
    rows = [base.tensors[name].values - new.values for name, new in patch.tensors.items() if new.rows is not None]
    in_place = sum(rows) if all(_keeps_types(file, patch) for file in base.files) else 0
    values, all_values = sum(own.values for own in whole), sum(own.values for own in base.tensors.values())
    return Unchanged(values + in_place, all_values, len(whole), digest.hexdigest())


def own_file(folder: Path, name: str) -> Path | None:
    """The file `name` of a model's folder; None where there is none, or it is a link that leads out of the folder.

    In the hub's cache files are links into a neighbouring folder of the same model.
    """
    path = folder / name
    in_cache = folder.parent.name == "snapshots" and folder.parents[1].name.startswith("models--")
    root = folder.parents[1] if in_cache else folder
    if not path.is_file() or not path.resolve().is_relative_to(root.resolve()):
        return None
    return path


def _keeps_types(file: BaseFile, patch: Patch) -> bool:
    return all(patch.tensors[own.name].dtype == own.dtype for own in file.tensors if own.name in patch.tensors)


def _new_bytes(new: NewTensor, own: FiledTensor) -> Iterator[memoryview]:
    yield from bytes_of(new.onto(own))


def _write_configuration(base: Path, folder: Path, *, widened: bool, with_code: bool) -> None:
    """The base's configuration, byte for byte but for its origin, code that does not come along, and a wider type."""
    content = (base / CONFIG_NAME).read_bytes()
    values: dict[str, object] = json.loads(content)
    left_out = {_OF_ORIGIN} | (set() if with_code else {_OF_CODE})
    changed = {key: value for key, value in values.items() if key not in left_out}
    if widened:
        changed["dtype"] = "float32"
        for part in (changed, *(value for value in changed.values() if isinstance(value, dict))):
            part |= {key: "float32" for key in _TYPE_KEYS if key in part}
    if changed != values:
        content = json.dumps(changed, indent=2, ensure_ascii=False).encode() + b"\n"
    write_file(folder / CONFIG_NAME, content)
