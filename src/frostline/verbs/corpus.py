"""What does a recipe read? What `frostline corpus` does."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from frostline.errors import FrostlineError
from frostline.verbs.work import ProgressWanted, at_work, meant

if TYPE_CHECKING:
    from frostline.arms import ReadCorpora
    from frostline.recipe import GivenRecipe, Overrides


def read_corpus(
    recipe: GivenRecipe,
    *,
    set: Overrides = (),
    first: int = 3,
    check: bool = False,
    page: str | PathLike[str] | None = None,
    trusted_code: str | None = None,
    cache: str | Path | None = None,
    progress: ProgressWanted = False,
) -> list[ReadCorpora]:
    """What `recipe` reads: rows, tokens, windows, and the `first` windows as text that says what learns.

    One value for each variant. The model's tokenizer is loaded, its weights are not. `check`
    reads every row again without the cache, of a hub data set all there are, and raises at the first one that is not
    right. `page` is a file to write the page to. The other parameters are as in `run`.
    """
    if first < 0:
        raise FrostlineError(f"first={first} is not understood.", "Use 0 or more.")
    wanted = meant(recipe, set, trusted_code)

    from frostline.arms import read_corpora
    from frostline.report import write_corpora

    with at_work(cache, progress) as work:
        say, reading = work.progress.say, work.progress.reading
        found = read_corpora(wanted, work.cache, first=first, check=check, say=say, reading=reading)
        if page is not None:
            write_corpora(Path(page), wanted.name, found)
    return found
