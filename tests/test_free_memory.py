"""Free is what the system and every memory cgroup around the process leave it, in both versions of cgroups."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from frostline.free_memory import free_memory_bytes

GIGABYTE = 10**9
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
V2 = ("memory.max", "memory.current", "")


@pytest.fixture(autouse=True)
def _system_with_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=100 * GIGABYTE))


def system(root: Path, own: str, mount: str) -> Path:
    """A root whose process is in the group `own`, with the hierarchy of `mount`; returns the folder of that."""
    process = root / "proc/self"
    process.mkdir(parents=True)
    (process / "cgroup").write_text(f"5:cpu,cpuacct:/elsewhere\n{own}\n", encoding="utf-8")
    (process / "mountinfo").write_text(f"22 1 0:5 / /proc rw - proc proc rw\n{mount}\n", encoding="utf-8")
    return root / "sys/fs/cgroup"


def bound(group: Path, names: tuple[str, str, str], limit: str, usage: int, cached: int = 0, mapped: int = 0) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / names[0]).write_text(f"{limit}\n", encoding="ascii")
    (group / names[1]).write_text(f"{usage}\n", encoding="ascii")
    of_mapped = "total_mapped_file" if names == V1 else "file_mapped"
    stat = f"anon 5\n{names[2]}active_file {cached}\n{names[2]}inactive_file 1000\n{of_mapped} {mapped}\n"
    (group / "memory.stat").write_text(stat, encoding="ascii")


def test_the_first_version_bounds_by_the_own_group_without_what_the_kernel_takes_back(tmp_path: Path) -> None:
    mount = "30 24 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
    top = system(tmp_path, "4:memory:/batch/job", mount) / "memory"
    bound(top / "batch/job", V1, str(6 * GIGABYTE), 5 * GIGABYTE, cached=3 * GIGABYTE, mapped=GIGABYTE)
    bound(top / "batch", V1, "9223372036854771712", 40 * GIGABYTE)
    assert free_memory_bytes(tmp_path) == 3 * GIGABYTE + 1000


def test_a_group_above_the_own_one_bounds_it_too(tmp_path: Path) -> None:
    top = system(tmp_path, "0::/batch/job", "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate")
    bound(top / "batch/job", V2, "max", 1 * GIGABYTE)
    bound(top / "batch", V2, str(8 * GIGABYTE), 7 * GIGABYTE)
    assert free_memory_bytes(tmp_path) == GIGABYTE + 1000


def test_in_a_container_the_mount_shows_the_own_part_alone(tmp_path: Path) -> None:
    mount = "30 24 0:26 /docker/a1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
    top = system(tmp_path, "4:memory:/docker/a1", mount) / "memory"
    bound(top, V1, str(2 * GIGABYTE), GIGABYTE)
    assert free_memory_bytes(tmp_path) == GIGABYTE + 1000


def test_a_group_that_holds_more_than_its_bound_leaves_nothing(tmp_path: Path) -> None:
    top = system(tmp_path, "0::/", "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw")
    bound(top, V2, "1000000", GIGABYTE)
    assert free_memory_bytes(tmp_path) == 0


@pytest.mark.parametrize("written", ["", "4:memory:/gone\n0::/gone"])
def test_without_groups_it_is_what_the_system_has(tmp_path: Path, written: str) -> None:
    if written:
        system(tmp_path, written, "30 24 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory")
    assert free_memory_bytes(tmp_path) == 100 * GIGABYTE
