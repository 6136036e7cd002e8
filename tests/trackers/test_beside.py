"""A tracker that fails, hangs or is killed is told of once, and costs a run nothing; one that cannot be is refused."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from frostline.errors import FrostlineError, MissingExtraError
from frostline.trackers import beside, track_run, trackers_beside, usable_tracker


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that are found before those that are installed, here and in processes that begin."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    source = str(Path("src").absolute())
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), source]))
    return folder


def stand_in(folder: Path, name: str, code: str = "") -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(code, encoding="utf-8")


def teller() -> psutil.Process:
    """The process that tells: others of the tests may go on beside it."""
    (found,) = [child for child in psutil.Process().children() if "frostline.trackers" in child.cmdline()]
    return found


def test_a_tracker_that_fails_is_told_of_once_and_the_run_goes_on(run: Path, stand_ins: Path) -> None:
    stand_in(stand_ins, "tensorboardX", "raise RuntimeError('the disk is on fire')")
    told: list[str] = []
    with trackers_beside(run, ["tensorboard", "tensorboard"], told.append):
        pass
    assert len(told) == 2, "where to look, and what went wrong"
    assert "tensorboard could not be told (RuntimeError: the disk is on fire). The run goes on" in told[1]
    assert f"'frostline track {run} --to tensorboard' tells it the rest" in told[1]
    with pytest.raises(FrostlineError, match="the disk is on fire"):
        track_run(run, "tensorboard", None, told.append)


def test_a_tracker_that_hangs_is_left_after_a_while(
    run: Path, stand_ins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(stand_ins, "tensorboardX", "import time\ntime.sleep(600)")
    monkeypatch.setattr(beside, "GRACE_SECONDS", 0.2)
    told: list[str] = []
    with trackers_beside(run, ["tensorboard"], told.append):
        process = teller()
    assert [line for line in told[1:] if "has not taken all in time" in line] == told[1:]
    assert len(told) == 2
    assert not process.is_running()


def test_a_tracker_whose_process_is_killed_is_told_of(run: Path, stand_ins: Path) -> None:
    stand_in(stand_ins, "tensorboardX", "import time\ntime.sleep(600)")
    told: list[str] = []
    with trackers_beside(run, ["tensorboard"], told.append):
        process = teller()
        process.send_signal(signal.SIGKILL)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
    assert "was told no more" in told[1]
    assert len(told) == 2


def test_a_package_that_is_missing_is_told_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, stand_ins: Path
) -> None:
    for package in ("mlflow", "sqlalchemy"):
        stand_in(stand_ins, package)
    monkeypatch.setitem(__import__("sys").modules, "alembic", None)
    with pytest.raises(MissingExtraError, match=r"needs alembic.*pip install 'frostline\[mlflow\]'"):
        usable_tracker("mlflow")


@pytest.mark.parametrize(
    ("tracker", "packages", "variables"),
    [
        ("mlflow", ("mlflow", "sqlalchemy", "alembic"), {"MLFLOW_TRACKING_URI": "http://user:secret@127.0.0.1:9/x"}),
        ("trackio", ("trackio",), {"TRACKIO_SERVER_URL": "http://127.0.0.1:9?write_token=secret"}),
        ("wandb", ("wandb",), {"WANDB_MODE": "online", "WANDB_BASE_URL": "http://127.0.0.1:9/secret"}),
    ],
)
def test_a_server_that_does_not_answer_is_refused_without_its_secrets(
    tracker: str,
    packages: tuple[str, ...],
    variables: dict[str, str],
    stand_ins: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for package in packages:
        stand_in(stand_ins, package)
    assert usable_tracker(tracker).name == tracker, "without these variables nothing is asked"
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(FrostlineError, match=r"the server of .*127\.0\.0\.1, does not answer") as refused:
        usable_tracker(tracker)
    assert "secret" not in str(refused.value)
