"""What a driver does about what it has lost: parts that gain nothing, and the check of bits, by a Ray that pretends."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from frostline.errors import TrainingError
from frostline.experiment import Unit
from frostline.interruption import Interruption
from frostline.launch.part_folder import ATTEMPT, Beginning, part_folder, reached
from frostline.launch.part_work import Order
from frostline.launch.ray_cluster import Cluster, Machine, Needs, Node
from frostline.launch.ray_driver import MOST_LOSSES, Driver
from frostline.progress import NoProgress
from frostline.recipe import load_recipe
from frostline.run_folder import SameBits, line_bytes, read_unit_records
from tests.builders.experiments import write_experiment

UNIT = Unit("", 0, ("full", "freeze"))
FULL, FREEZE = "variant0-seed0-full", "variant0-seed0-freeze"
A1, A2, A3, B1 = (Node(name, 1.0, 0.0, 0.0) for name in ("A1", "A2", "A3", "B1"))


class PretendRayError(Exception):
    """What a lost process gives."""


class PretendTaskError(PretendRayError):
    """What a defect gives."""


class PretendCancelledError(PretendRayError):
    """What a task gives that was cancelled."""


class PretendRay:
    """As much of Ray as the driver uses: what a task computes is asked for once its answer is."""

    exceptions = SimpleNamespace(
        RayError=PretendRayError, RayTaskError=PretendTaskError, TaskCancelledError=PretendCancelledError
    )

    def remote(self, function: Any) -> Any:
        def given(**options: object) -> Any:
            return SimpleNamespace(remote=lambda *arguments: lambda: function(options, *arguments))

        board = SimpleNamespace(
            forget=SimpleNamespace(remote=lambda name: None),
            read=SimpleNamespace(remote=lambda **options: dict),
        )
        if isinstance(function, type):
            return SimpleNamespace(options=lambda **options: SimpleNamespace(remote=lambda: board))
        return SimpleNamespace(options=given)

    def put(self, value: object) -> object:
        return value

    def wait(self, tasks: list[object], **_: object) -> tuple[list[object], list[object]]:
        return tasks[:1], tasks[1:]

    def get(self, task: Callable[[], object]) -> object:
        return task()

    def cancel(self, task: object, **_: object) -> None:
        pass


@dataclass
class Said(NoProgress):
    """Keeps what is said."""

    said: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.said.append(text)


@dataclass
class Drive:
    """A driver, and what it has said."""

    driver: Driver
    progress: Said
    run_folder: Path


def drive(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    part: Callable[..., object] | None = None,
    bits: Callable[..., object] | None = None,
    nodes: Callable[[], list[Node]] = list,
) -> Drive:
    """A driver whose tasks are these functions, of the options that Ray was given and what the task was."""
    tasks = SimpleNamespace(part_task=part, bits_task=bits)
    monkeypatch.setitem(sys.modules, "frostline.launch.ray_tasks", cast("Any", tasks))
    pretended = SimpleNamespace(ray=PretendRay(), nodes=nodes, on_node=lambda node: node.id)
    progress, run_folder = Said(), folder / "run"
    run_folder.mkdir()
    driver = Driver(
        cast("Cluster", pretended),
        Needs(1, 0.0, 0),
        run_folder,
        load_recipe(write_experiment(folder, layers=2)),
        progress,
        Interruption(),
        done=0,
        total=1,
    )
    return Drive(driver, progress, run_folder)


def order_of(run_folder: Path, *, retry_failed: bool = False) -> Order:
    return Order(UNIT, 0, str(run_folder), ("", ""), "", "", None, 1, {}, ("", ""), retry_failed=retry_failed)


def leave(attempt: Path, *, steps: int = 0, ended: str = "") -> None:
    """What a process leaves that is killed after its checkpoint of so many steps: two arms begun, perhaps one ended."""
    (attempt / "journal").mkdir(parents=True)
    (attempt / "journal" / "run.jsonl").write_bytes(line_bytes({"sequence": 0, "kind": "RunStarted"}))
    for name in (FULL, FREEZE):
        kind = ended if name == FREEZE and ended else "StepTaken"
        (attempt / "journal" / f"{name}.jsonl").write_bytes(line_bytes({"sequence": 0, "kind": kind}))
    if steps:
        (attempt / "checkpoints" / "_training" / FULL / f"{steps:06d}").mkdir(parents=True)


@pytest.mark.parametrize(
    ("leaves", "expected"),
    [
        ([], MOST_LOSSES + 1),
        ([{"steps": 5}], MOST_LOSSES + 1),
        ([{}, {}, {"steps": 5}], 2 + MOST_LOSSES + 1),
        ([{"steps": 5}, {"steps": 5}, {"steps": 5, "ended": "ArmFinished"}], 2 + MOST_LOSSES + 1),
        ([{"steps": 9}, {"steps": 5}, {"steps": 7}], MOST_LOSSES + 1),
    ],
)
def test_a_part_that_is_lost_in_one_place_again_and_again_ends_the_run(
    leaves: list[dict[str, Any]], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers: list[int] = []

    def killed(_: object, order: Order, *others: object) -> None:
        assert len(numbers) < 3 * MOST_LOSSES, "it would be begun again for ever"
        left = leaves[len(numbers)] if len(numbers) < len(leaves) else (leaves or [{}])[-1]
        numbers.append(order.attempt)
        leave(part_folder(Path(order.run_folder), order.part.name) / f"{ATTEMPT}{order.attempt}", **left)
        raise PretendRayError("the worker died")

    found = drive(tmp_path, monkeypatch, part=killed)
    with pytest.raises(TrainingError, match=r"seed 0: its machine or process was lost 9 times in a row"):
        found.driver.do_parts([order_of(found.run_folder)], Beginning(b"", []))
    assert numbers == list(range(expected))


def test_a_failure_is_no_end_of_an_arm_that_is_tried_again(tmp_path: Path) -> None:
    leave(tmp_path / f"{ATTEMPT}0", ended="ArmFailed")
    assert f"end of {FREEZE}" in reached(tmp_path, retry_failed=False)
    assert f"end of {FREEZE}" not in reached(tmp_path, retry_failed=True)


def checked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, there: list[Node], lost: list[str]
) -> tuple[Drive, list[str]]:
    """A check of two machines of the kind A, where a task is lost on each of `lost`; and where it was asked for."""
    asked, losses = [], list(lost)

    def bits(options: dict[str, Any], _: Order) -> str:
        node = options.get("scheduling_strategy", "any machine")
        asked.append(node)
        if node in losses:
            losses.remove(node)
            raise PretendRayError("the machine died")
        return f"bits of {node[0]}"

    found = drive(folder, monkeypatch, bits=bits, nodes=lambda: there)
    machines = [Machine(node, {"processor": node.id[0]}) for node in (A1, A2, A3, B1)]
    found.driver.check_bits(machines, order_of(found.run_folder))
    found.driver.do_parts([], Beginning(b"", []))
    return found, asked


@pytest.mark.parametrize(
    ("there", "lost", "nodes"),
    [
        ([A1, A2, A3, B1], [], ["A1", "A2"]),
        ([A1, A2, A3, B1], ["A2", "A2"], ["A1", "A2"]),
        ([A1, A3, B1], ["A2"], ["A1", "A3"]),
        ([A1, B1], ["A2"], ["A1", "A1"]),
    ],
)
def test_a_check_that_is_lost_is_made_again_on_a_machine_of_its_kind(
    there: list[Node], lost: list[str], nodes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, asked = checked(tmp_path, monkeypatch, there, lost)
    (record,) = read_unit_records(found.run_folder)
    assert isinstance(record, SameBits)
    assert (record.nodes, record.same) == (nodes, True)
    assert "B1" not in asked
    (said,) = found.progress.said
    assert ("two machines" in said) == (nodes[0] != nodes[1])


@pytest.mark.parametrize(
    ("there", "lost", "told"),
    [
        ([B1], ["A2"], "no machine of that kind is left"),
        ([A1, A2], ["A2"] * 99, "its machine or process was lost 9 times (PretendRayError)"),
    ],
)
def test_a_check_that_no_machine_of_its_kind_can_end_is_dropped(
    there: list[Node], lost: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, asked = checked(tmp_path, monkeypatch, there, lost)
    assert read_unit_records(found.run_folder) == []
    assert found.progress.said == [f"Whether machines of one kind give the same bits could not be checked: {told}"]
    assert "B1" not in asked


def test_a_check_in_which_machines_differ_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = itertools.count()
    found = drive(tmp_path, monkeypatch, bits=lambda *_: f"bits {next(count)}", nodes=lambda: [A1])
    found.driver.check_bits([Machine(A1, {"processor": "A"})], order_of(found.run_folder))
    found.driver.do_parts([], Beginning(b"", []))
    (record,) = read_unit_records(found.run_folder)
    assert record == SameBits(record.kind, ["A1", "A1"], same=False) if isinstance(record, SameBits) else False
    assert "other bits each time" in found.progress.said[0]
