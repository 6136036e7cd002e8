"""Where was each key of a recipe written? In which file and line, or in an override on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from frostline.errors import FrostlineError, Key, dotted

Lines = dict[tuple[Key, ...], int]
"""Lines of a file, counted from 1, by the path of the key, or of the item of a list, that stands there."""


@dataclass(frozen=True)
class RecipeSource:
    """Where a recipe came from. What a recipe says does not depend on it: two sources are always equal."""

    path: Path | None = field(default=None, compare=False)
    lines: Lines = field(default_factory=dict, compare=False, repr=False)
    overridden: tuple[tuple[str, ...], ...] = field(default=(), compare=False)
    """Keys that were set beside the file."""
    words: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """What was asked for in other words than a recipe's, such as `length` for `windows.length`, by key."""
    variant: str = field(default="", compare=False)
    """Label of the variant, where the recipe is one of several that differ in a key."""

    def place(self, keys: Sequence[Key]) -> str:
        """`file:line, key 'a.b'`, going up to the nearest key that has a line; or `--set a.b, key 'a.b'`.

        Where the two have made what is at fault together, such as the file `a` and an override `a.c`, both are named.
        """
        if dotted(keys) in self.words:
            return self.words[dotted(keys)]
        where = str(self.path) if self.path is not None else "recipe"
        for length in range(len(keys), -1, -1):
            if tuple(keys[:length]) in self.lines:
                where += f":{self.lines[tuple(keys[:length])]}"
                break
        key = dotted(keys)
        set_whole = [override for override in self.overridden if tuple(keys[: len(override)]) == override]
        set_below = [override for override in self.overridden if key and override[: len(keys)] == tuple(keys)]
        if set_whole:
            where = _options(set_whole[-1:])
        elif set_below:
            where = (
                f"{where} with {_options(set_below)}" if self._file_has_more(keys, set_below) else _options(set_below)
            )
        return f"{where}, key '{key}'" if key else where

    def _file_has_more(self, keys: Sequence[Key], overrides: Sequence[tuple[str, ...]]) -> bool:
        """Whether something of the file's stands below `keys` that none of `overrides` has replaced."""
        below = [path for path in self.lines if len(path) > len(keys) and path[: len(keys)] == tuple(keys)]
        replaced = {path for path in below for override in overrides if path[: len(override)] == override}
        above = {override[:length] for override in overrides for length in range(len(override))}
        return any(path not in replaced and path not in above for path in below)

    def locate(self, error: FrostlineError) -> None:
        """Tell `error` where the key that it is at was written, and in which variant it was met."""
        if error.keys and not error.place:
            error.place = self.place(error.keys)
        variant = f"vary {self.variant}" if self.variant else ""
        if variant and variant not in error.context:
            error.during(variant)


def _options(overrides: Sequence[tuple[str, ...]]) -> str:
    return ", ".join(dict.fromkeys(f"--set {'.'.join(override)}" for override in overrides))
