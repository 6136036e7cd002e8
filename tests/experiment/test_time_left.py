"""What is left of a run, at the machine's present pace."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from frostline.arms import USUAL_TRIALS, prepare
from frostline.experiment import run_experiment
from frostline.experiment.time_left import PRESENT, TimeLeft, Work, expect_run
from frostline.recipe import Variant, load_recipe
from frostline.run_folder import ArmPlace
from frostline.terminal.progress import PlainProgress
from tests.builders.experiments import run_tiny, write_experiment

FULL, FREEZE = ArmPlace("", 0, "full"), ArmPlace("", 0, "freeze")


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def take(time_left: TimeLeft, clock: Clock, place: ArmPlace, work: Work, seconds: float) -> None:
    with time_left.doing(place, work):
        clock.seconds += seconds


def test_before_anything_was_done_it_is_what_is_guessed() -> None:
    time_left = TimeLeft()
    time_left.expect(FULL, Work("step", "full"), 10, 2.0)
    time_left.expect(FULL, Work("evaluate"), 1, 5.0)
    assert time_left.seconds() == 25.0


def test_what_was_done_tells_the_pace_of_its_kind_and_how_far_other_guesses_are_off() -> None:
    clock = Clock()
    told: list[float] = []
    time_left = TimeLeft(told.append, clock)
    time_left.expect(FULL, Work("step", "full"), 10, 2.0)
    time_left.expect(FREEZE, Work("step", "freeze"), 10, 1.0)
    take(time_left, clock, FULL, Work("step", "full"), 6.0)
    # nine steps of 6 seconds, and ten that were guessed three times too short
    assert told == [9 * 6.0 + 10 * 3 * 1.0]


def test_work_that_waits_for_other_things_than_arithmetic_says_nothing_of_steps() -> None:
    clock = Clock()
    time_left = TimeLeft(now=clock)
    time_left.expect(ArmPlace("", 0, ""), Work("text"), 1, 0.1)
    time_left.expect(FULL, Work("text"), 1, 0.1)
    time_left.expect(FULL, Work("step", "full"), 10, 1.0)
    take(time_left, clock, ArmPlace("", 0, ""), Work("text"), 30.0)
    assert time_left.seconds() == 30.0 + 10 * 1.0


def test_the_pace_is_the_present_one() -> None:
    clock = Clock()
    time_left = TimeLeft(now=clock)
    time_left.expect(FULL, Work("step", "full"), 100, 1.0)
    for seconds in [1.0] * 20 + [4.0] * PRESENT:
        take(time_left, clock, FULL, Work("step", "full"), seconds)
    assert time_left.seconds() == (100 - 20 - PRESENT) * 4.0


def test_what_need_not_be_done_is_not_counted() -> None:
    time_left = TimeLeft()
    for place in (FULL, FREEZE):
        time_left.expect(place, Work("step", place.arm), 10, 1.0)
    time_left.forget(FREEZE)
    time_left.skip(FULL, Work("step", "full"), 7)
    assert time_left.seconds() == 3.0


def test_a_piece_of_work_that_fails_has_ended_too() -> None:
    time_left = TimeLeft(now=Clock())
    time_left.expect(FULL, Work("step", "full"), 1, 1.0)
    with pytest.raises(ZeroDivisionError), time_left.doing(FULL, Work("step", "full")):
        raise ZeroDivisionError
    assert time_left.seconds() == 0.0


def test_only_the_first_beginning_of_an_arm_settles_how_it_is_trained() -> None:
    clock = Clock()
    time_left = TimeLeft(now=clock)
    again = ArmPlace("", 1, "full")
    time_left.expect(FULL, Work("settle", "full"), 1, 10.0)
    time_left.expect(again, Work("begin", "full"), 1, 1.0)
    assert time_left.beginning(FULL) == Work("settle", "full")
    take(time_left, clock, FULL, time_left.beginning(FULL), 20.0)
    # How far off that guess was says nothing of copying the model.
    assert time_left.seconds() == 1.0
    assert time_left.beginning(FULL) == time_left.beginning(again) == Work("begin", "full")


def test_a_run_with_a_race_expects_each_arm_to_settle_once(tmp_path: Path) -> None:
    raced = {"full": {"train": "all", "learning_rate": "best"}, "given": {"train": "mlp"}}
    windows = {"length": 16, "held_out": 4, "race": 4}
    recipe = load_recipe(write_experiment(tmp_path, layers=2, arms=raced, windows=windows, seeds=[0, 1, 2]))
    prepared = prepare(Variant("", recipe), tmp_path / "cache", say=lambda text: None)
    time_left = TimeLeft()
    expect_run(time_left, prepared, [""])
    pieces = {
        kind: {arm: sum(left[Work(kind, arm)] for left in time_left._left.values()) for arm in raced}
        for kind in ("settle", "begin")
    }
    assert pieces == {"settle": {"full": 1, "given": 1}, "begin": {"full": USUAL_TRIALS - 1 + 3, "given": 2}}


class Heard(PlainProgress):
    """Keeps every time left that a run tells."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.told: list[float] = []

    def left(self, seconds: float) -> None:
        self.told.append(seconds)


def test_a_run_counts_down_to_its_report_and_one_that_reuses_every_arm_expects_none(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path, vary={"corpus.tokens": [300, 600]})
    first, again = Heard(), Heard()
    run_tiny(recipe, tmp_path / "first", fresh=False)
    for name, heard, fresh in (("second", first, True), ("third", again, False)):
        run_experiment(load_recipe(recipe), tmp_path / name, tmp_path / "cache", heard, fresh=fresh)
    pieces = 2 * 2 * (1 + 3 * (1 + 6 + 2 + 1))  # variants, seeds: text; arms: begin, steps, evaluations, text
    assert len(first.told) == 2 + pieces
    assert first.told[-1] == pytest.approx(5.0)  # the report alone
    assert len(again.told) == 2
    assert again.told[-1] == pytest.approx(5.0)
