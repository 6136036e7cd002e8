"""How does a command do with so much memory and no more? Run in a memory cgroup, which counts mapped pages in use.

    python -m bench.limited 6 frostline run recipe.yaml --out runs/three-billion

The limit is in GB (1e9 bytes) for the command and all of its children together; swap is off in it. Needs root, and
cgroups of version 1 or 2. Prints the highest use that the system counted (page cache included, which is given up under
pressure), the highest resident set of any process, and what was read from disk.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


def run_limited(limit_bytes: int, command: list[str]) -> tuple[int, int, int]:
    """(exit status, highest use in bytes, how often the limit was met) of `command`."""
    is_v1 = (V1 / "memory.limit_in_bytes").exists()
    own = (V1 if is_v1 else V2) / f"frostline-bench-{os.getpid()}"
    own.mkdir()
    try:
        if is_v1:
            (own / "memory.limit_in_bytes").write_text(str(limit_bytes))
        else:
            (own / "memory.max").write_text(str(limit_bytes))
            (own / "memory.swap.max").write_text("0")

        def enter() -> None:
            (own / "cgroup.procs").write_text(str(os.getpid()))

        finished = subprocess.run(command, preexec_fn=enter, check=False)
        highest = int((own / ("memory.max_usage_in_bytes" if is_v1 else "memory.peak")).read_text())
        if is_v1:
            met = int((own / "memory.failcnt").read_text())
        else:
            met = int(dict(line.split() for line in (own / "memory.events").read_text().splitlines())["max"])
        return finished.returncode, highest, met
    finally:
        for _ in range(50):  # a process that has ended may be counted a moment longer
            try:
                own.rmdir()
                break
            except OSError:
                time.sleep(0.1)


def main() -> None:
    limit_bytes = int(float(sys.argv[1]) * 1e9)
    began = time.monotonic()
    status, highest, met = run_limited(limit_bytes, sys.argv[2:])
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"limit {limit_bytes / 1e9:.2f} GB: exit status {status} after {time.monotonic() - began:.0f} s; highest use "
        f"{highest / 1e9:.2f} GB, page cache included; limit met {met} times; largest resident set of a process "
        f"{used.ru_maxrss * 1024 / 1e9:.2f} GB; {used.ru_inblock * 512 / 1e9:.2f} GB read from disk"
    )
    sys.exit(status)


if __name__ == "__main__":
    main()
