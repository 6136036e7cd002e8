"""What a process is at, and for how long still, can be read by another one while it is at it."""

from __future__ import annotations

from pathlib import Path

from frostline.run_folder import ArmPlace, AtWork, WorkNow, work_now

PLACE = ArmPlace("", 1, "freeze")


def test_what_a_process_is_at_is_read_by_another_and_gone_when_it_ends(tmp_path: Path) -> None:
    assert work_now(tmp_path) is None
    with AtWork(tmp_path) as at_work:
        at_work.begins(ArmPlace("a long label of a variant", 10, "reversed"), "evaluate", 100)
        found = work_now(tmp_path)
        assert found is not None
        assert found.seconds_left is None, "not known yet"
        at_work.expects(90.5)
        at_work.begins(PLACE, "step", 7)
        found = work_now(tmp_path)
        assert found is not None
        assert found == WorkNow(PLACE, "step", 7, 90.5, found.began)
        assert (found.began or 0) > 1.7e9
    assert work_now(tmp_path) is None
    (tmp_path / "at_work.json").write_text("[1, 2", encoding="utf-8")
    assert work_now(tmp_path) is None
