"""What does a machine do that is asked for a part of an experiment? It goes on with the run, and does that part alone.

Nothing here knows of Ray: an `Order` says what to do, in plain values, and an `Answer` what became of it. Threads are
set as the order says, whatever the cluster has put into the environment: they decide bits, and are the same in a whole
run.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch

from frostline.cache import cache_folder, settle_other_caches, settle_temporary_files, usable_cache
from frostline.engine import settle_device
from frostline.errors import FrostlineError, TrainingError
from frostline.experiment import Head, Part, RunResult, resume_experiment, run_experiment, standing
from frostline.interruption import Interruption
from frostline.launch.part_folder import (
    ATTEMPT,
    Beginning,
    attempts_in,
    begin_attempt,
    last_kind,
    pack,
    part_folder,
    read_done,
    seal_done,
)
from frostline.machine import describe_machine
from frostline.out_of_memory import MEMORY_ERRORS, is_out_of_memory, want_of_memory
from frostline.progress import NoProgress, UnitState
from frostline.recipe import Place, Recipe, parse_recipe, trusting
from frostline.run_folder import KIND_FACTS, ArmFinished, changes_of_machine, kind_of_machine
from frostline.system import ask_for_huge_pages

Tell = Callable[[UnitState], bool]
"""Tells the driver how far a part is; whether it asks to save and stop."""
TELL_SECONDS = 0.5
FINISHED = ArmFinished.__name__


@dataclass(frozen=True)
class Order:
    """What a machine is asked to do."""

    part: Part
    attempt: int
    run_folder: str
    """The driver's run folder, absolute."""
    witness: tuple[str, str]
    """Name of a file in it, and its content: who reads that sees the same folder."""
    recipe: str
    """The resolved recipe."""
    recipe_folder: str
    """What its paths are relative to, absolute."""
    trusted_code: str | None
    threads: int
    machine: Mapping[str, str]
    """The driver's machine: versions must be the same."""
    cache: tuple[str, str]
    """The driver's cache folder, and which machine it is on: another one uses its own."""
    journals: Mapping[str, bytes] = field(default_factory=dict)
    """What the run has of this part already, by name of file."""
    names: tuple[str, ...] | None = None
    """Names of the journals that are the part's; None: all."""
    retry_failed: bool = False
    fresh: bool = False


@dataclass(frozen=True)
class Answer:
    """What became of an order."""

    status: Literal["finished", "interrupted", "refused"]
    error: FrostlineError | None = None
    """Why it was refused, or could not go on."""
    files: Mapping[str, bytes] | None = None
    """What came of it, where it does not lie in the run folder."""
    machine: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def do_part(order: Order, beginning: Beginning | None, tell: Tell, node: str = "") -> Answer:
    """Do what the order says, as far as it comes. `node` is what the cluster calls this machine.

    What the user can fix comes back as an answer. To be called in the main thread, where signals are handled.
    """
    began = time.monotonic()
    try:
        with working(order) as (folder, cache, shared):
            machine = ready_machine(order)
            _require_same_versions(order.machine if beginning is None else beginning.environment, machine)
            status = _do(order, beginning, folder, cache, machine, tell, shared=shared, node=node, began=began)
            files = None
            if status == "finished" and not shared:
                attempt = folder / f"{ATTEMPT}{order.attempt}"
                done = read_done(folder)
                assert done is not None
                files = pack(folder, attempt, done.sealed.folder.name)
            return Answer(status, None, files, machine, time.monotonic() - began)
    except FrostlineError as error:
        return Answer("refused", error)
    except MEMORY_ERRORS as error:
        if not is_out_of_memory(error):
            raise
        return Answer("refused", TrainingError(f"{want_of_memory(error)}."))


def ready_machine(order: Order) -> dict[str, str]:
    """Set threads and device as the order says, and describe the machine. Raises `FrostlineError`."""
    torch.set_num_threads(order.threads)
    os.environ["OMP_NUM_THREADS"] = str(order.threads)  # of processes that measure memory
    settle_device(recipe_of(order).training.device)
    return describe_machine()


def recipe_of(order: Order) -> Recipe:
    """The recipe, with its paths where they are, and the code that is trusted."""
    return _parsed(order.recipe, order.recipe_folder, order.trusted_code)


@lru_cache(maxsize=1)  # a process does many units of one recipe, and that of a thousand seeds is long
def _parsed(content: str, folder: str, trusted_code: str | None) -> Recipe:
    return trusting(parse_recipe(content).placed(Place(Path(folder))), trusted_code)


@contextmanager
def working(order: Order) -> Iterator[tuple[Path, Path, bool]]:
    """Where to work: folder of the part, cache folder, and whether the former lies in the driver's run folder."""
    settle_temporary_files()
    settle_other_caches()
    ask_for_huge_pages()
    driver_cache, home = order.cache
    cache = usable_cache(Path(driver_cache)) if home == this_machine() else cache_folder()
    if sees(order):
        yield part_folder(Path(order.run_folder), order.part.name), cache, True
        return
    with tempfile.TemporaryDirectory(prefix="frostline-unit-", ignore_cleanup_errors=True) as temporary:
        yield Path(temporary) / order.part.name, cache, False


def sees(order: Order) -> bool:
    """Whether the driver's run folder is seen from here."""
    name, content = order.witness
    try:
        return Path(order.run_folder, name).read_text(encoding="ascii") == content
    except (OSError, ValueError):
        return False


def this_machine() -> str:
    """What tells this machine from all others while it runs; '' where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _require_same_versions(then: Mapping[str, str], machine: Mapping[str, str]) -> None:
    """Raise `FrostlineError` where what may decide a bit differs, but for the kind of the machine."""
    like = {name: value for name, value in then.items() if name not in KIND_FACTS}
    changes = changes_of_machine(like, machine)
    if changes:
        raise FrostlineError(
            f"a machine of the cluster would give other bits than the run was begun with: {'; '.join(changes)}.",
            "Install the same versions on all machines.",
        )


def _do(
    order: Order,
    beginning: Beginning | None,
    folder: Path,
    cache: Path,
    machine: dict[str, str],
    tell: Tell,
    *,
    shared: bool,
    node: str,
    began: float,
) -> Literal["finished", "interrupted"]:
    earlier = [folder / f"{ATTEMPT}{number}" for number in attempts_in(folder) if number < order.attempt]
    if shared and beginning is not None:
        earlier.insert(0, Path(order.run_folder))
    attempt = begin_attempt(
        folder,
        order.attempt,
        beginning,
        order.journals,
        machine,
        own_machine=not isinstance(order.part, Head),
        earlier=earlier,
    )
    result = _run(order, attempt, cache, tell)
    if result.status != "finished":
        return "interrupted"
    facts: dict[str, int | str] = {
        "part": order.part.name,
        "kind": kind_of_machine(machine),
        "processor": machine["processor"],
        "gpu": machine["gpu"],
        "node": node,
        "had": " ".join(sorted(name for name, content in order.journals.items() if last_kind(content) == FINISHED)),
        "milliseconds": round(1000 * (time.monotonic() - began)),
    }
    seal_done(attempt, order.names, facts)
    return "finished"


def _run(order: Order, attempt: Path, cache: Path, tell: Tell) -> RunResult:
    recipe, interruption = recipe_of(order), Interruption()
    with interruption.listening(), _Told(order.part, recipe, tell) as progress:
        if standing(attempt) == "nothing":
            return run_experiment(
                recipe, attempt, cache, progress, fresh=order.fresh, interruption=interruption, only=order.part
            )
        return resume_experiment(
            attempt,
            cache,
            progress,
            recipe=recipe,
            retry_failed=order.retry_failed,
            interruption=interruption,
            only=order.part,
        )


class _Told(NoProgress):
    """Tells the driver how far the part is, now and then; and lets the run save and stop where it asks for that."""

    def __init__(self, part: Part, recipe: Recipe, tell: Tell) -> None:
        self._state, self._tell = UnitState(part.title), tell
        self._steps: dict[str, int] = {}
        self._told_at = -TELL_SECONDS
        self._stopping = False

    def say(self, text: str) -> None:
        self._update(replace(self._state, doing=text), always=True)

    def begin(self, title: str, steps: dict[str, int]) -> None:
        self._steps = dict.fromkeys(steps, 0)
        self._update(replace(self._state, doing=title, steps=0, steps_in_all=sum(steps.values())), always=True)

    def step(self, arm: str, step: int, loss_nats: float, tokens: int, seconds: float) -> None:
        self._steps[arm] = step + 1
        self._update(replace(self._state, steps=sum(self._steps.values()), loss_nats=loss_nats))

    def _update(self, state: UnitState, *, always: bool = False) -> None:
        self._state = state
        now = time.monotonic()
        if not always and now - self._told_at < TELL_SECONDS:
            return
        self._told_at = now
        if self._tell(state) and not self._stopping:
            self._stopping = True
            os.kill(os.getpid(), signal.SIGTERM)
