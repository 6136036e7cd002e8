"""The page of an advice: what was advised, the race, the signals; hostile names stay text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from frostline.advisor.advice import read_advice
from frostline.advisor.race import RUNGS
from frostline.advisor.retrained import RETRAINING
from frostline.errors import RunFolderError
from frostline.report.advice_page import signals_frame, write_advice
from frostline.report.sections import PlainPage, PlainSection
from frostline.report.table import Table
from frostline.report.write import render_page
from frostline.run_folder import AdviceEnded, AdviceStarted, Journal, RungEnded, SignalMeasured
from frostline.signals.measure import KINDS
from tests.advisor.test_race import made, trial

HOSTILE = "<script>document.title='RAN'</script>"


def write_journal(folder: Path, *, failed: bool = False, name: str = "snr") -> Path:
    """A race of three plans, without training anything."""
    folder.mkdir()
    with Journal(folder) as journal:
        journal.append(AdviceStarted("1", "0" * 64, "2026-01-01T00:00:00+00:00", {}, "time=60%", 36, 0))
        for kind in KINDS.values():
            role = "layer" if kind.places == "layers" else "attn" if kind.places == "heads" else "attn.q"
            layers: list[int | None] = [0, 1, 2]
            journal.append(SignalMeasured(kind.name, layers, [role] * 3, [0.1, 0.3, 0.2], 0.875))
        candidates = [
            made("full", "full", size=1000),
            made(name, "signal", seconds=0.5),
            made("random-1", "random", seconds=0.5),
            made("mlp", seconds=0.9, exceeds=("90 % of full training's time",)),
        ]
        for own in candidates:
            journal.append(own)
        for rung in range(3):
            for candidate, loss in (("full", 1.0), (name, 1.5), ("random-1", 1.7)):
                journal.append(trial(candidate, loss, rung=rung, failed=failed))
        for candidate, loss in (("full", 1.1), (name, 1.6), ("random-1", 1.8)):
            for seed in () if failed else (1, 2):
                again = trial(candidate, loss, rung=RUNGS - 1)
                journal.append(replace(again, rung=RETRAINING, seed=seed, window_losses=[]))
        journal.append(RungEnded(0, 4, ["full", name, "random-1"], {}))
        journal.append(AdviceEnded("finished", "2026-01-01T00:00:00+00:00", 90.0))
    return folder


def test_the_page_tells_the_advice_the_race_and_the_signals(tmp_path: Path) -> None:
    page = write_advice(write_journal(tmp_path / "advice"), "mine", "a model", "a corpus").read_text()
    assert "It beats a random choice of its size" in page
    assert "not raced: 90 % of full training&#39;s time" in page
    assert "seed 1" in page
    assert "seed 2" in page
    assert "in equal time" in page
    assert "How steady the rankings are" in page
    assert "0.875" in page
    assert "The search took 90 s" in page
    assert page.count("<figure") == 4
    for kind in KINDS.values():
        assert kind.title in page
    assert "<script" not in page
    assert "default-src 'none'" in page


def test_a_race_in_which_all_failed_has_a_page_that_says_so(tmp_path: Path) -> None:
    page = write_advice(write_journal(tmp_path / "advice", failed=True), "mine", "a model", "a corpus").read_text()
    assert "nothing can be advised" in page
    assert "frostline run" not in page


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    folder = write_journal(tmp_path / "advice", name=HOSTILE)
    page = write_advice(folder, HOSTILE, HOSTILE, HOSTILE).read_text()
    assert "<script" not in page
    section = PlainSection(HOSTILE, (HOSTILE,), tables=(Table((HOSTILE,), ((HOSTILE,),), HOSTILE),))
    assert "<script" not in render_page(PlainPage(HOSTILE, HOSTILE, HOSTILE, [], [section], [HOSTILE]))


def test_signals_come_back_as_a_frame(tmp_path: Path) -> None:
    advice = read_advice(write_journal(tmp_path / "advice"))
    assert advice is not None
    frame = signals_frame(advice)
    assert frame.columns == ["signal", "layer", "role", "value"]
    assert frame.filter(pl.col("signal") == "snr").get_column("value").to_list() == [0.1, 0.3, 0.2]


def test_a_folder_without_an_advice_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="it holds no advice"):
        write_advice(tmp_path, "mine", "a model", "a corpus")
