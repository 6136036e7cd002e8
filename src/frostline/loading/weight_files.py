"""Which tensors lie in a model folder? Its safetensors files, read by their headers, and whether all of them is there.

A safetensors file is 8 bytes (the length of its header), the header (JSON: dtype, shape and place of each tensor), and
the tensors. A folder has one, `model.safetensors`, or several with an index that says which tensor is where.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from frostline.errors import ModelError, nearest
from frostline.loading.boundary import SOURCE_KEY
from frostline.loading.model_files import FROM_GGUF, read_object, require_no_broken_link, require_no_pointer, unreadable

_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000
"""That of the format itself."""
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_QUANTISED = frozenset({"I8", "U8", "I4", "U4"})
_FEW_BITS = re.compile(r"F[468](_|$)")
"""Floats of 4, 6 and 8 bits: F4, F6_E2M3, F8_E4M3, ..."""
_OF_WEIGHTS = re.compile(r"(weight[^.]*|_blocks|\.W_q)$")
"""Names of what others pack weights into: weight, qweight, weight_packed (GPTQ, AWQ, bitsandbytes, MLX), _blocks."""
_NOT_ENDED = (".incomplete", ".part", ".crdownload", ".aria2")
"""How the name of a file ends while it is fetched."""
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_WAYS_OUT = {
    "part of several": f"Copy or download {SAFE_WEIGHTS_INDEX_NAME}, which says what is in which file.",
    "safetensors": f"Save the model with save_pretrained. A single file of its weights is {SAFE_WEIGHTS_NAME}.",
    "gguf": FROM_GGUF,
    "pickled": "Load it with transformers and save it with save_pretrained.",
    "not ended": "Its download has not ended: download it again.",
    "nothing": "Save the model with save_pretrained.",
}
"""What would work, by what a folder without weights has instead."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file, by what the file's header says."""

    file: Path
    dtype: str
    shape: tuple[int, ...]

    @property
    def is_float(self) -> bool:
        """Whether it holds numbers that can be cast to fp32 as they are."""
        return self.dtype in _FLOATS

    @property
    def is_quantised(self) -> bool:
        """Whether its values mean nothing without scales: 8-bit floats, and packed whole numbers."""
        return bool(_FEW_BITS.match(self.dtype)) or self.dtype in _QUANTISED

    @property
    def is_packed(self) -> bool:
        """Whether it could be no weight as it is, whatever it is called by."""
        return self.is_quantised or self.dtype[:1] in ("I", "U")


StoredTensors = Mapping[str, StoredTensor]


def stored_tensors(folder: Path, shown: str) -> StoredTensors:
    """The tensors of the model in `folder`, which errors call `shown`, by name in its files.

    Raises `ModelError` for weights that are missing, cut, a pointer, or not those that the index names.
    """
    single, index = folder / SAFE_WEIGHTS_NAME, folder / SAFE_WEIGHTS_INDEX_NAME
    if single.is_file() and index.is_file():
        raise ModelError(
            f"'{shown}' has weights twice: {SAFE_WEIGHTS_NAME}, and the files of {SAFE_WEIGHTS_INDEX_NAME}.",
            "Remove one of them.",
        ).at(*SOURCE_KEY)
    if single.is_file():
        return _tensors_of(single, shown)
    if index.is_file():
        return _tensors_of_shards(index, shown)
    require_no_broken_link(single, shown)
    raise _no_weights(folder, shown)


def require_unquantised(stored: StoredTensors, shown: str) -> None:
    """Raise `ModelError` where a weight of the model `shown` is not stored as numbers that can be trained.

    Seen in the headers alone: what is read into memory in fp32 takes four to eight times what such a file takes.
    """
    for name, entry in stored.items():
        if _FEW_BITS.match(entry.dtype) or (entry.is_packed and _OF_WEIGHTS.search(name)):
            raise ModelError(
                f"the weights of '{shown}': '{name}' is quantised ({entry.dtype}).",
                "Give the model's weights in fp32, bf16 or fp16.",
            ).at(*SOURCE_KEY)


def _tensors_of_shards(index: Path, shown: str) -> StoredTensors:
    listed = read_object(index, shown, unique=True).get("weight_map")
    if not isinstance(listed, dict) or not listed or not all(isinstance(name, str) for name in listed.values()):
        raise unreadable(index, shown, "its 'weight_map' does not name a file for each tensor")
    found: dict[str, StoredTensor] = {}
    for name in sorted(set(listed.values())):
        if Path(name).name != name:
            raise unreadable(index, shown, f"it names '{name}', and weights lie beside it, in no other folder")
        file = index.parent / name
        if not file.is_file():
            others = [path.name for path in index.parent.glob("*.safetensors")]
            raise ModelError(
                f"'{shown}' has no {name}, which {index.name} names.",
                f"{nearest(name, others, 1)} Copy or download it again.".strip(),
            ).at(*SOURCE_KEY)
        tensors = _tensors_of(file, shown)
        twice = next((key for key in tensors if key in found), None)
        if twice is not None:
            raise unreadable(file, shown, f"'{twice}' is in {found[twice].file.name}, too")
        found |= tensors
    for key, name in listed.items():
        if key not in found or found[key].file.name != name:
            elsewhere = f"it is in {found[key].file.name}" if key in found else "no file has it"
            raise unreadable(index, shown, f"it says that '{key}' is in {name}, and {elsewhere}")
    stray = next((key for key in found if key not in listed), None)
    if stray is not None:
        raise unreadable(index, shown, f"it does not list '{stray}', which is in {found[stray].file.name}")
    return found


def _tensors_of(file: Path, shown: str) -> dict[str, StoredTensor]:
    require_no_pointer(file, shown)
    try:
        size = file.stat().st_size
        with file.open("rb") as content:
            length = int.from_bytes(content.read(_LENGTH_BYTES), "little")
            if size < _LENGTH_BYTES or length > min(_LONGEST_HEADER, size - _LENGTH_BYTES):
                raise unreadable(file, shown, f"it has {size:,} bytes and is cut, or no safetensors file")
            header = json.loads(content.read(length))
    except OSError as error:
        raise unreadable(file, shown, str(error.strerror or error)) from error
    except ValueError as error:
        raise unreadable(file, shown, "its header is not what a safetensors file begins with") from error
    found, end = {}, 0
    try:
        for name, entry in header.items():
            if name != "__metadata__":
                found[name] = StoredTensor(file, str(entry["dtype"]), tuple(int(size) for size in entry["shape"]))
                end = max(end, int(entry["data_offsets"][1]))
    except (AttributeError, TypeError, LookupError, ValueError) as error:
        raise unreadable(file, shown, "its header does not tell dtype, shape and place of each tensor") from error
    if size != _LENGTH_BYTES + length + end:
        expected = _LENGTH_BYTES + length + end
        raise unreadable(file, shown, f"it has {size:,} bytes, and its header tells of {expected:,}")
    if not found:
        raise unreadable(file, shown, "it holds no tensors")
    return found


def _no_weights(folder: Path, shown: str) -> ModelError:
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    kinds = {
        "part of several": [name for name in names if _SHARD.fullmatch(name)],
        "safetensors": [name for name in names if name.endswith(".safetensors")],
        "gguf": [name for name in names if name.endswith(".gguf")],
        "pickled": [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5"))],
        "not ended": [name for name in names if name.endswith(_NOT_ENDED)],
    }
    found = next(((kind, own[0]) for kind, own in kinds.items() if own), None)
    if found is None:
        told, way_out = "", _WAYS_OUT["nothing"]
    else:
        told, way_out = f"; it has {found[1]}", _WAYS_OUT[found[0]]
    return ModelError(f"'{shown}' has no safetensors weights ({SAFE_WEIGHTS_NAME}){told}.", way_out).at(*SOURCE_KEY)
