"""Did a change of the code change a result? Short runs by the code before and the code after, compared byte by byte.

    python -m bench.identity record FOLDER [--only NAME ...] [--text FILE]   # once with each code, each a folder
    python -m bench.identity compare BEFORE AFTER [--only NAME ...]          # exit code 1 if anything differs

`record` runs the Frostline that is imported (PYTHONPATH decides): each shipped recipe cut to a few steps, and small
random models for every kind of plan, corpus and setting, with a cache of its own. `compare` looks at every field of
every line of the journals, every number and sentence of `summary.json`, every byte of trained models and resolved
recipes, the names of all files, and how each process ended. What it sets aside stands in the constants below.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.identity.compare import compare
from bench.identity.record import record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="run everything with the Frostline that is imported")
    recording.add_argument("folder", type=Path)
    recording.add_argument("--text", type=Path, help="a text for the recipes that read one (else the embedded one)")
    comparing = commands.add_parser("compare", help="compare two recordings")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    for command in (recording, comparing):
        command.add_argument("--only", nargs="+", default=["*"], metavar="NAME", help="these runs; * is a wildcard")
    options = parser.parse_args()
    if options.command == "record":
        record(options.folder.resolve(), options.only, options.text)
    else:
        sys.exit(compare(options.before, options.after, options.only))


if __name__ == "__main__":
    main()
