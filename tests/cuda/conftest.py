"""What only a GPU can show. Everything here is left out on a machine without one.

`python -m pytest tests/cuda` is all that is to be run on a machine with one; it takes minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from frostline.engine import resolve_device
from tests.builders.gpu import switched_back

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder, and leave it out where there is no GPU."""
    missing = pytest.mark.skip(reason="no CUDA device")
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.cuda)
            if not torch.cuda.is_available():
                item.add_marker(missing)


@pytest.fixture
def device() -> Iterator[torch.device]:
    """The GPU, settled as in a run; torch's switches are afterwards as before."""
    with switched_back():
        yield resolve_device("cuda")
