"""How much memory may this process still take? What the system has free, and what its memory cgroups leave it.

A container or a batch system bounds a process by a cgroup, of which the system's own count of free memory knows
nothing: a process that believes the latter is killed without a word. Every group above its own bounds it, too. What the
kernel can take back at any moment (pages of files that nothing has mapped) counts as free, as it does without a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path("/")
"""Below it lie `proc` and the mounted hierarchies."""


@dataclass(frozen=True)
class _Names:
    """What the files of one version of cgroups, and the lines of its `memory.stat`, are called."""

    limit: str
    usage: str
    cached: tuple[str, ...]
    mapped: str


_NAMES = {
    "cgroup": _Names(
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        ("total_active_file", "total_inactive_file"),
        "total_mapped_file",
    ),
    "cgroup2": _Names("memory.max", "memory.current", ("active_file", "inactive_file"), "file_mapped"),
}


def free_memory_bytes(root: Path = ROOT) -> int:
    """Bytes that this process may take beside what it has: the least of the system and of every cgroup around it."""
    system = int(psutil.virtual_memory().available)
    return max(0, min([system, *(free for group, names in _groups(root) if (free := _free(group, names)) is not None)]))


def _groups(root: Path) -> Iterator[tuple[Path, _Names]]:
    """The folder of the process's own memory cgroup, and of each one above it; nothing where there is none."""
    try:
        own = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        mounts = (root / "proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    paths = {}
    for line in own:
        number, controllers, path = line.split(":", 2)
        if number == "0" or "memory" in controllers.split(","):
            paths["cgroup2" if number == "0" else "cgroup"] = Path(path)
    for line in mounts:
        mounted, _, kind = line.partition(" - ")
        system, *_, options = kind.split()
        if system not in paths or (system == "cgroup" and "memory" not in options.split(",")):
            continue
        top, place = mounted.split()[3:5]
        # Inside a container the mount shows the group's own part of the hierarchy alone.
        inside = paths[system].relative_to(top) if paths[system].is_relative_to(top) else Path()
        folder = root / place.lstrip("/")
        for part in (inside, *inside.parents):
            yield folder / part, _NAMES[system]


def _free(group: Path, names: _Names) -> int | None:
    """Bytes that `group` leaves; None where it sets no bound."""
    try:
        limit = (group / names.limit).read_text(encoding="ascii").strip()
        if limit == "max":
            return None
        usage = int((group / names.usage).read_text(encoding="ascii"))
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
        counts = {name: int(value) for name, value in (line.split() for line in lines)}
        taken_back = max(0, sum(counts.get(name, 0) for name in names.cached) - counts.get(names.mapped, 0))
        return int(limit) - max(0, usage - taken_back)
    except (OSError, ValueError):  # no such controller in this group, or one of another make
        return None
