"""What takes seconds and is the same for all tiny models is measured once in a process of tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from frostline.advisor import priced_candidates
from frostline.arms import memory as estimate_memory
from frostline.forecast import estimate
from frostline.recipe import Recipe
from frostline.report import gallery


@pytest.fixture(scope="session")
def empty_process() -> list[int]:
    """The bytes of a process that holds libraries and a tiny tokenizer, once a recipe has asked for them."""
    return []


@pytest.fixture(scope="package", autouse=True)
def quick_reports_and_one_empty_process(empty_process: list[int]) -> Iterator[None]:
    """For these tests alone: tests of other packages, run in the same process, look at whole reports."""

    def process_bytes(recipe: Recipe, cache_folder: Path) -> int:
        if not empty_process:
            empty_process.append(estimate_memory.process_bytes(recipe, cache_folder))
        return empty_process[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "FIGURES", gallery.FIGURES[:1])
        for module in (estimate, priced_candidates):
            patch.setattr(module, "process_bytes", process_bytes)
        yield
