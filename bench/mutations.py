"""What comes of model folders that are damaged? Counts of outcomes, and each that must not be.

Run it with: python -m bench.mutations [COUNT] [FIRST_SEED]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from transformers.utils import logging

from tests.builders.mutated_models import ACCEPTED, damaged_model, outcome_of


def main(count: int = 2000, first: int = 0) -> int:
    """Damage `count` folders and print what came of them; returns how many outcomes must not be."""
    logging.disable_progress_bar()
    counts: Counter[str] = Counter()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            place = Path(folder) / "one"
            place.mkdir()
            done = damaged_model(place / "model", seed)
            outcome = outcome_of(place / "model", done.partition(":")[0], Path(folder))
            counts[outcome.kind] += 1
            if outcome.kind not in ACCEPTED:
                print(f"{seed} {outcome.kind}: {done}\n    {outcome.told}", flush=True)
            shutil.rmtree(place)
    print(f"{count} folders from seed {first} in {time.perf_counter() - started:.0f} s")
    for kind, times in counts.most_common():
        print(f"{times:6} {kind}")
    return sum(times for kind, times in counts.items() if kind not in ACCEPTED)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])) > 0)
