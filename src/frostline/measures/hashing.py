"""Are two sets of tensors the same, byte for byte? Each is hashed, and one hash over names, types, shapes and those.

The pairing contract is checked with it: all arms of a replicate begin with one hash. What an arm shares with the base
model, as the very same memory, has been hashed with it; an arm's own copies are compared with it, byte by byte. So the
model is hashed once in a process, however many arms and replicates there are. What is held in 16 bits is hashed, and
compared, as the fp32 values that it stands for (`tensor_bytes`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frostline.storage import let_go_of
from frostline.tensor_bytes import CHUNK_BYTES, byte_chunks, value_type


@dataclass(frozen=True)
class HashedTensor:
    """A tensor as it was when it was hashed."""

    tensor: Tensor
    """The tensor itself, so that no other one can take its place in memory."""
    version: int | None
    """Torch's count of what was written into it; None where it keeps none."""
    sha256: str
    """SHA-256 of the bytes of its values, row by row."""

    def is_memory_of(self, other: Tensor) -> bool:
        """Whether `other` is this very memory, into which torch has written nothing since."""
        own = self.tensor
        return (
            other.data_ptr() == own.data_ptr() != 0
            and (other.device, other.dtype, other.shape) == (own.device, own.dtype, own.shape)
            and other.stride() == own.stride()
            and self.version is not None
            and self.version == _version_of(own)
        )

    def has_bytes_of(self, other: Tensor) -> bool:
        """Whether `other` holds the very bytes that were hashed: comparing two tensors is quicker than hashing one."""
        own = self.tensor
        if self.version is None or self.version != _version_of(own) or not own.numel():
            return False
        dtype = value_type(own)
        if (other.device, value_type(other), other.shape) != (own.device, dtype, own.shape):
            return False
        size = max(1, CHUNK_BYTES // dtype.itemsize)
        pairs = zip(own.reshape(-1).split(size), other.reshape(-1).split(size), strict=True)
        equal = all(torch.equal(_as_integers(one.to(dtype)), _as_integers(two.to(dtype))) for one, two in pairs)
        if dtype != own.dtype:
            let_go_of((own,))
        return equal


@dataclass(frozen=True)
class TensorDigests:
    """Hashes of some tensors, by name."""

    hashed: Mapping[str, HashedTensor]

    @property
    def sha256(self) -> str:
        """SHA-256, as hex, over names, types, shapes and hashes, in the order of the names."""
        digest = hashlib.sha256(b"frostline tensors\n")
        for name, own in sorted(self.hashed.items()):
            digest.update(f"{_header(name, own.tensor)}{own.sha256}\n".encode())
        return digest.hexdigest()

    @property
    def by_name(self) -> dict[str, str]:
        """The hash of each tensor."""
        return {name: own.sha256 for name, own in self.hashed.items()}

    def without_tensors(self) -> TensorDigests:
        """The same hashes of names, types and shapes, without holding the memory of any tensor."""
        return TensorDigests(
            {name: HashedTensor(own.tensor.to("meta"), None, own.sha256) for name, own in self.hashed.items()}
        )


def tensor_digests(named_tensors: Iterable[tuple[str, Tensor]], known: TensorDigests | None = None) -> TensorDigests:
    """The hashes of `named_tensors`; of those that are, or equal, one of the same name in `known` they are known.

    Signs of zeros and payloads of NaNs count, since bytes are hashed; device and memory layout do not. As many are
    hashed at once as torch computes with; the largest copy made of each is one chunk of 64 MiB (the whole tensor, where
    it is not contiguous).
    """
    found: dict[str, HashedTensor] = {}
    waiting: dict[str, Tensor] = {}
    for name, tensor in named_tensors:
        own = None if known is None else known.hashed.get(name)
        if own is not None and own.is_memory_of(tensor):
            found[name] = own
        elif own is not None and own.has_bytes_of(tensor.detach()):
            found[name] = HashedTensor(tensor.detach(), _version_of(tensor), own.sha256)
        else:
            waiting[name] = tensor.detach()
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        sums = threads.map(_sha256_of, waiting.values())
        for (name, tensor), sha256 in zip(waiting.items(), sums, strict=True):
            found[name] = HashedTensor(tensor, _version_of(tensor), sha256)
    return TensorDigests(found)


def state_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and persistent buffer of `model`: what a weight file holds, tied parameters once."""
    yield from model.named_parameters()
    kept = model.state_dict().keys()
    yield from ((name, buffer) for name, buffer in model.named_buffers(remove_duplicate=False) if name in kept)


def weights_sha256(named_tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256, as hex, of names, types, shapes and the bytes of the values in one go, in the order of the names.

    For tensors that are hashed once, such as what an arm has trained.
    """
    return sorted_weights_sha256(sorted(named_tensors, key=lambda pair: pair[0]))


def sorted_weights_sha256(named_tensors: Iterable[tuple[str, Tensor]]) -> str:
    """What `weights_sha256` gives, of tensors that come in the order of their names and need not all be there."""
    digest = hashlib.sha256(b"frostline weights\n")
    for name, tensor in named_tensors:
        digest.update(_header(name, tensor).encode())
        for chunk in byte_chunks(tensor):
            digest.update(chunk)
    return digest.hexdigest()


def _header(name: str, tensor: Tensor) -> str:
    return f"{len(name)}:{name}:{str(value_type(tensor)).removeprefix('torch.')}:{tuple(tensor.shape)}\n"


def _as_integers(tensor: Tensor) -> Tensor:
    """The values of a row as whole numbers of their bits: signs of zeros and payloads of NaNs count."""
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.contiguous().view(whole.get(tensor.element_size(), torch.uint8))


def _version_of(tensor: Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version


def _sha256_of(tensor: Tensor) -> str:
    digest = hashlib.sha256()
    for chunk in byte_chunks(tensor):
        digest.update(chunk)
    if value_type(tensor) != tensor.dtype:
        let_go_of((tensor,))  # as its file has it: nothing that trains, into which something may be written
    return digest.hexdigest()
