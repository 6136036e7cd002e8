"""A plan in TRL's SFTTrainer: only the upper half's attention learns to answer.

Run it with: python examples/in_sft_trainer.py   (needs: pip install trl)
"""

from __future__ import annotations

import os

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # before all else: TRL tells the hub of its use otherwise

import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

import frostline

tokenizer = frostline.load_tokenizer("embedded")
model = frostline.load_model("embedded")  # or AutoModelForCausalLM.from_pretrained(...)
question = [{"role": "user", "content": "What is the frost line?"}]
answer = [{"role": "assistant", "content": "The depth to which the ground freezes in winter."}]
conversations = Dataset.from_list([{"prompt": question, "completion": answer}] * 8)

plan = frostline.Plan.parse("train: [attn.qkv@50%:]")
arguments = SFTConfig(
    "sft", max_steps=2, per_device_train_batch_size=2, bf16=torch.cuda.is_available(), save_strategy="no", report_to=[]
)
trainer = SFTTrainer(
    model, arguments, train_dataset=conversations, processing_class=tokenizer, callbacks=[plan.trainer_callback()]
)
trainer.train()
print("Frozen weights that moved: none; train() would have raised.")
