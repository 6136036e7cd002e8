"""A plan that changes over time, in transformers' Trainer: the upper attention, and from step 1 on one MLP more.

Run it with: python examples/in_trainer.py   (needs: pip install accelerate)
"""

from __future__ import annotations

from datasets import Dataset
from transformers import Trainer, TrainingArguments

import frostline

tokenizer = frostline.load_tokenizer("embedded")
model = frostline.load_model("embedded")  # or AutoModelForCausalLM.from_pretrained(...)
tokens = tokenizer("The frost line is the depth to which the ground freezes in winter.").input_ids
windows = Dataset.from_list([{"input_ids": tokens, "labels": tokens}] * 8)

plan = frostline.Plan.parse("train: [attn.qkv@50%:]; at 1 thaw: [mlp@-1]")
arguments = TrainingArguments("trainer", max_steps=3, per_device_train_batch_size=2, save_strategy="no", report_to=[])
trainer = Trainer(model, arguments, train_dataset=windows, callbacks=[plan.trainer_callback()])
trainer.train()  # with checkpoints: trainer.train(resume_from_checkpoint=True) goes on with the same bits
print("Frozen weights that moved: none; train() would have raised.")
