"""What does a part of a curve look like from near? Read again from the journal, between two steps alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

from frostline.live_page.arm_picture import number
from frostline.live_page.series import Series
from frostline.run_folder import JOURNAL_FOLDER

_STEP = re.compile(rb'\{"sequence": [0-9]+, "kind": "(StepTaken|Evaluation)"')
FIELDS = {
    "loss": ("StepTaken", "loss_nats"),
    "held_out": ("Evaluation", "loss_nats"),
    "seconds": ("StepTaken", "seconds"),
}
"""By kind of series, the record and the field that it is made of."""


def zoomed(run_folder: Path, file: str, kind: str, first: int, last: int) -> Series:
    """The series of one arm from step `first` to `last`, both included; `file` is the name of its journal."""
    series, (record, name) = Series(), FIELDS[kind]
    with (run_folder / JOURNAL_FOLDER / file).open("rb") as lines:
        for line in lines:
            head = _STEP.match(line)
            if head is None or head[1].decode() != record or not line.endswith(b"\n"):
                continue
            values = json.loads(line)
            step, value = values.get("step"), number(values.get(name))
            wanted = record == "StepTaken" or values.get("corpus") == "held_out"
            wanted = wanted and not (kind == "seconds" and values.get("untimed"))
            if wanted and value is not None and isinstance(step, int) and first <= step <= last:
                series.add(step, value)
            if isinstance(step, int) and step > last:
                break
    return series
