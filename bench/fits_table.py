"""How large a model can be trained in how much memory? A table by arithmetic: no weights are needed.

    python -m bench.fits_table                                  # prints the table of docs/large-models.md
    python -m bench.fits_table --write docs/large-models.md     # puts it there

The byte counts are those of `frostline estimate`; what a layer keeps for its backward pass is counted on torch's meta
device, where tensors have sizes and no memory.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from bench.shapes import configuration
from frostline.arms import PlannedArm, Prepared, pages_of_steps, run_bytes
from frostline.plans import ModelMap, Plan, ResolvedPlan, decoder_stack, map_untouched
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


class _Corpus:
    held_out_windows = HELD_OUT


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
    model = model_as_filed(size)
    model_map = map_untouched(model)
    return [_row(size, name, prepared_for(model, model_map, settings)) for name, settings in PLANS.items()]


def model_as_filed(size: str) -> PreTrainedModel:
    """The model of a shape without memory, its matrices of the type of a bf16 file."""
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(configuration(size))
    for value in model.parameters():
        if value.ndim == 2:
            value.data = value.data.to(torch.bfloat16)
    return model


def prepared_for(model: PreTrainedModel, model_map: ModelMap, settings: dict[str, object]) -> Prepared:
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
    plan = Plan.from_settings(recipe.arms["arm"])
    resolved = plan.resolve(model, model_map)
    nothing: Any = None  # what no count of bytes asks for
    corpus: Any = _Corpus()
    return Prepared(
        variant="", recipe=recipe, model=model, identity=nothing, tokenizer=nothing, corpus=corpus, retention=None,
        arms={"arm": PlannedArm("arm", plan, resolved, nothing, 1e-4, 0.0, recipe.training.steps)},
        device=torch.device("cpu"), precision="fp32", schedule="lock-step",
    )  # fmt: skip


def _row(size: str, name: str, prepared: Prepared) -> str:
    resolved = prepared.arms["arm"].resolved
    run = run_bytes(prepared, {"arm": saved_with_checkpointing(prepared.model, resolved)}, 0)
    held = LIBRARIES + run.resident - run.base
    pages = sum(prepared.model.get_parameter(name).nbytes for name in pages_of_steps(prepared, resolved))
    hidden = prepared.model.config.get_text_config().hidden_size
    rows = f"{4e6 * hidden / 1e9:.1f}" if resolved.prefix_layers else "-"
    fitting = [machine for machine in MACHINES if held + pages <= (1 - FREE_SHARE) * machine * 1e9]
    machine = f"{fitting[0]} GB" if fitting else f"above {MACHINES[-1]} GB"
    trained = resolved.trained_values / 1e6
    cells = [size, f"`{name}`", f"{trained:,.0f} M" if trained >= 1 else f"{trained:.1f} M"]
    cells += [f"{held / 1e9:.1f}", f"{pages / 1e9:.1f}", rows, machine]
    return f"| {' | '.join(cells)} |"


def saved_with_checkpointing(model: PreTrainedModel, resolved: ResolvedPlan) -> int:
    """What a step keeps for its backward pass: a hidden state of each layer, and all of one that is computed again."""
    one, two = (_saved(model, resolved, layers) for layers in (1, 2))
    hidden: int = 4 * WINDOWS * LENGTH * model.config.get_text_config().hidden_size
    return (resolved.layers - resolved.prefix_layers) * hidden + two - one


def _saved(model: PreTrainedModel, resolved: ResolvedPlan, layers: int) -> int:
    """Bytes that the forward pass of the top layers keeps, in which what trains in the topmost one trains."""
    path, stack = decoder_stack(model)
    top = f"{path}.{len(stack) - 1}."
    portions = resolved.targets if resolved.lora is not None else tuple(resolved.trained.values())
    trained = {portion.parameter.removeprefix(top) for portion in portions if portion.layer == len(stack) - 1}
    config = type(model.config)(**{**model.config.to_dict(), "num_hidden_layers": layers})
    with torch.device("meta"):
        short: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    path, stack = decoder_stack(short)
    for name, value in short.named_parameters():
        value.requires_grad_(name.startswith(path) and name.removeprefix(f"{path}.").partition(".")[2] in trained)
    kept: dict[int, Tensor] = {}
    weights = {value.untyped_storage()._cdata for value in short.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    hidden = torch.zeros((WINDOWS, LENGTH, config.hidden_size), device="meta", requires_grad=True)
    mask = torch.zeros((WINDOWS, 1, LENGTH, LENGTH), device="meta")  # without one the values of positions are looked at
    body: nn.Module = short.get_decoder()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        body(inputs_embeds=hidden, attention_mask=mask, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights)


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
