"""A real experiment on the embedded model, killed at random moments and compared with one left alone.

    python -m bench.survival --kills 10

Prints what differs (nothing should), and what checkpoints cost of the time of the run that was left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.engine import print_machine
from frostline.recipe.shipped import copy_recipe
from frostline.run_folder import SESSIONS_FILE, WALL_CLOCK_FIELDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--every-seconds", type=int, default=10, help="between checkpoints, at least")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        recipe = copy_recipe("demo", Path(folder))
        # Far more often than 2 % of the time allows: the run is short, and checkpoints are what is tried.
        changes = [
            f"checkpoints.every_seconds={options.every_seconds}", "checkpoints.largest_share=0.5",
            f"training.steps={options.steps}", "seeds=[0]", "save=[freeze]", "measures.memory=false",
            "measures.sampling.prompts=2",
        ]  # fmt: skip
        alone, killed = Path(folder) / "alone", Path(folder) / "killed"
        began = time.monotonic()
        run(command(recipe, alone, changes))
        seconds = time.monotonic() - began
        generator = random.Random(options.seed)
        kills = 0
        for _ in range(options.kills):
            # Short enough that the experiment does not end before the last kill; some fall into the start.
            after = generator.uniform(0.05, 0.25) * seconds
            if kill(command(recipe, killed, changes), after):
                kills += 1
                print(f"Killed after {after:.0f} s", flush=True)
        run(command(recipe, killed, changes))
        session = json.loads((alone / SESSIONS_FILE).read_text(encoding="utf-8").splitlines()[-1])
        each = session["checkpoint_seconds"] / max(1, session["checkpoints"])
        saves = session["checkpoints"]
        print(f"\nLeft alone: {seconds:.0f} s, with {saves} checkpoints of all arms, {each:.1f} s each.")
        print(f"At 2 % of the time, as is the default, that is one every {each * 49:.0f} s at most.")
        print(f"Killed {kills} times, at random moments, each time going on.\n")
        print("| what | compared | different |")
        print("| --- | --- | --- |")
        compare("lines of the journal, without wall-clock fields", journal(alone), journal(killed))
        compare("files of the trained model, by SHA-256", models(alone), models(killed))
        compare("files of the run folder, by name", names(alone), names(killed))


def command(recipe: Path, run_folder: Path, changes: list[str]) -> list[str]:
    """Starts the experiment, or goes on with it."""
    sets = [word for change in changes for word in ("--set", change)]
    frostline = [sys.executable, "-m", "frostline"]
    return [*frostline, "run", str(recipe), "--out", str(run_folder), "--resume", "auto", "--fresh", *sets]


def run(words: list[str]) -> None:
    """To its end. Raises `CalledProcessError` where it does not go well."""
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def kill(words: list[str], after_seconds: float) -> int:
    """Begin, and kill with SIGKILL; whether there was something to kill."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        process.wait(after_seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return 1
    return 0


def journal(run_folder: Path) -> dict[str, str]:
    """Every line without its wall-clock fields, by file and number."""
    return {
        f"{path.name}:{number}": json.dumps(
            {key: value for key, value in json.loads(line).items() if key not in WALL_CLOCK_FIELDS}
        )
        for path in sorted((run_folder / "journal").glob("*.jsonl"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines())
    }


def models(run_folder: Path) -> dict[str, str]:
    """SHA-256 of each file of the trained model."""
    files = [path for path in (run_folder / "checkpoints").rglob("*") if path.is_file()]
    return {str(path.relative_to(run_folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def names(run_folder: Path) -> dict[str, str]:
    """Which files there are."""
    return {str(path.relative_to(run_folder)): "" for path in run_folder.rglob("*") if path.is_file()}


def compare(what: str, alone: dict[str, str], killed: dict[str, str]) -> None:
    """Print a row of the table."""
    different = sum(alone.get(key) != killed.get(key) for key in alone.keys() | killed.keys())
    print(f"| {what} | {len(alone):,} | {different} |")


if __name__ == "__main__":
    main()
