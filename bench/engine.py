"""What does the engine gain? Step time and peak memory against transformers.Trainer and the plain loop.

    python -m bench.engine                      # the table of bench/RESULTS.md, about half an hour on two cores
    python -m bench.engine --plan 'all@-4:' --shape 4x128 --rounds 6

Each rival takes turns with the engine, step by step, each in a process of its own. Before the timed rounds every
window was visited once, so that the engine's prefixes are stored; what a first visit costs is measured apart.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from statistics import geometric_mean

from bench.contender import Setup
from bench.turns import Result, cpu_ratio, ratio, take_turns
from frostline.cache import cache_folder
from frostline.machine import describe_machine

PLANS: dict[str, dict[str, list[str]]] = {
    "full": {"train": ["all"]},
    "attn.qkv@50%:": {"train": ["attn.qkv@50%:"]},
    "all@-4:": {"train": ["all@-4:"]},
    "reversed": {"freeze": ["attn@50%:"]},
}
RIVALS = ("trainer", "reference")
SHAPES = ("8x256", "4x128")
HEADINGS = (
    "plan", "(a) Trainer, s", "(b) reference, s", "(c) engine, s", "(a)/(c)", "(b)/(c)", "(c) of peak",
    "peak memory of a, b, c, GB", "(a)/(c), processor's seconds", "(b)/(c), processor's seconds",
)  # fmt: skip
SETS = 3
"""Steps until the windows come back: as many untimed rounds, so that each prefix is stored before the timed ones."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", action="append", choices=list(PLANS), help="only this one; repeatable")
    parser.add_argument("--shape", action="append", help="windows x tokens, such as 8x256; repeatable")
    parser.add_argument("--rounds", type=int, default=8, help="timed steps of each contender")
    parser.add_argument("--rival", action="append", choices=RIVALS, help="only this one; repeatable")
    parser.add_argument("--sets", type=int, default=SETS, help="steps until the windows come back")
    parser.add_argument("--model", default="embedded", help="a model folder or hub id")
    parser.add_argument("--compile", action="store_true", help="the engine compiles what trains")
    parser.add_argument("--no-first-visits", action="store_true", help="only the first table")
    parser.add_argument("--json", type=Path, help="write all steps to this file")
    options = parser.parse_args()
    print_machine()
    everything = []
    for shape in options.shape or SHAPES:
        batch, length = (int(number) for number in shape.split("x"))
        print(f"\n## {batch} x {length} tokens\n")
        print(header(*HEADINGS), flush=True)
        for name in options.plan or PLANS:
            results = []
            for rival in options.rival or RIVALS:
                pair = [
                    Setup(kind, PLANS[name], batch, length, str(cache_folder()), options.model, sets=options.sets,
                          compile=options.compile and kind == "engine")
                    for kind in (rival, "engine")
                ]  # fmt: skip
                results.append(take_turns(pair, warm_up=options.sets, rounds=options.rounds))
            everything += [asdict(result) for pair_results in results for result in pair_results]
            print(row(name, results), flush=True)
        if options.no_first_visits:
            continue
        print("\nFirst visits: the engine with prefixes being stored, on disk too, against computing them each time.\n")
        print(header("plan", "first visit, storing / computing", "later visit, stored / computing"), flush=True)
        for name in options.plan or PLANS:
            if name in ("full", "reversed"):
                continue  # they have no prefix
            print(first_visit_row(name, batch, length, options.model, options.rounds), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(everything, indent=1))


def header(*headings: str) -> str:
    """The first two lines of a table."""
    return f"| {' | '.join(headings)} |\n|{' --- |' * len(headings)}"


def row(name: str, results: list[list[Result]]) -> str:
    """Each of `results` is a rival and the engine beside it."""
    by_kind = {rival.setup.kind: (rival, engine) for rival, engine in results}
    rivals = [by_kind.get(kind) for kind in RIVALS]
    engines = [engine for _, engine in results]
    peaks = [*(None if pair is None else pair[0].peak_bytes for pair in rivals), engines[0].peak_bytes]
    cells = [
        f"`{name}`",
        *("" if pair is None else f"{pair[0].seconds:.2f}" for pair in rivals),
        f"{geometric_mean(engine.seconds for engine in engines):.2f}",
        *("" if pair is None else str(ratio(*pair)) for pair in rivals),
        f"{100 * geometric_mean(engine.share_of_peak for engine in engines):.0f} %",
        ", ".join("" if peak is None else f"{peak / 1e9:.2f}" for peak in peaks),
        *("" if pair is None else str(cpu_ratio(*pair)) for pair in rivals),
    ]
    return f"| {' | '.join(cells)} |"


def first_visit_row(name: str, batch: int, length: int, model: str, rounds: int) -> str:
    """An epoch of first visits: no window comes back within the rounds."""

    def setup(kind: str, sets: int) -> Setup:
        return Setup(kind, PLANS[name], batch, length, str(cache_folder()), model, on_disk=kind == "engine", sets=sets)

    fresh = take_turns([setup("engine", 0), setup("uncached", 0)], warm_up=2, rounds=rounds)
    later = take_turns([setup("engine", SETS), setup("uncached", SETS)], warm_up=SETS, rounds=rounds)
    return f"| `{name}` | {ratio(*fresh)} | {ratio(*later)} |"


def print_machine() -> None:
    """What this ran on."""
    facts = describe_machine()
    names = ("processor", "cores", "memory", "gpu", "torch", "transformers", "torch threads", "blas", "system")
    print("; ".join(f"{name}: {facts[name]}" for name in names))


if __name__ == "__main__":
    main()
