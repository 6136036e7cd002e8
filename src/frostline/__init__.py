"""Frostline: which weights should I train, and which can I leave frozen?

A controlled experiment for fine-tuning causal language models. Importing the package is light: torch and
transformers load on first use.

    >>> plan = frostline.Plan.parse("train: [attn.qkv@50%:]")     # in a training loop of your own
    >>> outcome = frostline.run("demo.yaml", progress=True)       # a whole experiment, as `frostline run` does it
    >>> frostline.open_run(outcome.folder).losses()               # a run, as data frames
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from frostline.errors import FrostlineError
from frostline.interruption import Interruption

if TYPE_CHECKING:
    from frostline.integrations import prefix_rows as prefix_rows
    from frostline.plans import Plan as Plan
    from frostline.progress import NoProgress as NoProgress
    from frostline.progress import RunProgress as RunProgress
    from frostline.recipe import Recipe as Recipe
    from frostline.recipe import copy_recipe as copy_recipe
    from frostline.recipe import load_recipe as load_recipe
    from frostline.recipe import recipe_schema as recipe_schema
    from frostline.recipe import shipped_recipes as shipped_recipes
    from frostline.report import open_run as open_run
    from frostline.verbs import advise as advise
    from frostline.verbs import apply_patch as apply_patch
    from frostline.verbs import blind as blind
    from frostline.verbs import estimate as estimate
    from frostline.verbs import export_arm as export_arm
    from frostline.verbs import inspect_model as inspect_model
    from frostline.verbs import inspect_run as inspect_run
    from frostline.verbs import load_model as load_model
    from frostline.verbs import load_tokenizer as load_tokenizer
    from frostline.verbs import plan as plan
    from frostline.verbs import read_blind as read_blind
    from frostline.verbs import read_corpus as read_corpus
    from frostline.verbs import resume as resume
    from frostline.verbs import run as run
    from frostline.verbs import time as time
    from frostline.verbs import track as track
    from frostline.verbs import training_arguments as training_arguments
    from frostline.verbs import verify as verify
    from frostline.verbs import watch as watch
    from frostline.verbs import write_report as write_report

__version__ = version("frostline")

_HOMES = {
    **dict.fromkeys(("NoProgress", "RunProgress"), "progress"),
    **dict.fromkeys(("Recipe", "copy_recipe", "load_recipe", "recipe_schema", "shipped_recipes"), "recipe"),
    "Plan": "plans",
    "open_run": "report",
    "prefix_rows": "integrations",
}
"""Rooms of what is no verb."""
__all__ = [
    "FrostlineError",
    "Interruption",
    "NoProgress",
    "Plan",
    "Recipe",
    "RunProgress",
    "__version__",
    "advise",
    "apply_patch",
    "blind",
    "copy_recipe",
    "estimate",
    "export_arm",
    "inspect_model",
    "inspect_run",
    "load_model",
    "load_recipe",
    "load_tokenizer",
    "open_run",
    "plan",
    "prefix_rows",
    "read_blind",
    "read_corpus",
    "recipe_schema",
    "resume",
    "run",
    "shipped_recipes",
    "time",
    "track",
    "training_arguments",
    "verify",
    "watch",
    "write_report",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'frostline' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"frostline.{_HOMES.get(name, 'verbs')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
