"""What is new comes as server-sent events: with a place to go on from, to many pages, and no faster than one reads."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from frostline.live_page import application
from frostline.run_folder import ArmPlace, ArmStarted, Journal, RunStarted, StepTaken, read_journal
from tests.builders.simulated_run import write_simulated_run
from tests.live_page.asking import Answer, Asking

PLACE = ArmPlace("", 0, "full")


def step(index: int) -> StepTaken:
    return StepTaken(*PLACE, index, 3.0, 1.0, 1e-3, 510, 512, "00", False, 0.5)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    (tmp_path / "run").mkdir()
    journal = Journal(tmp_path / "run")
    journal.append(RunStarted("0", "", "2026-01-01T00:00:00+00:00", {}))
    journal.append(ArmStarted(*PLACE, "train: [all]", 1e-3, 0.0, 10, 10, 0, 1.0, 0.0, 0.0, "00"))
    for index in range(10):
        journal.append(step(index))
    journal.close()
    return journal


def has_data(answer: Answer) -> bool:
    return bool(answer.events)


def test_the_first_event_is_the_whole_picture_and_its_id_is_the_newest_line(journal: Journal, tmp_path: Path) -> None:
    answer = Asking(tmp_path).enter().ask("/runs/run/events", until=has_data)
    assert answer.headers["content-type"].startswith("text/event-stream")
    event = answer.events[0]
    assert (event["whole"], event["id"]) == (True, "variant0-seed0-full.jsonl:10")
    (loss,) = [own for own in event["series"] if own["kind"] == "loss"]
    assert len(loss["points"]) == 10


@pytest.mark.parametrize("way", ["header", "query"])
def test_a_page_goes_on_from_the_last_event_that_it_has_seen(journal: Journal, tmp_path: Path, way: str) -> None:
    asking = Asking(tmp_path).enter()

    async def twice() -> Answer:
        first = await asking.asking("/runs/run/events", until=has_data)
        seen = first.events[-1]["id"]
        journal.append(step(10))
        journal.close()
        path, headers = (
            ("/runs/run/events", {"last-event-id": seen}) if way == "header" else (f"/runs/run/events?after={seen}", {})
        )
        return await asking.asking(path, headers=headers, until=has_data)

    event = asyncio.run(twice()).events[0]
    assert not event["whole"]
    (loss,) = [own for own in event["series"] if own["kind"] == "loss"]
    assert [point[0] for point in loss["points"]] == [9, 10], "the last bucket may have grown, the others are known"


def test_fifty_pages_look_at_once_and_one_that_reads_slowly_holds_nobody_up(journal: Journal, tmp_path: Path) -> None:
    asking = Asking(tmp_path).enter()
    looks = 0

    async def all_of_them() -> list[Answer]:
        nonlocal looks
        stuck = asyncio.Event()

        def newest(answer: Answer) -> bool:
            return bool(answer.events) and answer.events[-1]["id"].endswith(":40")

        slow = asyncio.create_task(asking.asking("/runs/run/events", slow=stuck.wait, until=newest))
        pages = [asyncio.create_task(asking.asking("/runs/run/events", until=newest)) for _ in range(50)]
        await asyncio.sleep(0.1)
        (picture,) = asking.site.pictures._pictures.values()
        before = picture.look

        def counted() -> bool:
            nonlocal looks
            looks += 1
            return before()

        picture.look = counted  # type: ignore[method-assign]
        for index in range(10, 40):
            journal.append(step(index))
            await asyncio.sleep(0.005)
        journal.close()
        answers = await asyncio.gather(*pages)
        stuck.set()
        return [*answers, await slow]

    *answers, slow = asyncio.run(all_of_them())
    assert len(answers) == 50
    assert looks < 50, "one look serves all pages"
    assert len(slow.events) <= 3, "what came while it was stuck is told in one"
    for answer in (*answers, slow):
        points: list[list[float]] = []
        for event in answer.events:
            for own in event["series"]:
                if own["kind"] == "loss":
                    points = points[: own["first"]] + own["points"]
        assert [point[0] for point in points] == list(range(40))


def test_a_quiet_connection_shows_that_it_lives_and_the_end_is_told(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "COMMENT_SECONDS", 0.1)
    asking = Asking(tmp_path).enter()

    def end_after_a_comment(answer: Answer) -> bool:
        asking.ending = b": nothing new\n\n" in answer.body
        return False

    text = asking.ask("/runs/run/events", until=end_after_a_comment).text
    assert text.endswith("event: end\ndata: {}\n\n"), "and then the connection is closed"


def test_nobody_looks_where_nobody_is(journal: Journal, tmp_path: Path) -> None:
    asking = Asking(tmp_path).enter()

    async def come_and_go() -> int:
        await asking.asking("/runs/run/events", until=has_data)
        await asyncio.sleep(0)
        return len(asking.site.pictures._tasks)

    assert asyncio.run(come_and_go()) == 0


def test_a_run_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    from frostline.live_page import watched_folder

    asking = Asking(tmp_path).enter()
    asking.site.watched = watched_folder(tmp_path / "later", awaited=True)
    event = asking.ask("/runs/later/events", until=has_data).events[0]
    assert event["parts"]["run"]["status"] == "not begun"
    assert asking.ask("/").headers["location"] == "/runs/later"


def test_a_zoom_is_told_of_the_arms_of_one_replicate(tmp_path: Path) -> None:
    write_simulated_run(tmp_path / "run", seeds=(0, 1), steps=20)
    asking = Asking(tmp_path).enter()

    async def look_and_zoom() -> Answer:
        await asking.asking("/runs/run/events", until=has_data)
        return await asking.asking("/runs/run/zoom?kind=loss&variant=&seed=0&first=5&last=9")

    series = json.loads(asyncio.run(look_and_zoom()).text)["series"]
    assert set(series) == {"full", "freeze", "reversed"}
    expected = {line["step"]: line["loss_nats"] for line in read_journal(tmp_path / "run") if of_freeze(line)}
    found = {point[0]: point[3] for point in series["freeze"]["points"]}
    assert found == {step: pytest.approx(expected[step], rel=1e-5) for step in range(5, 10)}
    for query in (
        "kind=loss",
        "kind=weights&variant=&seed=0&first=5&last=9",
        "kind=loss&variant=&seed=x&first=5&last=9",
    ):
        assert asking.ask(f"/runs/run/zoom?{query}").status == 404


def of_freeze(line: dict[str, object]) -> bool:
    return (line["kind"], line.get("seed"), line.get("arm")) == ("StepTaken", 0, "freeze")
