"""Stored prefixes in a training loop of your own: what the frozen layers give for a window is computed once.

Run it with: python examples/stored_prefixes.py
"""

from __future__ import annotations

import time

import torch

import frostline

tokenizer = frostline.load_tokenizer("embedded")
model = frostline.load_model("embedded")  # or AutoModelForCausalLM.from_pretrained(...)
applied = frostline.Plan.parse("train: [all@-4:]").apply(model)
rows = frostline.prefix_rows(applied)

optimizer = torch.optim.AdamW([parameter for _, parameter in applied.trainable_parameters()], lr=5e-5)
text = "The frost line is the depth to which the ground freezes in winter. " * 16
windows = tokenizer(text, return_tensors="pt").input_ids[0, :192].view(3, 1, 64)
for epoch in range(2):
    started = time.perf_counter()
    for input_ids in windows:
        with rows.of(input_ids):  # the layers below the frost line answer with what they gave before
            loss = model(input_ids=input_ids, labels=input_ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print(f"epoch {epoch}: {time.perf_counter() - started:.2f} s, loss {loss.item():.3f}", end=", ")
    print(f"rows computed: {rows.computed}, found: {rows.found}")

print(f"moved: {list(applied.verify().moved) or 'none'}")
