"""A script that computes together several times: `python -m tests.launch.script HOW RECIPE FOLDER`.

It runs the experiment, is refused one, and runs it once more. Where HOW is `itself`, the script has begun to compute
together by itself before, and goes on with that afterwards; else it does so at last.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

import frostline

if __name__ == "__main__":
    how, recipe, folder = sys.argv[1:]
    if how == "itself":
        dist.init_process_group("gloo")
    for name in ("first", "second"):
        outcome = frostline.run(recipe, Path(folder) / name, fresh=True)
        print(name, outcome.status)
        try:
            outcome = frostline.run(recipe, Path(folder) / "refused", set={"training.accumulation": 3})
            print(outcome.status)
        except frostline.FrostlineError as error:
            print(error)
    if how != "itself" and os.environ["WORLD_SIZE"] != "1":
        dist.init_process_group("gloo")
    if dist.is_initialized():
        ones = torch.ones(1)
        dist.all_reduce(ones)
        print(f"{int(ones)} in all")
