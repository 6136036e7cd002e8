"""The picture of a run is that of its journal: of bounded size, up to date after a resume, and without verdict."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any, Self

import pytest

from frostline.live_page.picture import RunPicture, Sent
from frostline.live_page.series import Series
from frostline.live_page.zoomed import zoomed
from frostline.run_folder import (
    BEGINNING,
    ArmFinished,
    ArmPlace,
    ArmStarted,
    Evaluation,
    Journal,
    RunEnded,
    RunStarted,
    StepTaken,
    read_journal,
)
from tests.builders.simulated_run import write_simulated_run

PLACE = ArmPlace("", 0, "full")


class Page:
    """What a browser keeps of a run, as `run.js` does."""

    def __init__(self, picture: RunPicture, sent: Sent | None = None) -> None:
        self.picture, self.sent = picture, sent or Sent()
        self.parts: dict[str, object] = {}
        self.series: dict[tuple[str, int, str], list[list[float]]] = {}
        self.told = 0

    def look(self) -> Self:
        while self.picture.look():
            pass
        news = self.picture.news(self.sent)
        if news is not None:
            self.told += 1
            if news["whole"]:
                self.parts, self.series = {}, {}
            self.parts.update(news["parts"])  # type: ignore[call-overload]
            for own in news["series"]:  # type: ignore[attr-defined]
                key = (own["kind"], own["seed"], own["arm"])
                self.series[key] = self.series.get(key, [])[: own["first"]] + own["points"]
        return self

    @property
    def run(self) -> dict[str, Any]:
        run = self.parts["run"]
        assert isinstance(run, dict)
        return run


def step(index: int, loss: float | None = None) -> StepTaken:
    value = 3 - index / 1000 if loss is None else loss
    return StepTaken(*PLACE, index, value, 1.0, 1e-3, 510, 512, "00", index < 3, 0.5)


def started(journal: Journal) -> None:
    journal.append(RunStarted("0", "", "2026-01-01T00:00:00+00:00", {}))
    journal.append(ArmStarted(*PLACE, "train: [all]", 1e-3, 0.0, 10, 10, 0, 1.0, 0.0, 0.0, "00"))


def test_a_short_run_is_shown_step_by_step(tmp_path: Path) -> None:
    folder = write_simulated_run(tmp_path / "run", seeds=(0, 1), steps=20)
    page = Page(RunPicture(folder)).look()
    for line in read_journal(folder):
        if line["kind"] == "StepTaken":
            points = page.series["loss", int(str(line["seed"])), str(line["arm"])]
            assert points[int(str(line["step"]))][3] == pytest.approx(line["loss_nats"], rel=1e-5)
    assert page.run["status"] == "finished"
    assert page.run["replicates"] == [2, 2]
    assert page.run["steps_done"] == [120, 120]
    assert page.run["peaks"] == {arm: pytest.approx(1.2e9, rel=1) for arm in ("full", "freeze", "reversed")}
    assert len(page.series["held_out", 1, "freeze"]) == 3, "before, in the middle, after"


def test_what_is_sent_later_makes_what_is_sent_at_once(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        picture = RunPicture(tmp_path)
        page = Page(picture).look()
        started(journal)
        dice = random.Random(0)
        for index in range(3000):
            journal.append(step(index))
            if index % 500 == 0:
                journal.append(Evaluation(*PLACE, index, "held_out", 3.0, 100))
            if dice.random() < 0.03:
                page.look()
        page.look()
        assert page.look().told == Page(picture).look().told + page.told - 1, "nothing new is not told"
    at_once = Page(RunPicture(tmp_path)).look()
    assert (page.series, page.parts.keys()) == (at_once.series, at_once.parts.keys())
    points = page.series["loss", 0, "full"]
    assert sum(point[4] for point in points) == 3000
    assert len(points) <= 512


def test_a_page_that_was_cut_off_is_sent_what_it_lacks(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        picture = RunPicture(tmp_path)
        started(journal)
        for index in range(100):
            journal.append(step(index))
        page = Page(picture).look()
        seen = picture.newest
        assert seen == "variant0-seed0-full.jsonl:100"
        for index in range(100, 110):
            journal.append(step(index))
            picture.look()
        sent = picture.sent_until(seen)
        again = Page(picture, sent)
        again.series, again.parts = dict(page.series), dict(page.parts)
        news = picture.news(Sent(sent.version, dict(sent.series)))
        assert news is not None
        assert not news["whole"]
        (own,) = [own for own in news["series"] if own["kind"] == "loss"]  # type: ignore[attr-defined]
        assert (own["first"], len(own["points"])) == (99, 11)
        assert again.look().series == Page(picture).look().series
        assert Page(picture, picture.sent_until("run.jsonl:7")).look().series == again.series, "not known: all of it"


def test_after_a_resume_nothing_is_double_and_nothing_of_what_was_given_up_stays(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        started(journal)
        arm = journal.of(PLACE)
        for index in range(40):
            arm.append(step(index))
            if index == 19:
                checkpoint = arm.position
        run_file = (tmp_path / "journal" / "run.jsonl").stat().st_size
        journal.append(RunEnded("interrupted", "now", 1.0))
        page = Page(RunPicture(tmp_path)).look()
        assert page.run["status"] == "interrupted"
        journal.cut_run_file(run_file)
        arm.rewind(checkpoint)
        for index in range(20, 30):
            arm.append(step(index, loss=1.0))
        page.look()
        points = page.series["loss", 0, "full"]
        assert [point[0] for point in points] == list(range(30))
        assert [point[3] for point in points[20:]] == [1.0] * 10
        assert page.run["status"] == "stopped", "no process writes there"
        arm.rewind(BEGINNING)
        assert page.look().series == {}
        arm.append(step(0, loss=math.nan))
        arm.append(ArmFinished(*PLACE, 1, 0, "00"))
        assert page.look().series.get(("loss", 0, "full"), []) == [], "what is not finite is left out"


def test_nothing_is_judged_before_the_end(tmp_path: Path) -> None:
    folder = write_simulated_run(tmp_path / "run", seeds=tuple(range(7)), steps=10, interrupted=True)
    page = Page(RunPicture(folder)).look()

    def keys(value: object) -> set[str]:
        if isinstance(value, dict):
            return {*value, *(key for own in value.values() for key in keys(own))}
        return {key for own in value for key in keys(own)} if isinstance(value, list) else set()

    judging = {"verdict", "p_value", "interval", "low", "high", "claims", "significant", "effect"}
    assert not judging & keys(page.parts)
    assert "undecided" not in json.dumps(page.parts)


def test_a_picture_is_of_bounded_size(tmp_path: Path) -> None:
    series = Series()
    dice = random.Random(0)
    values = [dice.random() for _ in range(100_000)]
    values[77_777] = 9.0
    for index, value in enumerate(values):
        series.add(index, value)
    points = list(series.points())
    assert 256 < len(points) <= 512
    assert max(point[2] for point in points) == 9.0, "no spike is lost"
    for first, low, high, mean, count in points[:20]:
        own = values[int(first) : int(first) + series.stride]
        assert [low, high, mean] == pytest.approx([min(own), max(own), sum(own) / len(own)], rel=1e-5)
        assert count == len(own)


def test_a_zoom_shows_every_step_between_two(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        started(journal)
        for index in range(2000):
            journal.append(step(index))
    found = list(zoomed(tmp_path, "variant0-seed0-full.jsonl", "loss", 700, 720).points())
    assert [point[0] for point in found] == list(range(700, 721))
    assert found[3][3] == pytest.approx(3 - 0.703)
    assert len(zoomed(tmp_path, "variant0-seed0-full.jsonl", "seconds", 0, 9)) == 7, "warm-up is no pace"


def test_a_damaged_journal_is_said_to_be_so(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        started(journal)
    with (tmp_path / "journal" / "run.jsonl").open("ab") as file:
        file.write(b"{broken\n")
    assert "run.jsonl:2" in str(Page(RunPicture(tmp_path)).look().run["trouble"])
