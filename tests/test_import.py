"""Importing Frostline, or asking for help, loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

import frostline

HEAVY = {"torch", "transformers", "scipy", "altair", "polars", "pydantic", "datasets", "peft"}


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not HEAVY & modules_after("import frostline")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "sys.argv = ['frostline', '--help']\nfrom frostline.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    )
    assert not HEAVY & modules_after(code)


def test_recipes_and_statistics_need_no_torch() -> None:
    code = "import frostline.recipe, frostline.run_folder, frostline.stats"
    assert not {"torch", "transformers"} & modules_after(code)


def test_public_names_are_found_on_first_use() -> None:
    for name in frostline.__all__:
        assert getattr(frostline, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = frostline.nonsense


def test_module_runs_as_a_command() -> None:
    done = subprocess.run([sys.executable, "-m", "frostline", "--help"], capture_output=True, text=True, check=True)
    for command in ("init", "plan", "run", "report", "show", "env"):
        assert command in done.stdout


@pytest.mark.parametrize("model", ["./no-such-folder", "runs/no-such"])
def test_a_mistyped_model_is_told_before_anything_heavy_is_loaded(model: str) -> None:
    code = f"""
import frostline
from huggingface_hub import constants
constants.HF_HUB_OFFLINE = True
for verb in frostline.plan, frostline.run, frostline.time, frostline.estimate, frostline.advise:
    try:
        verb({{"model": {{"source": {model!r}}}, "arms": {{"full": {{"train": "all"}}}}}})
    except frostline.FrostlineError as error:
        assert str(error).startswith("recipe, key 'model.source': there is no folder"), error
try:
    frostline.inspect_model({model!r})
except frostline.FrostlineError as error:
    assert str(error).startswith("model: there is no folder"), error
"""
    assert not {"torch", "transformers", "datasets"} & modules_after(code)
