"""A signal is taken at once, but never in the middle of a deferred block."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

import pytest

from frostline.interruption import REMIND_SECONDS, Interruption, Stopped


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_outside_a_deferred_block_it_is_raised_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), Interruption().listening():
        interrupt()


def test_inside_a_deferred_block_the_block_ends_first() -> None:
    interruption, done = Interruption(), []
    with pytest.raises(KeyboardInterrupt), interruption.listening():
        with interruption.deferred():
            interrupt()
            done.append("block")
        done.append("after")
    assert done == ["block"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_one_leaves_at_once_even_there(number: int) -> None:
    process = os.fork()
    if process == 0:
        try:
            with Interruption().listening(), contextlib.suppress(KeyboardInterrupt):
                interrupt()
            interruption = Interruption()
            with interruption.listening(), interruption.deferred():
                interrupt()
                os.kill(os.getpid(), number)
        finally:
            os._exit(1)  # it should not have come to that
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + number


def test_each_signal_has_its_exit_code() -> None:
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        interruption = Interruption()
        with pytest.raises(Stopped) as stopped, interruption.listening():
            os.kill(os.getpid(), number)
        assert (stopped.value.exit_code, interruption.exit_code) == (code, code)


def test_blocks_may_be_nested() -> None:
    interruption, done = Interruption(), []
    with pytest.raises(KeyboardInterrupt), interruption.listening(), interruption.deferred():
        with interruption.deferred():
            interrupt()
        done.append("outer")
    assert done == ["outer"]


def test_the_handler_of_before_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interruption().listening():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_an_error_in_a_deferred_block_is_not_hidden_by_the_interrupt() -> None:
    interruption = Interruption()
    with pytest.raises(ValueError, match="real"), interruption.listening(), interruption.deferred():
        interrupt()
        raise ValueError("real")


class InterruptedWhenDestroyed:
    """As when a signal comes while a library's object is being destroyed: Python goes on after it."""

    def __del__(self) -> None:
        interrupt()


def test_one_that_a_destructor_swallows_comes_again_and_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Stopped), Interruption().listening():
        swallowed = InterruptedWhenDestroyed()
        del swallowed
        time.sleep(60)
    assert capsys.readouterr().err == ""


def test_one_that_a_library_swallows_comes_again() -> None:
    with pytest.raises(Stopped), Interruption().listening():
        with contextlib.suppress(BaseException):
            interrupt()
        time.sleep(60)


def test_cleaning_up_is_not_interrupted_by_it_again() -> None:
    done = []
    with pytest.raises(Stopped), Interruption().listening():
        try:
            interrupt()
        except Stopped:
            time.sleep(3 * REMIND_SECONDS)
            done.append("except")
            raise
        finally:
            time.sleep(3 * REMIND_SECONDS)
            done.append("finally")
    assert done == ["except", "finally"]


def test_a_deferred_block_is_not_cut_by_one_swallowed_before() -> None:
    interruption, done = Interruption(), []
    with pytest.raises(Stopped), interruption.listening():
        with contextlib.suppress(BaseException):
            interrupt()
        with interruption.deferred():
            time.sleep(3 * REMIND_SECONDS)
            done.append("block")
        time.sleep(60)
    assert done == ["block"]


def test_one_that_was_answered_does_not_come_again() -> None:
    interruption = Interruption()
    with interruption.listening():
        try:
            interrupt()
        except Stopped:
            interruption.answer()
        time.sleep(3 * REMIND_SECONDS)


class FailsWhenDestroyed:
    def __del__(self) -> None:
        raise ValueError("a real error")


def test_what_other_destructors_raise_is_still_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[sys.UnraisableHookArgs] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    with Interruption().listening():
        failing = FailsWhenDestroyed()
        del failing
    assert [str(one.exc_value) for one in told] == ["a real error"]
    assert sys.unraisablehook == told.append


def test_what_a_launcher_passes_on_is_no_second_signal() -> None:
    interruption = Interruption(echo_seconds=60)
    done = []
    with pytest.raises(Stopped), interruption.listening(), interruption.deferred():
        interrupt()
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("block")
    assert (done, interruption.exit_code) == (["block"], 130)


def test_another_process_may_ask_for_the_stop() -> None:
    interruption, done = Interruption(), []
    with pytest.raises(Stopped), interruption.listening(), interruption.deferred():
        interruption.ask(signal.SIGTERM)
        done.append("block")
    assert (done, interruption.exit_code) == (["block"], 143)


def test_asked_where_nobody_listens_it_is_raised_after_the_block() -> None:
    interruption = Interruption()
    with pytest.raises(Stopped), interruption.deferred():
        interruption.ask(signal.SIGTERM)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
