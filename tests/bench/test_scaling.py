"""The page on scaling says what its scripts print; an exchange between real processes gives the sum of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.exchange import measured, travelling_bytes
from bench.scaling_table import BEGIN, END, Assumptions, Facts, assumptions_table, devices_table, step_of, units_table

PAGE = Path(__file__).parents[2] / "docs/scaling.md"
ASSUMED = Assumptions()
SOME = Facts(trained=1_000_000, flops=1e12, held=16_000_000, layers=4, sharded=False)


@pytest.mark.parametrize(
    ("name", "table"), [("assumptions", assumptions_table), ("devices", devices_table), ("units", units_table)]
)
def test_the_tables_of_the_page_are_what_the_script_prints(name: str, table: object) -> None:
    assert callable(table)
    inside = PAGE.read_text(encoding="utf-8").partition(BEGIN.format(name))[2].partition(END.format(name))[0]
    assert inside.strip() == table(ASSUMED).strip()


@pytest.mark.parametrize("devices", [2, 8, 64])
def test_with_as_many_parts_as_devices_every_value_travels_twice(devices: int) -> None:
    step = step_of(SOME, devices, Assumptions(parts=devices))
    assert step.sent == travelling_bytes(SOME.trained, devices)
    assert step.seconds == step.computing + step.travelling


def test_twice_the_parts_send_half_as_much_again() -> None:
    once, twice = (step_of(SOME, 8, Assumptions(parts=parts)) for parts in (8, 16))
    assert twice.sent == pytest.approx(1.5 * once.sent)
    assert twice.computing == 2 * once.computing


def test_one_device_sends_nothing() -> None:
    step = step_of(SOME, 1, ASSUMED)
    assert step.sent == step.travelling == 0
    assert step.seconds == ASSUMED.parts * SOME.flops / (ASSUMED.flops * ASSUMED.share)


def test_pieces_for_other_machines_leave_by_the_slower_link() -> None:
    assert ASSUMED.seconds_of_all_to_all(370e9, 8) == pytest.approx(1)
    assert ASSUMED.seconds_of_all_to_all(63 * 46e9, 64) == pytest.approx(56)


def test_real_processes_exchange_and_come_to_the_sum_of_one() -> None:
    (median, least, most) = measured(2, [1000, 100_001], 2)[100_001]
    assert 0 < least <= median <= most
