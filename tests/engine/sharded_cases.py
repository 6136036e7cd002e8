"""Arms that several processes hold together: `python -m tests.engine.sharded_cases FOLDER PROCESSES CASE ...`.

Process 0 writes what came of each case to `FOLDER/CASE.json`, and its weights to `FOLDER/CASE.safetensors`.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from frostline.corpus import Batch
from frostline.engine import Arm
from frostline.engine.filed_weights import cast_up_in_use, may_stay_as_filed
from frostline.engine.sharded_checkpoint import whole_weights
from frostline.engine.sharding import shard_arm
from frostline.plans import Plan
from frostline.recipe import TrainingSettings
from tests.builders.batches import random_batch, uneven_batch
from tests.builders.engines import make_fast_arm, make_plain_arm
from tests.builders.models import tiny_model

MANY = "FROSTLINE_SHARDED" in os.environ
"""Whether all cases are tried, and not a few."""
STEPS = 20 if MANY else 13
"""The last change of a plan is at step 12."""
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """An arm, and how it trains."""

    family: str
    plan: str
    precision: str = "fp32"
    engine: str = "fast"
    steps: int = STEPS
    rows: int = 4
    uneven: bool = False
    training: dict[str, object] = field(default_factory=dict)
    model: dict[str, object] = field(default_factory=dict)
    filed: bool = False
    """Whether the untouched model is held as a file in bf16 has it."""

    def batch(self, step: int) -> Batch:
        """The windows of a step; those of every third come back."""
        if self.uneven:
            return uneven_batch([5 + (step + 3 * row) % 8 for row in range(self.rows)])
        return random_batch(step % 3, rows=self.rows)

    def base(self) -> PreTrainedModel:
        """The untouched model."""
        model = tiny_model(self.family, **self.model)  # type: ignore[arg-type]  # settings of a family
        if self.filed:
            for module in filter(may_stay_as_filed, model.modules()):
                matrix = module.get_parameter("weight")
                matrix.data = matrix.data.to(torch.bfloat16)
            cast_up_in_use(model)
        return model

    def arm(self, base: PreTrainedModel | None = None, *, for_shards: bool = False) -> Arm:
        """The arm at its first step, whole in this process, or ready to be sharded."""
        base = self.base() if base is None else base
        settings = TrainingSettings.model_validate(
            {"steps": 30, "learning_rate": 1e-3, "accumulation": 2, **self.training}
        )
        plan = Plan.parse(self.plan)
        if self.engine == "reference":
            arm = make_plain_arm(base, plan, settings, precision=self.precision)
        else:
            arm = make_fast_arm(base, plan, settings, precision=self.precision, for_shards=for_shards)
        arm.learning_rate = 1e-3
        return arm


GRADUAL = "train: [attn@-1:]; at 4 thaw: [mlp@-2:]; at 8 thaw: [attn@-3:]; at 12 freeze: [attn@-1]"
CASES: dict[str, Case] = {
    "full": Case("llama", "train: all", model={"tie_word_embeddings": False}),
    "tied": Case("gpt2", "train: all"),
    "suffix": Case("llama", "train: [all@-2:]"),
    "suffix-bf16": Case("llama", "train: [all@-2:]", "bf16"),
    "full-bf16": Case("qwen3", "train: all", "bf16"),
    "split": Case("gpt2", "train: [attn.qkv@50%:]"),
    "split-part": Case("gpt2", "train: [attn.q@50%:]", "bf16"),
    "split-phi3": Case("phi3", "train: [attn.v@50%:]"),
    "lora": Case("llama", "lora: rank 2, targets [attn.q@-2:, mlp.down@-2:]"),
    "gradual": Case("llama", GRADUAL),
    "gradual-bf16": Case("gpt2", GRADUAL, "bf16"),
    "narrowing": Case("gpt2", "train: [all@:2]; at 5 freeze: [all@:1]; at 9 freeze: [mlp@1]"),
    "head": Case("llama", "train: [head, norm@-1:]", model={"tie_word_embeddings": False}),
    "head-alone": Case("llama", "train: [head]", model={"tie_word_embeddings": False}),
    "soft-cap": Case("gemma2", "train: all"),
    "checkpointing": Case("llama", "train: [all@-2:]", training={"checkpointing": True}),
    "checkpointing-bf16": Case("gpt2", "train: [attn.qkv@50%:]", "bf16", training={"checkpointing": True}),
    "reference": Case("llama", "train: [all@-2:]", engine="reference"),
    "many-parts": Case("llama", "train: [all@-2:]", training={"accumulation": 4}),
    "odd-parts": Case("llama", "train: [all@-2:]", rows=3, training={"accumulation": 3}),
    "one-part": Case("llama", "train: [all@-2:]", training={"accumulation": 1}),
    "uneven": Case("llama", "train: [all@-2:]", uneven=True, training={"accumulation": 4}),
    "unclipped": Case("llama", "train: all", training={"gradient_clipping": None, "accumulation": 4}),
    "dropout": Case("gpt2", "train: [all@-2:]", model={"resid_pdrop": 0.2, "attn_pdrop": 0.2}),
    "experts": Case("mixtral", "train: [all@-2:]"),
    "odd-sizes": Case("gpt2", "train: all", model={"n_embd": 20}),
    "rows": Case("llama", "train: [embed[5:20]]"),
    "filed": Case("llama", "train: all", filed=True),
    "filed-bf16": Case("llama", GRADUAL, "bf16", filed=True),
    "filed-split": Case("gpt2", "train: [attn.q@50%:, embed[5:20]]", filed=True),
    "filed-split-bf16": Case("phi3", "train: [attn.v@50%:, mlp.up@-1]", "bf16", filed=True),
    "filed-lora": Case("llama", "lora: rank 2, targets [attn.q@-2:, mlp.down@-2:]", filed=True),
}
FEW = ("full", "suffix-bf16", "split", "lora", "gradual", "head", "odd-parts", "odd-sizes", "filed", "filed-split-bf16")
"""Those that are always tried."""


def tried(*names: str) -> tuple[str, ...]:
    """Those of `names` that are tried this time."""
    return tuple(name for name in names if MANY or name in FEW)


def taken(arm: Arm, case: Case) -> dict[str, object]:
    """What the steps gave."""
    outcomes = [arm.take_step(case.batch(step), step) for step in range(case.steps)]
    return {
        "losses": [outcome.loss_nats for outcome in outcomes],
        "norms": [outcome.gradient_norm for outcome in outcomes],
        "changed": [
            None if o.plan_step is None else [list(o.plan_step.thawed), list(o.plan_step.frozen)] for o in outcomes
        ],
        "trained": arm.applied.trained_parameters,
        "parameters": arm.applied.parameters,
    }


def whole_weights_of(arm: Arm, case: Case) -> dict[str, Tensor]:
    """What trained, whole, in the leading process."""
    if arm.shards is None:
        named = arm.applied.trained_until(case.steps)
        return {name: own.detach().clone().contiguous() for name, own in named}
    state = whole_weights(arm, case.steps)
    return {} if state is None else {name: own.contiguous() for name, own in state.weights.items()}


def train_sharded(case: Case, folder: Path, name: str) -> None:
    """Train the case with all processes; the first writes what came of it."""
    arm = case.arm(for_shards=True)
    shards = shard_arm(arm, group())
    found = taken(arm, case)
    check = shards.verify()
    found |= {
        "moved": list(check.moved),
        "held": sum(own.numel() for _, own in arm.applied.trainable_parameters()),
        "lowest": shards.lowest,
    }
    weights = whole_weights_of(arm, case)
    if dist.get_rank() == 0:
        save_file(weights, folder / f"{name}.safetensors")
        (folder / f"{name}.json").write_text(json.dumps(found))


def group() -> dist.ProcessGroup:
    """All processes."""
    found = dist.group.WORLD
    assert found is not None
    return found


def run(size: int, do: Callable[[], None]) -> int:
    """`do` in `size` processes that reach one another; exit status 0 where all of them got to its end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    children: list[int] = []
    rank = 0
    for number in range(1, size):
        child = os.fork()
        if child == 0:
            rank, children = number, []
            break
        children.append(child)
    status = 0
    try:
        dist.init_process_group("gloo", rank=rank, world_size=size, timeout=timedelta(seconds=60))
        do()
        dist.destroy_process_group()
    except BaseException:  # noqa: BLE001  # a child must never return into what forked it
        traceback.print_exc()
        status = 1
    if rank:
        sys.stderr.flush()
        os._exit(status)
    return max([status, *(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)])


def main(folder: Path, size: int, names: list[str]) -> int:
    """Train the cases called `names` in `size` processes."""

    def every() -> None:
        for name in names:
            train_sharded(CASES[name], folder, name)

    return run(size, every)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
