"""A whole experiment from Python: train the upper half alone, and everything, and ask what that cost.

Run it with: python examples/own_experiment.py
"""

from __future__ import annotations

import frostline

outcome = frostline.run(
    {
        "name": "upper-half",
        "model": {"source": "embedded"},
        "corpus": {"source": "embedded"},
        "windows": {"length": 64, "held_out": 4},
        "training": {"steps": 4, "batch": 1, "learning_rate": 2e-4},
        "arms": {"full": {"train": "all"}, "upper": {"train": ["all@50%:"]}},
        "measures": {"sampling": {"prompts": 0}, "memory": False},
    },
    resume="auto",
    progress=True,
)
print(outcome.run.losses().group_by("arm", maintain_order=True).tail(1).select("arm", "step", "loss_nats"))
print(f"Report: {outcome.report}")
