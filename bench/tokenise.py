"""How fast does running text become tokens, on one core and on all of them?

    python -m bench.tokenise [MEGABYTES]

A corpus of the shipped model's tokenizer, from the file to the tokens in the cache: read, cut into blocks, tokenised,
counted, written, sealed. Each opening runs in a process of its own that is tied to its cores, in turns; beside it, the
same blocks by a plain call of the tokenizer, as transformers has it. Seconds are those of the whole opening; starting
Python and loading the tokenizer are left out.
"""

from __future__ import annotations

import os
import platform
import pydoc_data.topics
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from frostline.corpus.blocks import cut_into_blocks
from frostline.corpus.read import open_source
from frostline.corpus.tokenise import tokenise
from frostline.loading import load_tokenizer
from frostline.recipe import CorpusSettings, ModelSettings

ROUNDS = 5
WAYS = ("called", "one core", "all cores")


def main() -> None:
    if sys.argv[1:2] == ["--way"]:
        _run(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
        return
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 16
    cores = len(os.sched_getaffinity(0))
    machine = platform.processor() or platform.machine()
    print(
        f"{machine}, {cores} cores, Python {platform.python_version()}, tokenizers {version('tokenizers')}, "
        f"transformers {version('transformers')}, {ROUNDS} rounds, {megabytes} MB of text"
    )
    rates: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        path = _text(Path(folder) / "text.txt", megabytes * 1_000_000)
        load_tokenizer(ModelSettings(), Path(folder) / "model")  # converted once
        size = path.stat().st_size / 1e6
        for number in range(ROUNDS):
            for way in WAYS if number % 2 == 0 else WAYS[::-1]:
                command = [sys.executable, "-m", "bench.tokenise", "--way", way, str(path), str(Path(folder) / "model")]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                seconds, spent, peak = map(float, done.stdout.split())
                rates[way].append((size / seconds, size / spent))
                each = f"{size / seconds:.2f} MB/s, {size / spent:.2f} MB a second of CPU"
                print(f"  {way}: {each}, at most {peak:.0f} MiB", flush=True)
    for way in WAYS:
        _tell(f"{way}, MB/s", [rate for rate, _ in rates[way]])
        _tell(f"{way}, MB a second of CPU", [rate for _, rate in rates[way]])
    pairs = zip(rates["all cores"], rates["one core"], strict=True)
    _tell("all cores, times one core", [several / one for (several, _), (one, _) in pairs])


def _tell(what: str, values: list[float]) -> None:
    print(f"{what}: median {statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]")


def _text(path: Path, size: int) -> Path:
    """The language reference of Python, again and again, each time with a number: no paragraph stands twice."""
    with path.open("w", encoding="utf-8") as file:
        copy = 0
        while file.tell() < size:
            for topic in pydoc_data.topics.topics.values():
                file.write(topic.replace("\n\n", f"\n\n{copy} "))
                copy += 1
    return path


def _run(way: str, path: Path, model: Path) -> None:
    """Print seconds, seconds of CPU and the most memory, in MiB, of one way."""
    if way != "all cores":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    tokenizer = load_tokenizer(ModelSettings(), model)
    tokenizer("Once, so that everything is loaded.")
    with tempfile.TemporaryDirectory() as cache:
        began, cpu = time.perf_counter(), time.process_time()
        if way == "called":
            for block in cut_into_blocks([path.read_text(encoding="utf-8")]):
                tokenizer([block], add_special_tokens=False, verbose=False)
        else:
            settings = CorpusSettings(source=str(path))
            tokenise(open_source(settings, Path(cache)), settings, tokenizer, Path(cache))
        seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    print(seconds, spent, _peak_mebibytes())


def _peak_mebibytes() -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
