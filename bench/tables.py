"""How fast are the rows of tables read, and how much slower (or faster) than by another version?

    python -m bench.tables [MEGABYTES] [SRC]

Makes one table of each format with the same rows and reads it with `frostline` of this checkout and, where `SRC` names
the `src` folder of another one, with that, in turns, each in a process of its own.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 5
LETTERS = 'abcdefghijklmnopqrstuvwxyz     ,."é'
HERE = Path(__file__).parent.parent / "src"
READ = """
import importlib.util, sys, time
from pathlib import Path
from frostline.corpus.files import inspect_file
from frostline.corpus.tables import read_rows, text_of
asks = importlib.util.find_spec("frostline.corpus.rows") is not None  # text was asked for by the reader before
file = inspect_file(Path(sys.argv[1]), sys.argv[2])
started = time.process_time()
rows = sum(1 for row in read_rows(file, ["text"]) if not asks or text_of(row.values[0], "text", row.place) is not None)
print(rows, time.process_time() - started)
"""


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    sources = {"here": HERE} | ({"before": Path(sys.argv[2])} if len(sys.argv) > 2 else {})
    machine = platform.processor() or platform.machine()
    print(f"{machine}, Python {platform.python_version()}, {ROUNDS} rounds, {megabytes} MB of jsonl, seconds of CPU")
    with tempfile.TemporaryDirectory() as folder:
        for path, file_format in _tables(Path(folder), megabytes << 20):
            seconds: dict[str, list[float]] = {name: [] for name in sources}
            rows = 0
            for number in range(ROUNDS):
                for name in list(sources) if number % 2 == 0 else list(sources)[::-1]:
                    told = _read(sources[name], path, file_format)
                    if told is not None:
                        rows = told[0]
                        seconds[name].append(told[1])
            print(f"  {path.name}: {rows / min(seconds['here']):,.0f} rows/s", end="")
            if seconds.get("before"):
                ratios = [now / then for now, then in zip(seconds["here"], seconds["before"], strict=True)]
                print(
                    f", {sum(ratios) / len(ratios):.2f} times as long as before [{min(ratios):.2f}, {max(ratios):.2f}]"
                )
            else:
                print()


def _tables(folder: Path, size: int) -> list[tuple[Path, str]]:
    draw = random.Random(0)
    words = ["".join(draw.choices(LETTERS, k=draw.randint(20, 2000))) for _ in range(500)]
    average = sum(map(len, words)) // len(words)
    rows = [{"id": number, "text": words[number % len(words)]} for number in range(size // average)]
    with (folder / "t.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "t.jsonl.gz").write_bytes(gzip.compress((folder / "t.jsonl").read_bytes(), 1))
    (folder / "t.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    with (folder / "t.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "text"], *(row.values() for row in rows)])
    return [(path, path.name.split(".")[1]) for path in sorted(folder.iterdir())]


def _read(source: Path, path: Path, file_format: str) -> tuple[int, float] | None:
    """Rows and seconds; None where that version cannot read the file."""
    environment = os.environ | {"PYTHONPATH": str(source)}
    command = [sys.executable, "-c", READ, str(path), file_format]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    rows, seconds = done.stdout.split()
    return int(rows), float(seconds)


if __name__ == "__main__":
    main()
