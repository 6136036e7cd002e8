"""How large a model can be trained in how much memory? A table by arithmetic: no weights are needed.

    python -m bench.fits_table                                  # prints the table of docs/large-models.md
    python -m bench.fits_table --write docs/large-models.md     # puts it there

The byte counts are those of `frostline estimate`; what a layer keeps for its backward pass is counted on torch's meta
device, where tensors have sizes and no memory.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from bench.shapes import configuration
from frostline.arms import MemoryFacts, pages_of_steps, run_bytes, saved_without_memory
from frostline.plans import ModelMap, Plan, map_untouched
from frostline.recipe import Recipe

SIZES = ("135M", "1B", "3B", "8B", "70B")
PLANS: dict[str, dict[str, object]] = {
    "all": {"train": ["all"]},
    "all@50%:": {"train": ["all@50%:"]},
    "all@-4:": {"train": ["all@-4:"]},
    "all@-2:": {"train": ["all@-2:"]},
    "attn.qkv@50%:": {"train": ["attn.qkv@50%:"]},
    "attn.qkv@-4:": {"train": ["attn.qkv@-4:"]},
    "LoRA": {"lora": {"rank": 8}},
}
WINDOWS, LENGTH, HELD_OUT = 4, 256, 8
LIBRARIES = 0.5e9
"""Resident set of a process with its libraries and a tokenizer, about."""
MACHINES = (8, 16, 24, 64)
"""GB of memory."""
FREE_SHARE = 0.1
"""What is left of a machine for everything else."""
BEGIN, END = "<!-- bench.fits_table -->", "<!-- end -->"


def table() -> str:
    """The table of the page, in markdown."""
    heading = [
        "| model | plan | weights that train | memory held, GB | and pages of the file in a step, GB | rows on disk, "
        "GB per million tokens | smallest machine |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*heading, *(row for size in SIZES for row in rows_of(size))])


def rows_of(size: str) -> list[str]:
    """The rows of one model."""
    unfiled = model_without_memory(size)
    model = as_filed(unfiled)
    model_map = map_untouched(model)
    return [_row(size, name, facts_of(model, model_map, settings), unfiled) for name, settings in PLANS.items()]


def model_without_memory(size: str) -> PreTrainedModel:
    """The model of a shape on torch's meta device, in fp32."""
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(configuration(size))
    return model


def as_filed(unfiled: PreTrainedModel) -> PreTrainedModel:
    """The same with matrices of the type of a bf16 file."""
    model = copy.deepcopy(unfiled)
    for value in model.parameters():
        if value.ndim == 2:
            value.data = value.data.to(torch.bfloat16)
    return model


def facts_of(model: PreTrainedModel, model_map: ModelMap, settings: dict[str, object]) -> MemoryFacts:
    """A run of one arm, as far as its memory depends on it: rows filled before training, from disk."""
    recipe = Recipe.model_validate(
        {
            "windows": {"length": LENGTH, "held_out": HELD_OUT},
            "training": {
                "batch": WINDOWS, "precision": "fp32", "checkpointing": True, "device": "cpu",
                "prefix_cache": {"fill": "always", "memory_mb": 0},
            },
            "arms": {"arm": settings},
            "measures": {"memory": False, "weight_change_every": 0, "sampling": {"prompts": 0}},
        }
    )  # fmt: skip
    resolved = Plan.from_settings(recipe.arms["arm"]).resolve(model, model_map)
    device = torch.device("cpu")
    return MemoryFacts(recipe, model, {"arm": resolved}, device, "fp32", "lock-step", True, HELD_OUT)


def _row(size: str, name: str, facts: MemoryFacts, unfiled: PreTrainedModel) -> str:
    resolved, model = facts.arms["arm"], facts.model
    saved = saved_without_memory(unfiled, resolved, facts.recipe.training, LENGTH, facts.precision)
    run = run_bytes(facts, {"arm": saved}, 0)
    held = LIBRARIES + run.resident - run.base
    pages = sum(model.get_parameter(name).nbytes for name in pages_of_steps(facts, resolved))
    hidden = model.config.get_text_config().hidden_size
    rows = f"{4e6 * hidden / 1e9:.1f}" if resolved.prefix_layers else "-"
    fitting = [machine for machine in MACHINES if held + pages <= (1 - FREE_SHARE) * machine * 1e9]
    machine = f"{fitting[0]} GB" if fitting else f"above {MACHINES[-1]} GB"
    trained = resolved.trained_values / 1e6
    cells = [size, f"`{name}`", f"{trained:,.0f} M" if trained >= 1 else f"{trained:.1f} M"]
    cells += [f"{held / 1e9:.1f}", f"{pages / 1e9:.1f}", rows, machine]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="the page whose table is to be this one")
    options = parser.parse_args()
    if options.write is None:
        print(table())
        return
    before, _, rest = options.write.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    options.write.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
