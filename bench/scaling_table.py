"""What travels between devices in a step of an 8B model, what does it cost, and what do 1,000 runs cost to hand out?

    python -m bench.scaling_table                             # prints the tables of docs/scaling.md
    python -m bench.scaling_table --write docs/scaling.md     # puts them there
    python -m bench.scaling_table --between 12e9              # on a network of 100 Gb/s

On paper: weights that train and floating-point operations are the product's own counts for the shape of Llama-3.1-8B;
everything else is an argument, and its help says where the default is from.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, get_type_hints

from transformers import AutoModelForCausalLM, PreTrainedModel

from bench.fits_table import as_filed, model_without_memory
from bench.shapes import configuration
from frostline.arms import needed_flops, trained_values
from frostline.arms.disk import JOURNAL_BYTES_OF_A_NORM, JOURNAL_BYTES_OF_A_STEP
from frostline.arms.fits import arm_bytes
from frostline.plans import ModelMap, Plan, map_untouched, places_of, plan_cost
from frostline.recipe import Recipe

SIZE = "8B"
PLANS: dict[str, dict[str, object]] = {
    "all": {"train": ["all"]},
    "all@-4:": {"train": ["all@-4:"]},
    "LoRA": {"lora": {"rank": 8}},
}
SHARDED = "all"
"""The plan that does not fit one device: FSDP2. The others exchange gradients in the order of the parts."""
DEVICES = (1, 2, 8, 64)
BUCKET_BYTES = 64 << 20
"""Gradients that travel at once."""
FP32_BYTES = 4
MATRICES_OF_A_LAYER = 4
"""Watched by default: those of attention."""
UNIT_SECONDS = (60, 3600)
TORCHTITAN = ((8, 5_762), (128, 5_605))
"""Tokens a second on each of so many H100: full training of Llama-3.1-8B by FSDP2, without compilation."""
TORCHTITAN_WINDOWS, TORCHTITAN_LENGTH = 2, 8_192
BEGIN, END = "<!-- bench.scaling_table {} -->", "<!-- end {} -->"


@dataclass(frozen=True)
class Assumptions:
    """What is assumed, with its meaning and where the default is from."""

    flops: Annotated[float, "bf16 products a second of one device, dense (NVIDIA H100 SXM, data sheet)"] = 989e12
    share: Annotated[
        float, "share of them that is reached (torchtitan, Llama-3.1-8B on 8 and on 128 H100: 33 to 39 %)"
    ] = 0.35
    inside: Annotated[
        float, "bytes a second out of each device inside a machine (NVLink 4 by NCCL: NVIDIA/nccl-tests#212)"
    ] = 370e9
    between: Annotated[
        float, "bytes a second out of each device to other machines (400 Gb/s each: NVIDIA/nccl-tests#290)"
    ] = 46e9
    gather_between: Annotated[
        float, "bytes a second of an all-gather across machines (256 H100, 2 GB: NVIDIA/nccl#1218)"
    ] = 200e9
    pcie: Annotated[float, "bytes a second out of each of two devices without NVLink (PCIe 5: NVIDIA/nccl#1639)"] = 35e9
    latency: Annotated[
        float, "seconds before a collective moves anything (16 devices of two machines: NVIDIA/nccl#1244)"
    ] = 50e-6
    machine_devices: Annotated[int, "devices of a machine"] = 8
    windows: Annotated[int, "windows of a part"] = 2
    length: Annotated[int, "tokens of a window"] = 2_048
    parts: Annotated[int, "parts of a step (training.accumulation)"] = 64
    gathered: Annotated[int, "bytes of a weight that FSDP2 gathers, in the forward and in the backward pass (bf16)"] = 2
    reduced: Annotated[int, "bytes of a weight's gradient that FSDP2 reduces (fp32)"] = 4
    units: Annotated[int, "runs of one seed each"] = 1_000
    machines: Annotated[int, "machines among which they are handed out"] = 100
    start: Annotated[
        float,
        "seconds of a unit before its first step, beside reading weights (assumed)",
    ] = 17.0
    step_seconds: Annotated[float, "seconds of a step of one arm"] = 0.5
    disk: Annotated[float, "bytes a second that a shared disk gives to all machines together (assumed)"] = 5e9
    handed_out: Annotated[
        float, "tasks a second that a driver hands out (Ray 2.20, release log many_tasks: 10,000 tasks on 2,500 cores)"
    ] = 580.0
    taken: Annotated[float, "bytes a second of journals that a run takes from the store (assumed)"] = 10e6

    @property
    def tokens(self) -> int:
        """Tokens of a part."""
        return self.windows * self.length

    def rate_of_gather(self, devices: int) -> float:
        """Bytes a second out of each device in an all-gather or a reduce-scatter."""
        return self.inside if devices <= self.machine_devices else min(self.inside, self.gather_between)

    def seconds_of_all_to_all(self, sent: float, devices: int) -> float:
        """Of `sent` bytes a device: pieces for other machines leave by its own link to them."""
        outside = max(0, devices - self.machine_devices) / max(1, devices - 1)
        return max(sent * (1 - outside) / self.inside, sent * outside / self.between)


TOLD = {name: str(hint.__metadata__[0]) for name, hint in get_type_hints(Assumptions, include_extras=True).items()}
"""What each of them means, and where the default is from."""


@dataclass(frozen=True)
class Step:
    """A step of one plan on a number of devices."""

    sent: float
    """Bytes out of each device."""
    computing: float
    travelling: float
    seconds: float


@dataclass(frozen=True)
class Facts:
    """What the product counts of a plan."""

    trained: int
    flops: float
    """Needed by one part, its prefix stored."""
    held: int
    """Bytes that an arm holds of what trains: values, gradients, moments."""
    layers: int
    sharded: bool


def _narrow() -> PreTrainedModel:
    """A model of the same family that can run: what stands behind what is asked of it."""
    config = configuration("135M")
    config.update({"num_hidden_layers": 1, "hidden_size": 72, "intermediate_size": 96, "vocab_size": 64})
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model


def facts_of(model_map: ModelMap, model: PreTrainedModel, name: str, assumed: Assumptions) -> Facts:
    """What the product counts of the plan `name`."""
    recipe = Recipe.model_validate(
        {"arms": {"arm": PLANS[name]}, "windows": {"length": assumed.length}, "measures": {"weight_change_every": 0}}
    )
    resolved = Plan.from_settings(recipe.arms["arm"]).resolve(model, model_map)
    places = places_of(model, resolved, _narrow())
    cost = plan_cost(model, resolved, assumed.tokens, sequence_length=assumed.length, places=places)
    flops = needed_flops(cost, stores_prefix=resolved.prefix_layers > 0)
    return Facts(trained_values(resolved), flops, arm_bytes(recipe, resolved), resolved.layers, name == SHARDED)


def step_of(facts: Facts, devices: int, assumed: Assumptions) -> Step:
    """A step of `assumed.parts` parts on so many devices."""
    rounds = math.ceil(assumed.parts / devices)
    computing = rounds * facts.flops / (assumed.flops * assumed.share)
    if devices == 1:
        return Step(0.0, computing, 0.0, computing)
    others = (devices - 1) / devices
    if facts.sharded:
        sent = rounds * (2 * assumed.gathered + assumed.reduced) * facts.trained * others
        collectives = rounds * 3 * (facts.layers + 1)
        travelling = sent / assumed.rate_of_gather(devices) + collectives * assumed.latency
        return Step(
            sent, computing, travelling, max(computing, travelling)
        )  # one layer's travels beside another's work
    size = FP32_BYTES * facts.trained * others
    buckets = math.ceil(FP32_BYTES * facts.trained / BUCKET_BYTES)
    one_round = assumed.seconds_of_all_to_all(size, devices) + buckets * assumed.latency
    gather = size / assumed.rate_of_gather(devices) + buckets * assumed.latency
    travelling = rounds * one_round + gather
    return Step((rounds + 1) * size, computing, travelling, computing + travelling)


def devices_table(assumed: Assumptions) -> str:
    """Bytes and time of a step by plan and number of devices, and what follows."""
    model = as_filed(model_without_memory(SIZE))
    model_map = map_untouched(model)
    plans = {name: facts_of(model_map, model, name, assumed) for name in PLANS}
    lines = [
        "| plan | devices | out of each device, GB a step | computing, s | travelling, s | step, s | "
        "times as fast as one | held of what trains, GB a device |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(line for name, facts in plans.items() for line in _rows(name, facts, assumed)),
        "",
        f"Two devices by PCIe, without NVLink: {_by_pcie(plans, assumed)}.",
        "",
        _saturation(plans, assumed),
        "",
        _check(model_map, model, assumed),
    ]
    return "\n".join(lines)


def _rows(name: str, facts: Facts, assumed: Assumptions) -> Iterator[str]:
    one = step_of(facts, 1, assumed)
    for devices in DEVICES:
        if facts.sharded and devices == 1:
            continue  # it does not fit
        step = step_of(facts, devices, assumed)
        held = facts.held / (devices if facts.sharded else 1)
        cells = [
            f"`{name}`{', sharded' if facts.sharded else ''}", str(devices), _gigabytes(step.sent),
            f"{step.computing:.2f}", f"{step.travelling:.3f}", f"{step.seconds:.2f}",
            f"{one.seconds / step.seconds:.1f}", _gigabytes(held),
        ]  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def _by_pcie(plans: dict[str, Facts], assumed: Assumptions) -> str:
    slower = replace(assumed, inside=assumed.pcie)
    told = []
    for name, facts in plans.items():
        one, two = step_of(facts, 1, slower), step_of(facts, 2, slower)
        told.append(f"`{name}` {one.seconds / two.seconds:.1f} times as fast as one")
    return ", ".join(told)


def _saturation(plans: dict[str, Facts], assumed: Assumptions) -> str:
    """Tokens of a part at which a tenth of a step is travel: what is computed grows with them, that does not."""
    told = []
    for name, facts in plans.items():
        for devices in DEVICES[2:]:
            step = step_of(facts, devices, assumed)
            share = 1.0 if facts.sharded else 9.0
            tokens = share * assumed.tokens * step.travelling / step.computing
            told.append(f"`{name}` on {devices}: {math.ceil(tokens / 100) * 100:,}")
    return (
        "What travels does not grow with the tokens of a part, what is computed does. Tokens of a part from which nine "
        f"tenths of a step are computing (of `{SHARDED}`, from which the travel is hidden): {'; '.join(told)}."
    )


def _check(model_map: ModelMap, model: PreTrainedModel, assumed: Assumptions) -> str:
    told = []
    for devices, measured in TORCHTITAN:
        theirs = replace(assumed, parts=devices, windows=TORCHTITAN_WINDOWS, length=TORCHTITAN_LENGTH)
        step = step_of(facts_of(model_map, model, SHARDED, theirs), devices, theirs)
        told.append(f"{theirs.tokens / step.seconds:,.0f} on each of {devices} (measured: {measured:,})")
    return (
        f"The same arithmetic for full training with {TORCHTITAN_WINDOWS} windows of {TORCHTITAN_LENGTH:,} tokens a "
        f"device, which torchtitan has measured, gives tokens a second: {' and '.join(told)}."
    )


def units_table(assumed: Assumptions) -> str:
    """What handing out many runs takes, and what the driver reads and writes."""
    model = as_filed(model_without_memory(SIZE))
    layers = map_untouched(model).layers
    weights = sum(value.nbytes for value in model.parameters())
    of_a_step = JOURNAL_BYTES_OF_A_STEP + JOURNAL_BYTES_OF_A_NORM * MATRICES_OF_A_LAYER * layers
    reading = assumed.machines * weights / assumed.disk
    turns = math.ceil(assumed.units / assumed.machines)
    lines = [
        "| a unit takes | turns | whole, minutes | of it waiting for starts and weights | as much as "
        "| journal of a unit, MB | read and written by the driver at the end, GB | minutes for that |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for seconds in UNIT_SECONDS:
        whole = turns * (seconds + assumed.start) + reading + assumed.units / assumed.handed_out
        journal = of_a_step * seconds / assumed.step_seconds
        at_the_end = assumed.units * journal
        cells = [
            f"{seconds // 60} min" if seconds < 3600 else f"{seconds // 3600} h", str(turns), f"{whole / 60:,.0f}",
            f"{1 - turns * seconds / whole:.0%}", f"{assumed.units * seconds / whole:.0f} machines",
            f"{journal / 1e6:,.2f}", f"{at_the_end / 1e9:,.2f}", f"{at_the_end / assumed.taken / 60:,.1f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"{assumed.units:,} units on {assumed.machines} machines. Handing them out takes "
        f"{assumed.units / assumed.handed_out:.1f} s; every machine reads the weights ({weights / 1e9:.1f} GB) from "
        f"the shared disk once, which takes {reading / 60:.1f} minutes, and has them in its page cache then.",
    ]
    return "\n".join(lines)


def assumptions_table(assumed: Assumptions) -> str:
    """What is assumed, as lines."""
    lines = []
    for own in fields(assumed):
        name, value = own.name.replace("_", "-"), f"{getattr(assumed, own.name):g}".replace("e+", "e")
        lines.append(f"- `--{name} {value}`: {TOLD[own.name]}")
    return "\n".join(lines)


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.2f}" if size >= 1e7 else f"{size / 1e9:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="the page whose tables are to be these")
    for own in fields(Assumptions):
        kind = int if isinstance(own.default, int) else float
        parser.add_argument(
            f"--{own.name.replace('_', '-')}", type=kind, default=own.default, help=TOLD[own.name].replace("%", "%%")
        )
    options = vars(parser.parse_args())
    page = options.pop("write")
    assumed = Assumptions(**options)
    tables = {"assumptions": assumptions_table(assumed)}
    tables |= {"devices": devices_table(assumed), "units": units_table(assumed)}
    if page is None:
        print("\n\n".join(tables.values()))
        return
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        before, _, rest = text.partition(BEGIN.format(name))
        after = rest.partition(END.format(name))[2]
        text = f"{before}{BEGIN.format(name)}\n{table}\n{END.format(name)}{after}"
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
