"""What do all verbs have in common? Where they work, who watches, and that one process does one thing at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from frostline.errors import FrostlineError, at
from frostline.progress import NoProgress, RunProgress
from frostline.system import ask_for_huge_pages, require_supported_system

if TYPE_CHECKING:
    from frostline.recipe import GivenRecipe, Overrides, Recipe

ProgressWanted = bool | RunProgress
"""False prints nothing, True prints as the command does; or whoever watches instead."""

_WORK = threading.Lock()


def meant(recipe: GivenRecipe, overrides: Overrides, trusted_code: str | None) -> Recipe:
    """The recipe that a verb is given. It is read before anything slow is imported, so that mistakes are told at once.

    Raises `RecipeError`, `ModelError` or `CorpusError` for a model or a corpus that is not there.
    """
    from frostline.recipe import given_recipe, loading_judge, require_corpus, require_model, trusting, variants_of

    wanted = given_recipe(recipe, overrides)
    for variant in variants_of(wanted):
        with variant.recipe.locating_errors():
            require_model(variant.recipe.model)
            if variant.recipe.measures.judge is not None:
                with loading_judge():
                    require_model(variant.recipe.measures.judge)
            with at("corpus"):
                require_corpus(variant.recipe.corpus)
            if variant.recipe.retention_corpus is not None:
                with at("retention"):
                    require_corpus(variant.recipe.retention_corpus)
    return trusting(wanted, trusted_code)


@dataclass(frozen=True)
class Work:
    """What a verb works with."""

    cache: Path
    progress: RunProgress


@contextmanager
def at_work(cache: Path | str | None, progress: ProgressWanted) -> Iterator[Work]:
    """Work on something; `cache` is the usual folder if None.

    Raises `FrostlineError` where another thread of this process is at work: PyTorch has one state of random numbers
    for all threads, and two that share it would give neither's results.
    """
    require_supported_system()
    ask_for_huge_pages()
    if not _WORK.acquire(blocking=False):
        raise FrostlineError(
            "Frostline is at work in another thread of this process, and two would share their random numbers.",
            "Wait for it, or give each a process of its own.",
        )
    try:
        from frostline.cache import cache_folder, settle_other_caches, settle_temporary_files, usable_cache

        folder = cache_folder() if cache is None else usable_cache(Path(cache))
        settle_temporary_files(folder)
        settle_other_caches(folder)
        with watching(progress) as told:
            yield Work(folder, told)
    finally:
        _WORK.release()


def watching(progress: ProgressWanted) -> RunProgress:
    """Who is told what a verb does."""
    if progress is False:
        return NoProgress()
    if progress is not True:
        return progress
    from rich.console import Console

    from frostline.terminal.progress import run_progress

    return run_progress(Console())
