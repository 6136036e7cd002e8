"""A plan that changes over time, in a loop with Accelerate: one optimizer for all phases, two batches a step.

Run it with: python examples/in_accelerate.py   (needs: pip install accelerate)
"""

from __future__ import annotations

import torch
from accelerate import Accelerator

import frostline

tokenizer = frostline.load_tokenizer("embedded")
model = frostline.load_model("embedded")  # or AutoModelForCausalLM.from_pretrained(...)
tokens = tokenizer("The frost line is the depth to which the ground freezes in winter.", return_tensors="pt").input_ids

applied = frostline.Plan.parse("train: [attn.qkv@50%:]; at 1 freeze: [attn.k]").apply(model)
optimizer = torch.optim.AdamW([parameter for _, parameter in applied.open_all_phases()], lr=2e-4)
accelerator = Accelerator(gradient_accumulation_steps=2)
prepared, optimizer = accelerator.prepare(model, optimizer)
for batch in range(4):
    if batch % 2 == 0:  # a step of the optimizer begins
        change = applied.advance(batch // 2)
        for parameter in change.frozen_parameters if change else ():
            optimizer.state.pop(parameter, None)
    with accelerator.accumulate(prepared):
        accelerator.backward(prepared(input_ids=tokens, labels=tokens).loss)
        optimizer.step()
        optimizer.zero_grad()
check = applied.verify()
print(f"{check.checked_values:,} frozen values checked, moved: {list(check.moved) or 'none'}")
