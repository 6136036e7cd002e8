"""How many bytes do the tensors take that a block of code makes? Counted from their storages, not from the allocator.

What an allocator keeps, and how it cuts its heap into pieces, depends on the machine; what is alive does not.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """In the block, the most bytes at once of storages that are not those of `known` tensors."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = 0
        self._known = [own.untyped_storage() for own in known]
        self._places = {own._cdata for own in self._known}
        self._alive: dict[int, weakref.ReferenceType[UntypedStorage]] = {}

    def __torch_dispatch__(
        self,
        operation: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Run the operation, and count what is alive after it."""
        found = operation(*args, **(kwargs or {}))
        for own in tree_leaves(found):
            if type(own) is Tensor and (storage := own.untyped_storage())._cdata not in self._places:
                self._alive[storage._cdata] = weakref.ref(storage)
        alive = {place: known() for place, known in self._alive.items()}
        sizes = {place: storage.nbytes() for place, storage in alive.items() if storage is not None}
        self._alive = {place: self._alive[place] for place in sizes}
        self.most = max(self.most, sum(sizes.values()))
        return found
