"""Frostline: which weights should I train, and which can I leave frozen?

A controlled experiment for fine-tuning causal language models. Importing the package is light: torch and
transformers load on first use.

    >>> plan = frostline.Plan.parse("train: [attn.qkv@50%:]")   # in your own loop, or with a Trainer
    >>> run = frostline.open_run("runs/demo")                   # a finished experiment, as data frames
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from frostline.errors import FrostlineError

if TYPE_CHECKING:
    from frostline.advisor import inspect_model as inspect_model
    from frostline.advisor import inspect_run as inspect_run
    from frostline.plans import Plan as Plan
    from frostline.recipe import Recipe as Recipe
    from frostline.recipe import load_recipe as load_recipe
    from frostline.report import open_run as open_run

__version__ = version("frostline")

_HOMES = {
    "Plan": "frostline.plans",
    "Recipe": "frostline.recipe",
    "load_recipe": "frostline.recipe",
    "inspect_model": "frostline.advisor",
    "inspect_run": "frostline.advisor",
    "open_run": "frostline.report",
}
__all__ = [
    "FrostlineError", "Plan", "Recipe", "__version__", "inspect_model", "inspect_run", "load_recipe", "open_run",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'frostline' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
