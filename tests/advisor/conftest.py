"""What takes seconds and is the same for all tiny models is measured once; reports have one figure."""

from __future__ import annotations

from tests.builders.quick import empty_process, quick_reports_and_one_empty_process

__all__ = ["empty_process", "quick_reports_and_one_empty_process"]
