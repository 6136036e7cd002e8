"""A plan in a training loop of your own: freeze by role and layer, train, prove that nothing frozen moved.

Run it with: python examples/own_training_loop.py
"""

from __future__ import annotations

import torch

import frostline

tokenizer = frostline.load_tokenizer("embedded")
model = frostline.load_model("embedded")  # or AutoModelForCausalLM.from_pretrained(...)

applied = frostline.Plan.parse("train: [attn.qkv@50%:]").apply(model)
print(f"{applied.trained_parameters:,} of {applied.parameters:,} parameters train;", end=" ")
print(f"the {applied.prefix_layers} layers below them need no backward pass")

optimizer = torch.optim.AdamW([parameter for _, parameter in applied.trainable_parameters()], lr=2e-4)
tokens = tokenizer("The frost line is the depth to which the ground freezes in winter.", return_tensors="pt").input_ids
for step in range(5):
    loss = model(input_ids=tokens, labels=tokens).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(f"step {step}: loss {loss.item():.3f}")

check = applied.verify()
print(f"{check.checked_values:,} frozen values checked, moved: {list(check.moved) or 'none'}")
applied.release()  # split matrices become whole again: save_pretrained writes an ordinary model
