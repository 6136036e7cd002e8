"""What has training changed, and onto what does it belong? Whole new tensors, or the rows of them that trained.

A patch holds values, not differences: they are exact in any type, and putting them in twice is harmless. They are
called as in the files of the base model, of which the patch keeps the SHA-256 of each tensor that it replaces.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from frostline import __version__
from frostline.errors import FrostlineError
from frostline.export.filed import NAMES, TYPES, BaseFiles, FiledTensor
from frostline.export.writing import Entry, bytes_of, write_tensors

PATCH_FILE = "patch.safetensors"
FORMAT = "frostline-patch"
VERSION = "1"
_AGAIN = "Copy or download it again."


@dataclass(frozen=True)
class Rows:
    """The places of a tensor that a patch replaces; the rest stays the base model's."""

    dimension: int
    runs: tuple[tuple[int, int, int], ...]
    """Begin, end and step of each run of places along `dimension`, in the order of the values."""

    def places(self) -> Tensor:
        """Every place, as int64."""
        return torch.tensor([place for run in self.runs for place in range(*run)], dtype=torch.int64)

    @property
    def count(self) -> int:
        """Number of places."""
        return sum(len(range(*run)) for run in self.runs)


@dataclass(frozen=True)
class NewTensor:
    """What takes the place of a tensor of the base model, or of some of its rows."""

    dtype: str
    """Type of its values, as files name it."""
    shape: tuple[int, ...]
    make: Callable[[], Tensor]
    """Gives its values, of that type and shape."""
    rows: Rows | None = None
    """Where they belong; None for a whole tensor."""

    @property
    def values(self) -> int:
        """Number of its values."""
        return torch.Size(self.shape).numel()

    def onto(self, base: FiledTensor) -> Tensor:
        """The whole new tensor, of its own type."""
        values = self.make()
        if self.rows is None:
            return values
        whole = base.read().to(TYPES[self.dtype], copy=True)
        return whole.index_copy_(self.rows.dimension, self.rows.places(), values)


@dataclass(frozen=True)
class Patch:
    """What training has changed in a base model."""

    tensors: Mapping[str, NewTensor]
    """By name in the base model's files."""
    base_model: str = ""
    """Hub id of the base model, or its name where it is none."""
    base_revision: str = ""
    base_sha256: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the bytes of each tensor of the base that is replaced; those of a patch that was read."""

    @property
    def bytes(self) -> int:
        """Bytes of its values."""
        return sum(own.values * TYPES[own.dtype].itemsize for own in self.tensors.values())


class _Rows(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    dimension: int
    runs: list[list[int]]


_HASHES, _ROWS = TypeAdapter(dict[str, str]), TypeAdapter(dict[str, _Rows])


def write_patch(patch: Patch, base: BaseFiles, path: Path) -> None:
    """Write `patch`, made for `base`, to the new file `path`. Raises `OSError`."""
    rows = {
        name: {"dimension": own.rows.dimension, "runs": own.rows.runs}
        for name, own in patch.tensors.items()
        if own.rows is not None
    }
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "written_by": f"frostline {__version__}",
        "base_model": patch.base_model,
        "base_revision": patch.base_revision,
        "base_sha256": json.dumps({name: base.tensors[name].sha256() for name in patch.tensors}),
        "rows": json.dumps(rows),
    }
    write_tensors(path, [_entry(name, own) for name, own in patch.tensors.items()], metadata)


def read_patch(path: Path) -> Patch:
    """The patch in the file `path`, its values unread. Raises `FrostlineError` where it is none, cut, or unknown."""
    try:
        with safe_open(path, framework="pt", device="cpu") as content:
            metadata = content.metadata() or {}
            slices = {name: content.get_slice(name) for name in content.keys()}  # noqa: SIM118  # no mapping
            shapes = {name: (str(own.get_dtype()), tuple(own.get_shape())) for name, own in slices.items()}
    except (OSError, SafetensorError) as error:
        there = path.is_file()
        reason = "it is cut short, or no safetensors file" if there else "there is no such file"
        raise FrostlineError(f"{path}: {reason}.", _AGAIN if there else f"A patch is called {PATCH_FILE}.") from error
    if metadata.get("format") != FORMAT:
        raise FrostlineError(f"{path}: not a patch.", "Give what 'frostline export RUN --as patch' has written.")
    if metadata.get("version") != VERSION:
        raise FrostlineError(
            f"{path}: a patch of version {metadata.get('version', '?')[:20]}, and this Frostline knows {VERSION}.",
            "Install the Frostline that wrote it, or a later one.",
        )
    try:
        hashes = _HASHES.validate_json(metadata.get("base_sha256", ""))
        rows = {
            name: Rows(own.dimension, tuple((run[0], run[1], run[2]) for run in own.runs))
            for name, own in _ROWS.validate_json(metadata.get("rows", "")).items()
        }
    except (ValidationError, IndexError) as error:
        raise FrostlineError(f"{path}: its metadata are not those of a patch.", _AGAIN) from error
    if hashes.keys() != shapes.keys() or not rows.keys() <= shapes.keys():
        raise FrostlineError(f"{path}: its metadata name other tensors than it holds.", _AGAIN)
    tensors = {
        name: NewTensor(dtype, shape, partial(_read, path, name), rows.get(name))
        for name, (dtype, shape) in shapes.items()
    }
    return Patch(tensors, metadata.get("base_model", ""), metadata.get("base_revision", ""), hashes)


def require_base(patch: Patch, base: BaseFiles, shown: str) -> None:
    """Raise `FrostlineError` unless `base`, called `shown`, is what the patch was made for."""
    at = f" at {patch.base_revision}" if patch.base_revision else ""
    wanted = f"It belongs onto '{patch.base_model}'{at}." if patch.base_model else "Give the model that it was made of."
    for name, own in patch.tensors.items():
        filed = base.tensors.get(name)
        if filed is None:
            raise FrostlineError(f"'{shown}' is not the patch's base: it has no '{name}'.", wanted)
        if filed.sha256() != patch.base_sha256[name]:
            raise FrostlineError(f"'{shown}' is not the patch's base: its '{name}' has other bytes.", wanted)
        if own.dtype not in TYPES or not _fits(own, filed):
            raise FrostlineError(f"the patch's '{name}' does not fit into the tensor that it replaces.", _AGAIN)


def _fits(own: NewTensor, filed: FiledTensor) -> bool:
    if own.rows is None:
        return own.shape == filed.shape
    dimension, shape = own.rows.dimension, list(filed.shape)
    if not 0 <= dimension < len(shape) or len(own.shape) != len(shape):
        return False
    runs = own.rows.runs
    if any(not 0 <= begin < end <= shape[dimension] or step < 1 for begin, end, step in runs):
        return False
    shape[dimension] = own.rows.count
    return own.shape == tuple(shape)


def _entry(name: str, own: NewTensor) -> Entry:
    return Entry(name, own.dtype, own.shape, own.values * TYPES[own.dtype].itemsize, partial(_bytes, own))


def _bytes(own: NewTensor) -> Iterator[memoryview]:
    values = own.make()
    assert NAMES[values.dtype] == own.dtype
    assert tuple(values.shape) == own.shape
    yield from bytes_of(values)


def _read(path: Path, name: str) -> Tensor:
    with safe_open(path, framework="pt", device="cpu") as content:
        tensor: Tensor = content.get_tensor(name)
    return tensor
