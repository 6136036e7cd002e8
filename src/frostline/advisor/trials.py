"""Who computes the trials of a race? This process, one after another, or others beside one another; the order is one.

Trials that follow from one another are a course: those of one candidate in one rung, say, each at a rate that the
losses of those before it name. No course asks for anything of another, so that the next trial of each may be computed
at the same time. Whoever computes them gives them back in the order of one process, course by course: the journal does
not tell how many there were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from frostline.advisor.race import RUNGS
from frostline.advisor.trial import deciding_windows, run_trial
from frostline.arms import Prepared, facts_of, pinned, prepare, shared_parts
from frostline.corpus import Batch
from frostline.recipe import Recipe, Variant
from frostline.run_folder import TrialFinished, VariantPrepared, require_same_facts


@dataclass(frozen=True)
class TrialAsked:
    """A trial that is to be computed."""

    candidate: str
    learning_rate: float
    rung: int
    steps: int
    seed: int | None = None
    """Seed of the windows' order; None: that of the race."""


Course = Callable[[Sequence[TrialFinished]], TrialAsked | None]
"""The next trial of a course, by those of it that are computed, in their order; None where there is none."""
Compute = Callable[[Sequence[Course]], Iterator[TrialFinished]]
"""All trials of these courses, in the order in which one process computes them: course by course."""


class Trials(Protocol):
    """Computes trials of an advice."""

    def of(self, settled: Prepared) -> AbstractContextManager[Compute]:
        """What computes trials of the arms of `settled`, whose plans name the candidates."""


@dataclass(frozen=True)
class Advised:
    """What an advice is on: all that another process must know to compute the same trials."""

    folder: Path
    """Folder of the advice."""
    recipe: Recipe
    facts: VariantPrepared
    """Model, corpus, precision and device, as the advice has them."""
    steps: int
    """Steps of the last rung."""


Elsewhere = Callable[[Advised], Trials]
"""Gives the trials of an advice to others."""


@dataclass(frozen=True)
class Here:
    """Trials are computed by this process, one after another."""

    deciding: list[Batch]
    """Windows on which the race is decided."""
    cache: Path

    @contextmanager
    def of(self, settled: Prepared) -> Iterator[Compute]:
        """See `Trials.of`."""
        with shared_parts(settled, self.cache) as sharing:

            def compute(courses: Sequence[Course]) -> Iterator[TrialFinished]:
                for course in courses:
                    computed: list[TrialFinished] = []
                    while (asked := course(computed)) is not None:
                        computed.append(compute_trial(sharing, asked, self.deciding))
                        yield computed[-1]

            yield compute


def compute_trial(sharing: Prepared, asked: TrialAsked, deciding: list[Batch]) -> TrialFinished:
    """Compute one trial of the arms of `sharing`."""
    return run_trial(
        sharing,
        asked.candidate,
        asked.learning_rate,
        asked.rung,
        asked.steps,
        _windows(deciding, asked.rung),
        asked.seed,
    )


def _windows(deciding: list[Batch], rung: int) -> list[Batch]:
    """Those of the windows that decide on which a trial of `rung` is evaluated; none after the last rung."""
    if rung == 0:  # evaluating takes as long as the steps of a trial this short: half of them have to do
        return deciding[: max(1, len(deciding) // 2)]
    return deciding if rung < RUNGS else []


def prepare_elsewhere(advised: Advised, cache: Path) -> tuple[Prepared, list[Batch]]:
    """What an advice is on, prepared by another process than that which advises, and the windows that decide.

    Raises `FrostlineError`; `RunFolderError` where model or corpus are not those of the advice.
    """
    with advised.recipe.locating_errors():
        variant = pinned(Variant("", advised.recipe), advised.facts)
        prepared = prepare(variant, cache, say=lambda sentence: None)
        require_same_facts(advised.folder, advised.facts, facts_of(prepared))
        return prepared, deciding_windows(prepared, advised.steps)
