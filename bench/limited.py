"""How does a command do with so much memory and no more? Run in a memory cgroup, which counts mapped pages in use.

    python -m bench.limited 6 frostline run recipe.yaml --out runs/three-billion

The limit is in GB (1e9 bytes) for the command and all of its children together. Needs root, and cgroups of version 1 or
2. `bench.large` runs the shapes of real models so, and tells what each part of a run takes.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


@contextmanager
def memory_cgroup(limit_bytes: int | None) -> Iterator[Callable[[], None]]:
    """A new cgroup with that limit; gives what a process calls to enter it. Without a limit there is none."""
    if limit_bytes is None:
        yield lambda: None
        return
    own = (V1 if _is_v1() else V2) / f"frostline-bench-{os.getpid()}"
    own.mkdir()
    try:
        if _is_v1():
            (own / "memory.limit_in_bytes").write_text(str(limit_bytes))
        else:
            (own / "memory.max").write_text(str(limit_bytes))
            (own / "memory.swap.max").write_text("0")

        def enter() -> None:
            (own / "cgroup.procs").write_text(str(os.getpid()))

        yield enter
    finally:
        for _ in range(50):  # a process that has ended may be counted a moment longer
            try:
                own.rmdir()
                break
            except OSError:
                time.sleep(0.1)


def _is_v1() -> bool:
    return (V1 / "memory.limit_in_bytes").exists()


def main() -> None:
    limit_bytes = int(float(sys.argv[1]) * 1e9)
    began = time.monotonic()
    with memory_cgroup(limit_bytes) as enter:
        status = subprocess.run(sys.argv[2:], preexec_fn=enter, check=False).returncode
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"limit {limit_bytes / 1e9:.2f} GB: exit status {status} after {time.monotonic() - began:.0f} s; largest "
        f"resident set of a process {used.ru_maxrss * 1024 / 1e9:.2f} GB"
    )
    sys.exit(status)


if __name__ == "__main__":
    main()
