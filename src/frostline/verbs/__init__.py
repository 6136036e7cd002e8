"""What can be asked of Frostline? One function for each question; `frostline.NAME` is the same, and a command calls it.

They print nothing unless asked to by `progress`, and raise `FrostlineError` where the command line exits with 2.
"""

from frostline.verbs.corpus import read_corpus
from frostline.verbs.export import apply_patch, export_arm
from frostline.verbs.inside import inspect_model, inspect_run, inspect_target, load_model, load_tokenizer
from frostline.verbs.recipes import advise, estimate, plan, time
from frostline.verbs.runs import RunOutcome, blind, read_blind, resume, run, verify, write_report
from frostline.verbs.trainer import training_arguments
from frostline.verbs.watching import track, watch
from frostline.verbs.work import ProgressWanted

__all__ = [
    "ProgressWanted",
    "RunOutcome",
    "advise",
    "apply_patch",
    "blind",
    "estimate",
    "export_arm",
    "inspect_model",
    "inspect_run",
    "inspect_target",
    "load_model",
    "load_tokenizer",
    "plan",
    "read_blind",
    "read_corpus",
    "resume",
    "run",
    "time",
    "track",
    "training_arguments",
    "verify",
    "watch",
    "write_report",
]
