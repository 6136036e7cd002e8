"""How large a model trains in how little memory? A run under a limit that the system enforces, on random weights.

    python -m bench.large 1B FOLDER                # no limit: peak memory of the process
    python -m bench.large 3B FOLDER --limit 6      # in a memory cgroup of 6 GB (as root): runs to its report

The model is written into FOLDER first if it is not there (`bench.shapes`). Prints, for each part of the run, the
highest memory of the process: what is its own, and pages of files that it has mapped; and what was read from the disk.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.limited import memory_cgroup
from bench.shapes import TYPES, write_shape
from frostline.machine import describe_machine

PLANS = {"1B": "all@-4:", "3B": "all@-2:", "8B": "attn.qkv@-4:"}
WORDS = ("cold light moves over the ice and the sea answers in a low voice while the watch counts the stars ",)
PARTS = {
    "Model:": "loading",
    "Corpus:": "checking",
    "Filling": "filling rows",
    "Training": "training",
    "After training": "evaluating",
    "Writing": "report",
}
"""What a run says when a part of it begins."""


@dataclass
class Peak:
    """The highest memory of a part, in bytes, and what it read from the disk."""

    own: int = 0
    mapped: int = 0
    together: int = 0
    read: int = 0


def write_recipe(folder: Path, shape: str, plan: str, steps: int, windows: int) -> Path:
    """The recipe of the run: one arm, rows filled before training."""
    text = folder / "text.txt"
    text.write_text(WORDS[0] * (40 * steps * windows), encoding="utf-8")
    recipe = folder / f"{shape}.yaml"
    content = {
        "name": f"{shape} {plan}",
        "question": "Does it fit?",
        "model": {"source": str(folder / shape)},
        "corpus": {"source": str(text), "tokens": 256 * (steps * windows + 6)},
        "windows": {"length": 256, "held_out": 4},
        "training": {
            "steps": steps, "batch": windows, "learning_rate": 1e-4, "untimed_steps": 1, "checkpointing": True,
            "prefix_cache": {"fill": "always", "memory_mb": 0},
        },
        "retention": "none",
        "arms": {"top": {"train": [plan]}},
        "measures": {"evaluate_every": 0, "memory": False, "sampling": {"prompts": 0}},
    }  # fmt: skip
    recipe.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return recipe


def run_and_watch(command: list[str], limit_bytes: int | None, log: Path) -> tuple[int, dict[str, Peak]]:
    """(exit status, peaks by part) of `command`, whose output goes to `log`."""
    peaks: dict[str, Peak] = {}
    with memory_cgroup(limit_bytes) as enter, log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, preexec_fn=enter)
        part, read = "starting", 0
        while process.poll() is None:
            said = log.read_text(encoding="utf-8", errors="replace")
            for words, name in PARTS.items():
                if words in said:
                    part = name
            peak = peaks.setdefault(part, Peak())
            try:
                status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
                io = Path(f"/proc/{process.pid}/io").read_text(encoding="ascii")
            except OSError:
                break
            own, shared, mapped = (_kilobytes(status, key) * 1024 for key in ("RssAnon", "RssShmem", "RssFile"))
            own += shared  # large copies, which are mapped without a file
            peak.own, peak.mapped = max(peak.own, own), max(peak.mapped, mapped)
            peak.together = max(peak.together, own + mapped)
            now = int(re.search(r"read_bytes: (\d+)", io)[1])  # type: ignore[index]
            peak.read, read = peak.read + now - read, now
            time.sleep(0.05)
        return process.wait(), peaks


def _kilobytes(status: str, key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+)", status)
    return int(found[1]) if found else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=list(PLANS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=float, help="GB (1e9 bytes) that the process may use, mapped pages included")
    parser.add_argument("--plan", help="selector of what trains, instead of that of the shape")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--windows", type=int, default=8, help="windows of 256 tokens in a step")
    options = parser.parse_args()
    model = options.folder.absolute() / options.shape
    if not (model / "config.json").exists():
        write_shape(options.shape, model, TYPES["bf16"])
    size = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    plan = options.plan or PLANS[options.shape]
    recipe = write_recipe(options.folder.absolute(), options.shape, plan, options.steps, options.windows)
    run = options.folder.absolute() / f"run-{options.shape}-{os.getpid()}"
    command = [sys.executable, "-m", "frostline", "run", str(recipe), "--out", str(run)]
    limit = None if options.limit is None else int(options.limit * 1e9)
    status, peaks = run_and_watch(command, limit, run.with_suffix(".log"))
    print(", ".join(f"{key}: {value}" for key, value in sorted(describe_machine().items())))
    bound = "no limit" if limit is None else f"a limit of {options.limit:g} GB"
    print(f"{options.shape}, {size / 1e9:.2f} GB in bf16, {plan}, {options.windows} x 256, {bound}:")
    print(f"exit status {status}; log in {run.with_suffix('.log')}\n")
    print("| part | own memory, GB | mapped pages, GB | together, GB | read from disk, of the file |")
    print("| --- | --- | --- | --- | --- |")
    for part, peak in peaks.items():
        cells = " | ".join(f"{value / 1e9:.2f}" for value in (peak.own, peak.mapped, peak.together))
        print(f"| {part} | {cells} | {peak.read / size:.2f} |")
    sys.exit(status)


if __name__ == "__main__":
    main()
