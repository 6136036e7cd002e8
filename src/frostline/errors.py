"""What Frostline says when something is wrong: one sentence with the place, what was found and what would work.

Every error that a user can cause derives from `FrostlineError`; the command line prints it and exits with 2,
the library raises it. Anything else that escapes is a defect of Frostline.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from frostline.text import one_line


class FrostlineError(Exception):
    """An error for the user: `message` says where and what was found, `hint` says what would work."""

    def __init__(self, message: str, hint: str = "") -> None:
        # One line whatever it quotes, and nothing in it acts on a terminal.
        self.message = one_line(message)
        self.hint = one_line(hint)
        super().__init__(f"{self.message} {self.hint}".strip())


class RecipeError(FrostlineError):
    """The recipe, or an override of it, cannot be understood."""


class PlanError(FrostlineError):
    """A plan does not fit the model, or contradicts itself."""


class CorpusError(FrostlineError):
    """The corpus cannot be read or is too small."""


class CacheError(FrostlineError):
    """The cache folder cannot be used."""


class ModelError(FrostlineError):
    """The model cannot be loaded or is not a causal language model with a decoder stack."""


class RunFolderError(FrostlineError):
    """The run folder exists already, is missing, or is damaged."""


class TrainingError(FrostlineError):
    """One arm cannot go on (loss not finite, out of memory); the other arms do."""


class MissingExtraError(FrostlineError):
    """An optional package is needed."""


def nearest(name: str, choices: Iterable[str], count: int = 3) -> str:
    """A phrase naming the choices closest to `name`, such as "did you mean 'attn.q'?"; empty if none is close."""
    matches = difflib.get_close_matches(name, list(choices), n=count, cutoff=0.4)
    if not matches:
        return ""
    return "did you mean " + " or ".join(f"'{match}'" for match in matches) + "?"
