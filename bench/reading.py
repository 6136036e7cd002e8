"""What do the checks of what is read add to reading a large jsonl file: of each row, for repeats, for overlap?

    python -m bench.reading [MEGABYTES] [MEGABYTES TO TOKENISE]

Each part runs in a process of its own, in turns. Plain reading hashes the file and takes the text of each line with
`json.loads`; checked reading is what a corpus does, repeated rows included. The overlap is looked for in as many random
tokens as such a file becomes; cutting it into tokens is timed on a part of the file, and counted for all of it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.tables import LETTERS
from frostline.corpus.ngrams import found_in_training, ngram_hashes
from frostline.corpus.read import Source, open_source
from frostline.corpus.repeats import Documents
from frostline.corpus.special import Markers, cut_texts, ids_of
from frostline.corpus.tally import Tally
from frostline.corpus.windows import lay_out_windows
from frostline.loading import load_tokenizer
from frostline.recipe import CorpusSettings, ModelSettings, WindowSettings

ROUNDS = 3
BYTES_PER_TOKEN = 4
PARTS = ("plain", "checked", "overlap", "tokens")


def main() -> None:
    if sys.argv[1:2] == ["--part"]:
        _part(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
        return
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    tokenised = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    machine = platform.processor() or platform.machine()
    print(f"{machine}, Python {platform.python_version()}, {ROUNDS} rounds, {megabytes} MB of jsonl, seconds of CPU")
    spent: dict[str, list[float]] = {part: [] for part in PARTS}
    peak: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = _table(Path(folder) / "t.jsonl", megabytes << 20)
        for number in range(ROUNDS):
            for part in PARTS if number % 2 == 0 else PARTS[::-1]:
                size = tokenised << 20 if part == "tokens" else megabytes << 20
                command = [sys.executable, "-m", "bench.reading", "--part", part, str(path), str(size)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                seconds, peak[part] = map(float, done.stdout.split())
                spent[part].append(seconds * (megabytes << 20) / size)
                print(f"  {part}: {spent[part][-1]:.1f} s, at most {peak[part]:.0f} MiB", flush=True)
    rounds = list(zip(*(spent[part] for part in PARTS), strict=True))
    _tell("rows and repeats, beside plain reading", [checked / plain for plain, checked, _, _ in rounds])
    _tell(
        "all checks, beside reading and cutting into tokens",
        [(checked + overlap + tokens) / (plain + tokens) for plain, checked, overlap, tokens in rounds],
    )


def _tell(what: str, ratios: list[float]) -> None:
    print(f"  {what}: {sum(ratios) / len(ratios):.3f} times [{min(ratios):.3f}, {max(ratios):.3f}]")


def _table(path: Path, size: int) -> Path:
    draw = random.Random(0)
    words = ["".join(draw.choices(LETTERS, k=draw.randint(20, 2000))) for _ in range(500)]
    with path.open("w", encoding="utf-8") as file:
        number = 0
        while file.tell() < size:
            rows = ({"id": place, "text": f"{place} {words[place % 500]}"} for place in range(number, number + 1000))
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            number += 1000
    return path


def _part(part: str, path: Path, size: int) -> None:
    """Print the seconds of CPU and the most memory of one part."""
    cache = path.parent / "cache"
    tokenizer = load_tokenizer(ModelSettings(), cache) if part == "tokens" else None
    tokens = size // BYTES_PER_TOKEN if part == "overlap" else 0
    ids = np.random.default_rng(0).integers(0, 49152, tokens, dtype=np.uint16)
    began = time.process_time()
    if part == "plain":
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        with path.open("rb") as file:
            for line in file:
                json.loads(line)["text"]
    elif part == "overlap":
        windows = lay_out_windows(ids, WindowSettings(length=512, held_out=64), "bench")
        wanted = np.unique(np.concatenate([ngram_hashes(ids[at : at + 512], 16) for at in windows.held_out.tolist()]))
        found_in_training(wanted, ids, windows.training_stretches, 16, cache, f"bench {time.time_ns()}")
    else:
        _read(
            open_source(CorpusSettings(source=str(path)), cache),
            None if tokenizer is None else Markers(tokenizer),
            size,
        )
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(time.process_time() - began, megabytes)


def _read(source: Source, markers: Markers | None, size: int) -> None:
    """All rows, told apart; or those of the first `size` bytes cut into tokens."""
    documents = Documents()
    batch: list[str] = []
    for number, block in enumerate(source.blocks(Tally())):
        if markers is None:
            documents.take(block, number)
        elif block.bytes_read > size:
            break
        else:
            batch.append(block.text)
            if len(batch) == 1000:
                [ids_of(cut) for cut in cut_texts(markers, batch, None)]
                batch.clear()
    documents.repeated(number)


if __name__ == "__main__":
    main()
