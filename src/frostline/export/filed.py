"""Which bytes does the base model's own file have for a tensor, and in which order do they lie there?

What never trained is exported with these very bytes, in this order: whoever stores both files by their content then
stores little more than what trained. A file is what `loading` has checked; here its header is read once more, whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME

TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
}  # fmt: skip
"""Types of weights, by their names in a file."""
NAMES = {dtype: name for name, dtype in TYPES.items()}
_LENGTH_BYTES = 8
_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True)
class FiledTensor:
    """A tensor as it lies in a file of the base model."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    """Where its bytes begin, from the beginning of the file."""
    end: int

    @property
    def values(self) -> int:
        """Number of its values."""
        return torch.Size(self.shape).numel()

    def chunks(self) -> Iterator[bytes]:
        """Its bytes. Raises `OSError`."""
        with self.file.open("rb") as content:
            content.seek(self.begin)
            left = self.end - self.begin
            while left:
                chunk = content.read(min(_CHUNK_BYTES, left))
                if not chunk:
                    raise OSError(f"{self.file.name} was cut while it was read")
                left -= len(chunk)
                yield chunk

    def sha256(self) -> str:
        """SHA-256 of its bytes."""
        digest = hashlib.sha256()
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()

    def read(self) -> Tensor:
        """Its values; may share memory with the file."""
        with safe_open(self.file, framework="pt", device="cpu") as content:
            tensor: Tensor = content.get_tensor(self.name)
        return tensor


@dataclass(frozen=True)
class BaseFile:
    """One weight file of the base model."""

    path: Path
    header: bytes
    """Its beginning, up to where the tensors begin."""
    metadata: dict[str, str]
    tensors: tuple[FiledTensor, ...]
    """In the order in which they lie there."""


@dataclass(frozen=True)
class BaseFiles:
    """All weight files of the base model."""

    files: tuple[BaseFile, ...]

    @property
    def folder(self) -> Path:
        """The folder that they lie in."""
        return self.files[0].path.parent

    @cached_property
    def tensors(self) -> dict[str, FiledTensor]:
        """Every tensor by its name in the files, in the files' order."""
        return {own.name: own for file in self.files for own in file.tensors}

    @property
    def index(self) -> Path | None:
        """The file that says which tensor is where; None where there is one weight file."""
        path = self.folder / SAFE_WEIGHTS_INDEX_NAME
        return path if path.is_file() else None


def base_files(paths: Sequence[Path]) -> BaseFiles:
    """What lies in the weight files of a model, which have been checked. Raises `OSError`."""
    return BaseFiles(tuple(_base_file(path) for path in paths))


def _base_file(path: Path) -> BaseFile:
    with path.open("rb") as content:
        length = content.read(_LENGTH_BYTES)
        text = content.read(int.from_bytes(length, "little"))
    entries: dict[str, dict[str, object]] = json.loads(text)
    metadata = {key: str(value) for key, value in entries.pop("__metadata__", {}).items()}
    start = len(length) + len(text)
    found = [_filed(name, path, start, entry) for name, entry in entries.items()]
    return BaseFile(path, length + text, metadata, tuple(sorted(found, key=lambda own: (own.begin, own.end))))


def _filed(name: str, path: Path, start: int, entry: dict[str, object]) -> FiledTensor:
    shape, offsets = entry["shape"], entry["data_offsets"]
    assert isinstance(shape, list)
    assert isinstance(offsets, list)
    return FiledTensor(name, path, str(entry["dtype"]), tuple(shape), start + offsets[0], start + offsets[1])
