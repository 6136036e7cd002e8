"""What is inexact is said where results are read: in the report, by `show`, by `estimate`; it repeats all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from frostline.forecast import estimate_recipe
from frostline.recipe import load_recipe
from frostline.report import alerts_of, open_run, write_report
from frostline.terminal.run import show_run
from tests.builders.experiments import journal_without_clock, run_tiny, write_experiment

INT8 = "training.frozen_weights=int8"
BOTH = ("training.frozen_weights=nf4", "training.optimizer=adamw-8bit")


def shown(run_folder: Path) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(show_run(run_folder))
    return captured.get()


def alerts(run_folder: Path) -> list[str]:
    return [alert for alert in alerts_of(open_run(run_folder).summary) if "nexact" in alert]


def test_frozen_matrices_in_few_bits_are_said_to_be_inexact(tmp_path: Path) -> None:
    run_folder = run_tiny(write_experiment(tmp_path, seeds=[0]), tmp_path / "run", (INT8,)).run_folder
    sentence = "Inexact, for all arms alike: frozen matrices in int8."
    assert alerts(run_folder) == [sentence]
    assert f"! {sentence}" in shown(run_folder)
    assert sentence in write_report(run_folder).read_text(encoding="utf-8")


def test_what_is_exact_is_not_spoken_of(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, seeds=[0])
    assert alerts(run_tiny(recipe, tmp_path / "run").run_folder) == []
    plain = run_tiny(recipe, tmp_path / "plain", (INT8, "training.engine=reference")).run_folder
    assert alerts(plain) == [], "the plain loop holds every matrix in fp32"


def test_an_estimate_says_it_before_anything_runs(tmp_path: Path) -> None:
    recipe = load_recipe(write_experiment(tmp_path), (INT8,))
    (found,) = estimate_recipe(recipe, tmp_path / "cache", say=lambda sentence: None)
    assert found.warnings == ["Inexact, for all arms alike: frozen matrices in int8."]


def test_a_run_in_few_bits_repeats_itself(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    recipe = write_experiment(tmp_path, seeds=[0])
    first, second = (run_tiny(recipe, tmp_path / name, BOTH).run_folder for name in ("first", "second"))
    assert journal_without_clock(first) == journal_without_clock(second)
    assert alerts(first) == [
        "Inexact, for all arms alike: frozen matrices in nf4 and AdamW with its moments in 8 bits."
    ]
