"""Two processes that train one model by a changing plan under DDP: `python -m tests.integrations.two_processes FOLDER`.

Each writes its weights to `FOLDER/RANK.safetensors`.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from safetensors.torch import save_file

from frostline.integrations.transformers import PlanCallback
from tests.builders.models import tiny_model
from tests.builders.trainers import CHECKPOINTED, trainer_of

PLAN = "train: [attn.q@50%:]; at 2 thaw: [mlp.up@0]; at 4 freeze: [attn.q@-1]"
STEPS = 6


def train(folder: Path, rank: int, port: int) -> None:
    """What one process does."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in place.items()}
    model = tiny_model("gpt2", seed=rank)  # DDP gives all processes the weights of the first
    callback = PlanCallback(PLAN)
    trainer = trainer_of(
        model,
        folder / "run",
        [callback],
        max_steps=STEPS,
        per_device_train_batch_size=1,
        ddp_backend="gloo",
        lr_scheduler_type="constant",
        **CHECKPOINTED,
    )
    trainer.train()
    weights = {name: value.contiguous() for name, value in model.state_dict().items() if name != "lm_head.weight"}
    save_file(weights, folder / f"{rank}.safetensors")


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        chosen = free.getsockname()[1]
    second = os.fork()
    train(Path(sys.argv[1]), 0 if second else 1, chosen)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(second, 0)[1]) if second else 0)
