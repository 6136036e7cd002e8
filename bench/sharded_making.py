"""How much memory does a process hold while it makes an arm that it is to share with others?

    python -m bench.sharded_making [PROCESSES] [PLAN]

A model of 214 M random weights in bf16 (428 MB on disk, 856 MB in fp32), mapped from its file; as many processes on
gloo make the arm as a run does. Of each: memory of its own (`RssAnon`: pages of files do not count) before, at its
highest while the arm is made, by a look every 2 ms, and after; as multiples of the weights that train in fp32, too.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

EVERY_SECONDS = 0.002
CONFIG: dict[str, object] = {
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 16,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "vocab_size": 8192,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}


def own_memory() -> int:
    """Bytes of the process's own memory that is there now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


class Highest:
    """The most memory that was seen in the block."""

    def __enter__(self) -> Highest:
        self.bytes, self._done = own_memory(), threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.is_set():
            self.bytes = max(self.bytes, own_memory())
            time.sleep(EVERY_SECONDS)


def write_recipe(folder: Path, plan: str, processes: int) -> Path:
    """An experiment of one arm on the model, written into `folder`."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from tests.builders.experiments import VOCABULARY, write_experiment
    from tests.builders.tokenizers import word_tokenizer

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **CONFIG), dtype=torch.bfloat16)
    model.save_pretrained(folder / "model")
    word_tokenizer(VOCABULARY).save_pretrained(folder / "model")
    training = {"steps": 2, "batch": 1, "accumulation": processes, "learning_rate": 1e-4, "sharding": "full"}
    return write_experiment(folder, training=training, arms={"arm": {"train": [plan]}}, seeds=[0])


def make(recipe: Path) -> None:
    """Make the arm in this process, one of several, and print what it took."""
    from dataclasses import replace

    from frostline.arms import prepare, shared_parts
    from frostline.arms.make import make_own_arm
    from frostline.engine import give_back_freed_memory
    from frostline.launch import launched_world
    from frostline.recipe import load_recipe, variants_of

    (variant,) = variants_of(load_recipe(recipe))
    with launched_world(None) as world:
        prepared = replace(prepare(variant, recipe.parent / "cache", say=lambda sentence: None), world=world)
        with shared_parts(prepared, None) as sharing:
            before = own_memory()
            with Highest() as highest:
                arm = make_own_arm(sharing, sharing.arms["arm"], 0, 0)
            give_back_freed_memory()  # in the end, what is in use counts
            found = {"before": before, "highest": highest.bytes, "after": own_memory()}
        assert arm.shards is not None
        if world.rank == 0:
            (recipe.parent / "trained").write_text(str(4 * arm.applied.trained_parameters))
        (recipe.parent / f"found.{world.rank}").write_text(json.dumps(found))


def main(processes: int, plan: str) -> None:
    """Print a line for each process."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {processes} processes, {plan}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = write_recipe(folder, plan, processes)
        children = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        for rank in range(processes):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
            environment = {key: str(value) for key, value in place.items()}
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
            command = [sys.executable, "-m", "bench.sharded_making", "--make", str(recipe)]
            children.append(subprocess.Popen(command, env=os.environ | environment))
        codes = [child.wait() for child in children]
        assert not any(codes), codes
        trained = int((folder / "trained").read_text())
        print(f"weights that train, in fp32: {trained / 1e6:,.0f} MB")
        for rank in range(processes):
            found = json.loads((folder / f"found.{rank}").read_text())
            most, stays = found["highest"] - found["before"], found["after"] - found["before"]
            print(
                f"process {rank}: at most {most / 1e6:,.0f} MB more ({most / trained:.2f} x), "
                f"{stays / 1e6:,.0f} MB in the end"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        make(Path(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 2, sys.argv[2] if len(sys.argv) > 2 else "all")
