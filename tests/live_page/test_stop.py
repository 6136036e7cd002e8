"""The button stops the run's own process, once, by SIGTERM, however often it is pressed."""

from __future__ import annotations

import json
from pathlib import Path

from frostline.run_folder import writer_of
from tests.live_page.asking import HOST, Asking
from tests.run_folder.test_writer import running, signals_of

FROM_HERE = {"origin": f"http://{HOST}"}


def test_the_process_of_the_run_is_asked_once_however_often_the_button_is_pressed(tmp_path: Path) -> None:
    with running(tmp_path / "run") as process:
        asking = Asking(tmp_path).enter()
        for _ in range(3):
            answer = asking.ask("/runs/run/stop", "POST", FROM_HERE)
            assert (answer.status, json.loads(answer.text)) == (200, {"asked": True})
        assert signals_of(process) == "1"
    assert asking.ask("/runs/run/stop", "POST", FROM_HERE).status == 409


def test_a_run_that_was_begun_from_python_is_left_alone(tmp_path: Path) -> None:
    with running(tmp_path / "run", "never") as process:
        assert writer_of(tmp_path / "run") is not None
        assert Asking(tmp_path).enter().ask("/runs/run/stop", "POST", FROM_HERE).status == 409
        assert signals_of(process) == "0"
