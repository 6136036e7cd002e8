"""One tiny run for all tests of trackers; who changes it copies it."""

from __future__ import annotations

from pathlib import Path

import pytest

from frostline.stats import write_summary
from tests.builders.experiments import run_tiny, write_experiment


@pytest.fixture(scope="package")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracked")
    run_tiny(write_experiment(folder, seeds=[0]), folder / "run")
    write_summary(folder / "run")
    return folder / "run"
