"""What should a tracker show? The journal, read by hand; and a tracker that keeps what it is told in a list."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from frostline.trackers.kinds import TrackerKind
from frostline.trackers.tracker import NOTHING, Row, Status, TrackedRun, Tracker

Points = dict[str, list[tuple[int, float]]]
"""By metric, each step with its value, in the order in which they stand."""


def expected_points(run_folder: Path) -> dict[str, Points]:
    """By `ARM-seedSEED`, what the journal says, with plain loops."""
    expected: dict[str, Points] = {}
    for path in sorted((run_folder / "journal").glob("variant0-seed*.jsonl")):
        points: Points = {}
        tokens = 0
        for line in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            if not line.get("arm"):
                continue
            expected[f"{line['arm']}-seed{line['seed']}"] = points
            if line["kind"] == "StepTaken":
                tokens += line["tokens"]
                for metric, value in (
                    ("loss", line["loss_nats"]),
                    ("gradient_norm", line["gradient_norm"]),
                    ("learning_rate", line["learning_rate"]),
                    ("step_seconds", line["seconds"]),
                    ("tokens", tokens),
                ):
                    points.setdefault(metric, []).append((line["step"], value))
            if line["kind"] == "Evaluation":
                points.setdefault(f"{line['corpus']}_loss", []).append((line["step"], line["loss_nats"]))
    return expected


def same_points(found: Points, expected: Points, *, clock: bool = True) -> bool:
    """Whether these are the points, each once, to single precision; times of steps only if `clock`."""
    left_out = set() if clock else {"step_seconds"}
    if found.keys() - left_out != expected.keys() - left_out:
        return False
    return all(
        [step for step, _ in found[metric]] == [step for step, _ in expected[metric]]
        and (
            metric in left_out
            or all(math.isclose(a[1], b[1], rel_tol=1e-6) for a, b in zip(found[metric], expected[metric], strict=True))
        )
        for metric in expected
    )


@dataclass
class KeptRun:
    run: TrackedRun
    rows: list[Row] = field(default_factory=list)
    ended: list[Status] = field(default_factory=list)
    left: int | None = None
    """Rows that are still kept before the process is killed."""

    @property
    def told_until(self) -> int:
        return self.rows[-1].step if self.rows else NOTHING

    def tell(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if self.left == 0:
                raise KilledError
            self.rows.append(row)
            self.left = None if self.left is None else self.left - 1

    def end(self, status: Status) -> None:
        self.ended.append(status)

    @property
    def points(self) -> Points:
        points: Points = {}
        for row in self.rows:
            for metric, value in row.values.items():
                points.setdefault(metric, []).append((row.step, value))
        return points


class KilledError(Exception):
    """Stands for the end of a process."""


@dataclass
class Kept(Tracker):
    """A tracker that outlives whoever tells it."""

    runs: dict[str, KeptRun] = field(default_factory=dict)
    """By name."""
    left: int | None = None

    def open(self, run: TrackedRun) -> KeptRun:
        kept = self.runs.setdefault(run.name, KeptRun(run))
        assert kept.run == run
        kept.left = self.left
        return kept

    @property
    def kind(self) -> TrackerKind:
        return KeptKind("kept", (), lambda: None, str, self)

    def shows(self, run_folder: Path, *, clock: bool = True) -> bool:
        expected = expected_points(run_folder)
        return expected.keys() == self.runs.keys() - {"verdicts"} and all(
            same_points(self.runs[name].points, points, clock=clock) for name, points in expected.items()
        )


@dataclass(frozen=True)
class KeptKind(TrackerKind):
    kept: Kept

    def opened(self, folder: Path) -> Tracker:
        return self.kept
