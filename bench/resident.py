"""Is a step as fast where the frozen bottom has left memory? Rows stored in both, the prefix resident in one.

    python -m bench.resident                                   # the embedded model, 'all@-4:', 4 x 256 tokens
    python -m bench.resident --model FOLDER --plan 'attn.qkv@50%:' --shape 2x256

`prefix_cache.fill: never` against `always`, in turns, each in a process of its own, rows in memory. Where memory
is short, a filled run also gives freed memory back around each step, which then has to be fetched again inside it.
"""

from __future__ import annotations

import argparse

from bench.contender import Setup
from bench.engine import PLANS, header, print_machine
from bench.turns import cpu_ratio, ratio, take_turns
from frostline.cache import cache_folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded", help="a model folder or hub id")
    parser.add_argument("--plan", default="all@-4:", choices=list(PLANS))
    parser.add_argument("--shape", default="4x256", help="windows x tokens")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    print_machine()
    batch, length = (int(number) for number in options.shape.split("x"))
    setups = [
        Setup("engine", PLANS[options.plan], batch, length, str(cache_folder()), options.model, sets=1, filled=filled)
        for filled in (True, False)
    ]
    left, resident = take_turns(setups, warm_up=2, rounds=options.rounds)
    print(f"\n`{options.plan}`, {options.shape} tokens, {options.rounds} rounds in turns\n")
    print(header("prefix", "step, s", "step, processor's s", "peak memory, GB"))
    for name, own in (("not resident", left), ("resident", resident)):
        print(f"| {name} | {own.seconds:.2f} | {own.cpu_seconds:.2f} | {own.peak_bytes / 1e9:.2f} |")
    print(f"| not resident / resident | {ratio(left, resident)} | {cpu_ratio(left, resident)} | |")


if __name__ == "__main__":
    main()
