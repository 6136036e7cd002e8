"""Ctrl+C is taken at once, but never in the middle of a deferred block."""

from __future__ import annotations

import os
import signal

import pytest

from frostline.launch.interruption import Interruption


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


def test_a_second_one_leaves_at_once_even_there() -> None:
    interruption, done = Interruption(), []
    with pytest.raises(KeyboardInterrupt), interruption.listening(), interruption.deferred():
        interrupt()
        interrupt()
        done.append("block")
    assert done == []


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
