"""Clocks are put around what is there: a name that has moved would end a measurement of half an hour at its start."""

from __future__ import annotations

from bench.watched import places


def test_every_kind_of_work_is_found_where_it_is_called() -> None:
    missing = [(kind, name) for kind, holder, name in places() if not callable(getattr(holder, name, None))]
    assert not missing
