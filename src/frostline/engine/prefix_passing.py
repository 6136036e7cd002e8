"""Where are hidden states while a fill is between two layers? In a file for each depth, which goes with the next layer.

The system keeps of such a file in memory what there is room for, and a killed fill finds it again: what was half
written proves nothing and is computed anew. Without a folder they are in memory alone.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from frostline.engine.prefix_file import RowFile, RowKind


class PassingRows:
    """Hidden states by window and depth, until they are dropped; `owner` is what a store's rows belong to.

    Files that an earlier process left in `folder` are found. Raises `OSError` where the disk fails.
    """

    def __init__(self, folder: Path | None, owner: bytes) -> None:
        self._folder, self._owner = folder, owner
        self._memory: dict[int, dict[bytes, Tensor]] = {}
        self._files: dict[RowKind, RowFile] = {}
        kinds = [] if folder is None else [RowKind.from_file_name(path.name) for path in sorted(folder.iterdir())]
        for kind in kinds:
            if kind is not None and kind.passing:
                self._file_of(kind)

    def reached(self, window: bytes, below: int) -> int:
        """The greatest depth below `below` at which there is a state of `window`; 0 where there is none."""
        on_disk = (kind.depth for kind, file in self._files.items() if kind.depth < below and window in file)
        in_memory = (depth for depth, rows in self._memory.items() if depth < below and window in rows)
        return max((*on_disk, *in_memory), default=0)

    def find(self, window: bytes, depth: int) -> Float[Tensor, "sequence hidden"] | None:
        """The state at `depth`, verified; None if there is none that is sound."""
        if self._folder is None:
            return self._memory.get(depth, {}).get(window)
        files = (file for kind, file in self._files.items() if kind.depth == depth and window in file)
        return next((row for file in files if (row := file.read(window)) is not None), None)

    def put(self, window: bytes, depth: int, row: Float[Tensor, "sequence hidden"]) -> None:
        """Keep a copy of `row`."""
        row = row.detach().to("cpu", copy=True).contiguous()
        kind = RowKind.of(depth, row, passing=True)
        if self._folder is None or kind is None:
            self._memory.setdefault(depth, {})[window] = row
        else:
            self._file_of(kind).append(window, row)

    def drop(self, depth: int) -> None:
        """States at `depth` and below are not needed any more."""
        self._memory = {own: rows for own, rows in self._memory.items() if own > depth}
        for kind in [kind for kind in self._files if kind.depth <= depth]:
            self._files.pop(kind).close()
            assert self._folder is not None
            with suppress(OSError):
                (self._folder / kind.file_name).unlink()

    def close(self) -> None:
        """No more reading or writing; what lies in the folder stays there."""
        for file in self._files.values():
            file.close()
        self._files, self._memory = {}, {}

    def _file_of(self, kind: RowKind) -> RowFile:
        if kind not in self._files:
            assert self._folder is not None
            self._files[kind] = RowFile(self._folder, kind, self._owner, writing=True)
        return self._files[kind]
