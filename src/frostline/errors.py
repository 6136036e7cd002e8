"""What Frostline says when something is wrong: one sentence with the place, what was found and what would work.

Every error that a user can cause derives from `FrostlineError`; the command line prints it and exits with 2,
the library raises it. Anything else that escapes is a defect of Frostline.

Whoever raises an error knows what is wrong; where it stands in the recipe is known further up, and in which file and
line at the top. So the place is gathered while the error rises, each part by who knows it:

    raise PlanError("'mlp.gate' matches nothing in the model.").at("train", 1)    # where a selector is matched
    with at("arms", name): ...                                                    # where an arm is planned
    with recipe.locating_errors(): ...                                            # where the recipe is prepared

    demo.yaml:12, key 'arms.freeze.train': 'mlp.gate' matches nothing in the model.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Self

from frostline.text import one_line, with_short_paths

Key = str | int
"""A key of a recipe, or a place in a list, counted from 0."""
LONGEST_SENTENCE = 300
"""Letters of an error from which on long paths in it are shortened; `message` keeps them whole."""
CLOSE, CLOSE_IN_SHORT = 0.5, 0.6
"""How much like a name, of a likeness of 0 to 1, a guess at it must be; and where the name is short."""
SHORT_NAME = 4
"""Letters up to which a name is short: two that it shares by chance are half of it."""
MUCH_FURTHER = 0.2
"""A name that is less like what was written than the closest one, by so much of a likeness of 0 to 1, is no guess."""


class FrostlineError(Exception):
    """An error for the user: `message` says what was found, `hint` what would work, and `where` the place."""

    def __init__(self, message: str, hint: str = "") -> None:
        # One line whatever it quotes, and nothing in it acts on a terminal.
        self.message = one_line(message)
        self.hint = one_line(hint)
        self.keys: tuple[Key, ...] = ()
        """Path to the key at fault, as far as the error has risen."""
        self.place = ""
        """File, line and key, or the override on the command line; empty until a recipe has told it."""
        self.context: tuple[str, ...] = ()
        """What was being done, such as 'vary corpus.tokens=4000', the widest first."""
        super().__init__(self.message, self.hint)

    def __reduce__(self) -> tuple[Callable[..., FrostlineError], tuple[object, ...]]:
        """Another process gets it as it is, whatever the subclass is made from."""
        return _as_it_was, (type(self), vars(self))

    def at(self, *keys: Key) -> Self:
        """The same error, at `keys`: they come before those that are known already."""
        self.keys = (*keys, *self.keys)
        return self

    def during(self, phrase: str) -> Self:
        """The same error, met while doing what `phrase` says."""
        self.context = (one_line(phrase), *self.context)
        return self

    @property
    def where(self) -> str:
        """The place in words, as far as it is known; empty where nothing is."""
        place, context = one_line(self.place or dotted(self.keys)), ", ".join(self.context)
        return f"{place} ({context})" if place and context else place or context

    def __str__(self) -> str:
        sentence = f"{self.message} {self.hint}".strip()
        sentence = f"{self.where}: {sentence}" if self.where else sentence
        return sentence if len(sentence) <= LONGEST_SENTENCE else with_short_paths(sentence)


def _as_it_was(kind: type[FrostlineError], own: dict[str, object]) -> FrostlineError:
    error = kind.__new__(kind)
    vars(error).update(own)
    error.args = (error.message, error.hint)
    return error


@contextmanager
def at(*keys: Key) -> Iterator[None]:
    """Errors raised in the block are errors at `keys`; see `FrostlineError.at`."""
    try:
        yield
    except FrostlineError as error:
        error.at(*keys)
        raise


def dotted(keys: Iterable[Key]) -> str:
    """`arms.freeze.train`: a path of keys as it is written. A last place in a list is left out: the line tells it."""
    words = list(keys)
    while words and isinstance(words[-1], int):
        words.pop()
    return ".".join(str(word) for word in words)


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


class ModelChangedError(ModelError):
    """A file of the model was changed while a run was reading it: everything that is computed from it is in doubt."""


class RunFolderError(FrostlineError):
    """The run folder exists already, is missing, or is damaged."""


class TrainingError(FrostlineError):
    """One arm cannot go on (loss not finite, out of memory); the other arms do."""


class DivergedError(TrainingError):
    """Loss or gradient are not finite any more: the learning rate is too high for the arm."""


class TogetherError(FrostlineError):
    """Several processes cannot compute arms together any more: it is not the arm's trouble, and ends the run."""


class ProcessLostError(TogetherError):
    """A process that computes arms together with this one has gone, or does not answer."""


class MemoryRanOutError(TogetherError):
    """One of the processes that hold an arm together has no memory left, and the others wait for it."""

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            "Go on from the last checkpoint with 'frostline resume' where more memory is free; or begin anew with a "
            "smaller training.batch and more training.accumulation, or with more processes.",
        )


class ProcessesDifferError(TogetherError):
    """The processes do not have, or did not compute, the same."""


class ToldError(FrostlineError):
    """Something went wrong in what several processes did together: all know of it, and rank 0 decides what follows."""


class MissingExtraError(FrostlineError):
    """An optional package is needed."""


def nearest(name: str, choices: Iterable[str], count: int = 3) -> str:
    """A sentence naming the choices closest to `name`, such as "Did you mean 'attn.q'?"; empty if none is close.

    What is much further from it than the closest one is not named.
    """
    cutoff = CLOSE_IN_SHORT if len(name) <= SHORT_NAME else CLOSE
    matches = difflib.get_close_matches(name, list(choices), n=count, cutoff=cutoff)
    likeness = [difflib.SequenceMatcher(None, match, name).ratio() for match in matches]
    near = [match for match, own in zip(matches, likeness, strict=True) if own >= likeness[0] - MUCH_FURTHER]
    if not near:
        return ""
    return "Did you mean " + " or ".join(f"'{match}'" for match in near) + "?"
