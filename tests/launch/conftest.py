"""What takes seconds and is the same for all tiny models is measured once in a process of tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from frostline.launch import estimate, estimate_memory, priced_candidates
from frostline.recipe import Recipe
from frostline.report import gallery


@pytest.fixture(scope="session", autouse=True)
def quick_reports_and_one_empty_process() -> Iterator[None]:
    """The memory of a process that holds libraries and a tiny tokenizer, whichever recipe asks first."""
    found: list[int] = []

    def process_bytes(recipe: Recipe, cache_folder: Path) -> int:
        if not found:
            found.append(estimate_memory.process_bytes(recipe, cache_folder))
        return found[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "FIGURES", gallery.FIGURES[:1])  # of reports, which other tests look at whole
        for module in (estimate, priced_candidates):
            patch.setattr(module, "process_bytes", process_bytes)
        yield
