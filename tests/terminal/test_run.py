"""`frostline show` in a terminal of usual width."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from frostline.terminal.run import show_run
from tests.builders.simulated_run import write_simulated_run


def test_nothing_of_the_arms_is_cut_off_at_eighty_columns(tmp_path: Path) -> None:
    write_simulated_run(tmp_path / "run", arms=("full", "freeze", "reversed"), seeds=(0, 1, 2))
    console = Console(width=80)
    with console.capture() as captured:
        console.print(show_run(tmp_path / "run"))
    lines = captured.get().splitlines()
    table = lines[lines.index(next(line for line in lines if line.strip() == "Arms")) :]
    arms = table[: next(place for place, line in enumerate(table) if line.strip() == "Claims")]
    assert any("freeze" in line for line in arms)
    assert not any("\u2026" in line for line in arms)
