"""The script that a user of transformers.Trainer would write: load, freeze, train, and print how long steps took.

`python -m bench.plain_trainer SETUP.json` reads the model's folder, a file with the windows, the names of what trains,
batch and epochs; it imports nothing of Frostline.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments


class Clock(TrainerCallback):
    """Adds up what steps take."""

    wall = cpu = 0.0

    def on_step_begin(self, *_: object, **__: object) -> None:
        self.began = time.perf_counter(), time.process_time()

    def on_step_end(self, *_: object, **__: object) -> None:
        self.wall += time.perf_counter() - self.began[0]
        self.cpu += time.process_time() - self.began[1]


def main() -> None:
    setup = json.loads(Path(sys.argv[1]).read_text())
    model = AutoModelForCausalLM.from_pretrained(setup["model"], dtype=torch.float32)
    trained = set(setup["trained"])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
    windows = torch.from_numpy(np.load(setup["windows"]))
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            use_cpu=not torch.cuda.is_available(),
            bf16=setup["bf16"],
            per_device_train_batch_size=setup["batch"],
            num_train_epochs=setup["epochs"],
            learning_rate=1e-4,
            lr_scheduler_type="constant",
            save_strategy="no",
            report_to="none",
            logging_strategy="no",
            disable_tqdm=True,
            seed=setup["seed"],
        )
        rows = [{"input_ids": window, "labels": window} for window in windows]
        Trainer(model, arguments, train_dataset=rows, callbacks=[clock]).train()
    print(json.dumps({"wall": clock.wall, "cpu": clock.cpu}))


if __name__ == "__main__":
    main()
