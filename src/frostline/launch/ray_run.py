"""How does an experiment run on a cluster of Ray? The head first, then units and tails, wherever there is room.

The driver holds the lock of the run folder and alone writes there; machines write into folders of their own (see
`part_folder`). So a run that was begun here goes on there, and the other way round.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from frostline.engine import ALONE
from frostline.errors import FrostlineError, RunFolderError
from frostline.experiment import (
    TRAINING_FOLDER,
    Head,
    Part,
    RunResult,
    read_left,
    require_as_sharded,
    require_same_recipe,
    standing,
    tails_of,
    units_of,
    write_recipe,
)
from frostline.interruption import Interruption, Stopped
from frostline.launch.memory_asked import for_units
from frostline.launch.part_folder import Beginning, part_folder, read_done, without_end
from frostline.launch.part_work import Order, this_machine
from frostline.launch.ray_cluster import Machine, Needs, connected, needs_of
from frostline.launch.ray_driver import Driver
from frostline.launch.taking_in import add_to_run_file, is_complete, journals_of, memory_known, take_in_all
from frostline.launch.where import RayAddress
from frostline.machine import THREADS, describe_machine
from frostline.moments import moment_now
from frostline.progress import RunProgress
from frostline.recipe import Recipe, dump_recipe
from frostline.run_folder import (
    CHECKPOINT_FOLDER,
    JOURNAL_FOLDER,
    RECIPE_FILE,
    RUN_FILE,
    UNITS_FOLDER,
    RunEnded,
    SameBits,
    begin_session,
    end_session,
    read_lines,
    read_unit_records,
    run_lock,
)
from frostline.storage import disk_trouble, replace_file

WITNESS = "witness"
"""File of the units' folder by which a machine knows that it sees the same one."""
HEAD_IS_DONE = "head.done"
"""File of the units' folder: the run's own file of the journal holds all that comes before units."""


@dataclass(frozen=True)
class Asked:
    """What a run on a cluster is asked for."""

    recipe: Recipe
    run_folder: Path
    cache: Path
    address: RayAddress
    fresh: bool = False
    retry_failed: bool = False
    trusted_code: str | None = None


def run_on_ray(asked: Asked, progress: RunProgress, interruption: Interruption | None = None) -> RunResult:
    """Run the experiment on the cluster, or go on with what is in its run folder.

    Signals as in `run_experiment`. Raises `FrostlineError` where it cannot begin or go on; what is done is kept.
    """
    interruption = interruption or Interruption()
    run_folder = asked.run_folder
    standing(run_folder)
    made = not run_folder.exists()
    try:
        run_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_trouble(error, run_folder) from error
    try:
        with run_lock(run_folder, progress.say, stops=interruption.is_listening):
            return _run(asked, progress, interruption)
    except Stopped as stopped:
        interruption.answer()
        progress.say("Stopped before training began.")
        return RunResult(run_folder, "interrupted", stopped.exit_code)
    finally:
        if made and not (run_folder / RECIPE_FILE).exists():
            shutil.rmtree(run_folder / UNITS_FOLDER, ignore_errors=True)
            with suppress(OSError):
                run_folder.rmdir()


def _run(asked: Asked, progress: RunProgress, interruption: Interruption) -> RunResult:
    run_folder, recipe = asked.run_folder, asked.recipe
    begun, left = standing(run_folder) != "nothing", read_left(run_folder)
    if begun:
        require_same_recipe(run_folder, recipe)
        if left.started is not None:
            require_as_sharded(run_folder, left.started, ALONE)  # a unit is computed by one process
        take_in_all(run_folder, recipe, progress.say)
        if standing(run_folder) == "finished" and not asked.retry_failed:
            progress.say("The run has finished: nothing is left to do.")
            return RunResult(run_folder, "finished")
    progress.say(f"Ray: {'starting on this machine' if asked.address.is_local else asked.address.address}")
    with connected(asked.address) as cluster:
        nodes = cluster.nodes()
        environment = {} if left.started is None else left.started.environment
        threads = _threads(asked, environment)
        settled = {label: facts.schedule for label, facts in left.variants.items()}
        asks = for_units(needs_of(recipe, nodes, threads), recipe, nodes, asked.cache, settled)
        needs = asks.needs
        driver_machine = {**describe_machine(), THREADS: str(needs.cpus)}
        # Not where a driver was killed before anything was computed: then they are settled now.
        if THREADS in environment and needs.cpus != threads:
            raise RunFolderError(
                f"{run_folder}: it was begun with {threads} threads a unit, and no machine has as many cores.",
                "Go on where one has.",
            )
        machines = cluster.look([node for node in nodes if needs.fits(node)], driver_machine)
        progress.say(_told(machines, needs))
        context = _Context(asked, _witness(run_folder), needs.cpus, driver_machine, asks.schedules)
        units = [] if not begun else units_of(recipe)
        done = sum(is_complete(run_folder, recipe, unit, retry_failed=asked.retry_failed) for unit in units)
        driver = Driver(
            cluster,
            needs,
            run_folder,
            recipe,
            progress,
            interruption,
            done=done,
            total=len(units_of(recipe)),
        )
        return _drive(context, driver, machines, progress, interruption)


@dataclass(frozen=True)
class _Context:
    """What all orders have in common."""

    asked: Asked
    witness: tuple[str, str]
    threads: int
    machine: dict[str, str]
    schedules: Mapping[str, str]
    """How the arms of a variant train, where that was settled with what is asked for."""

    @property
    def head(self) -> Head:
        """What comes before the units."""
        return Head(tuple(self.schedules.items()))

    def order(self, part: Part, *, names: Sequence[str] | None = None) -> Order:
        """The order for `part`, whose journals are `names`; those that the run has already go with it."""
        asked = self.asked
        folder = asked.run_folder / JOURNAL_FOLDER
        known = {name: (folder / name).read_bytes() for name in names or () if (folder / name).exists()}
        recipe_folder = asked.recipe.place.folder or Path.cwd()
        return Order(
            part=part,
            attempt=0,
            run_folder=str(asked.run_folder.resolve()),
            witness=self.witness,
            recipe=dump_recipe(asked.recipe),
            recipe_folder=str(recipe_folder.resolve()),
            trusted_code=asked.trusted_code,
            threads=self.threads,
            machine=self.machine,
            cache=(str(asked.cache.resolve()), this_machine()),
            journals=known,
            names=None if names is None else tuple(names),
            retry_failed=asked.retry_failed,
            fresh=asked.fresh,
        )


def _drive(
    context: _Context,
    driver: Driver,
    machines: Sequence[Machine],
    progress: RunProgress,
    interruption: Interruption,
) -> RunResult:
    run_folder, recipe = context.asked.run_folder, context.asked.recipe
    began, status, exit_code, session = time.monotonic(), "finished", 0, None
    try:
        _do_head(context, driver)
        session = begin_session(run_folder)
        beginning = _beginning(run_folder)
        if not any(isinstance(record, SameBits) for record in read_unit_records(run_folder)):
            driver.check_bits(machines, context.order(Head()))
        driver.do_parts(_orders_left(context), beginning)
    except Stopped as stopped:
        interruption.answer()
        status, exit_code = "interrupted", stopped.exit_code
        progress.say("Stopping: what is at work is saved")
        driver.stop()
        if session is None:
            raise
        progress.say(f"Stopped. Go on with: frostline resume {run_folder} --on {context.asked.address.on}")
    spent = time.monotonic() - began
    ended = RunEnded(status, moment_now(), session.seconds_before + spent)
    line: dict[str, object] = {"kind": RunEnded.__name__, **vars(ended)}
    try:
        add_to_run_file(run_folder, recipe, [line])
    except OSError as error:
        raise disk_trouble(error, run_folder) from error
    end_session(run_folder, status, 0, 0.0, spent)
    if status == "finished":
        shutil.rmtree(run_folder / UNITS_FOLDER, ignore_errors=True)
        for folder in (run_folder / CHECKPOINT_FOLDER / TRAINING_FOLDER, run_folder / CHECKPOINT_FOLDER):
            with suppress(OSError):
                folder.rmdir()  # unless something lies there
    return RunResult(run_folder, status, exit_code)


def _do_head(context: _Context, driver: Driver) -> None:
    """Have the head done, unless it was, and begin the run with it."""
    run_folder, recipe = context.asked.run_folder, context.asked.recipe
    if _head_is_done(run_folder):
        return
    begun = (run_folder / RECIPE_FILE).exists()
    folder = part_folder(run_folder, Head().name)
    if read_done(folder) is None:
        order = context.order(context.head)
        if begun:  # here, or by a driver that was killed before it noted that the head was done
            names = [path.name for path in (run_folder / JOURNAL_FOLDER).glob("*.jsonl") if path.name != RUN_FILE]
            order = replace(context.order(context.head, names=names), names=None)
        driver.do_head(order, _beginning(run_folder) if begun else None)
    done = read_done(folder)
    if done is None:
        raise RunFolderError(f"{run_folder}: what came of its beginning is not whole.", "Begin it again.")
    try:
        write_recipe(run_folder, recipe)  # with it the run is begun
        (run_folder / JOURNAL_FOLDER).mkdir(exist_ok=True)
        for name, content in done.journals.items():
            if not (run_folder / JOURNAL_FOLDER / name).exists():
                replace_file(run_folder / JOURNAL_FOLDER / name, content)
        add_to_run_file(run_folder, recipe, done.lines)
        replace_file(run_folder / UNITS_FOLDER / HEAD_IS_DONE, b"")
    except OSError as error:
        raise disk_trouble(error, run_folder) from error
    shutil.rmtree(folder, ignore_errors=True)


def _head_is_done(run_folder: Path) -> bool:
    return (run_folder / UNITS_FOLDER / HEAD_IS_DONE).exists() and (run_folder / RECIPE_FILE).exists()


def _beginning(run_folder: Path) -> Beginning:
    return Beginning((run_folder / RECIPE_FILE).read_bytes(), without_end(_run_lines(run_folder)))


def _run_lines(run_folder: Path) -> list[dict[str, object]]:
    return read_lines(run_folder, RUN_FILE)[0]


def _orders_left(context: _Context) -> list[Order]:
    """Units that are not complete, in their order, then memory that was not measured."""
    asked = context.asked
    run_folder, recipe = asked.run_folder, asked.recipe
    left = [
        context.order(unit, names=journals_of(unit))
        for unit in units_of(recipe)
        if not is_complete(run_folder, recipe, unit, retry_failed=asked.retry_failed)
    ]
    tails = [tail for tail in tails_of(recipe) if not memory_known(run_folder, recipe, tail.variant)]
    return [*left, *(context.order(tail, names=()) for tail in tails)]


def _threads(asked: Asked, begun_on: Mapping[str, str]) -> int:
    """Threads of a unit: those that the run was begun with, else as the recipe says, else as many as here."""
    wanted = asked.recipe.resources.cpus
    if THREADS not in begun_on:
        return torch.get_num_threads() if wanted is None else wanted
    begun = int(begun_on[THREADS])
    if wanted is not None and wanted != begun:
        raise FrostlineError(
            f"resources.cpus is {wanted}, and the run was begun with {begun} threads: results would no longer be the "
            "same to the bit.",
            f"Go on with --set resources.cpus={begun}.",
        )
    return begun


def _witness(run_folder: Path) -> tuple[str, str]:
    """Write the file by which a machine knows the folder. Raises `RunFolderError`."""
    name, content = f"{UNITS_FOLDER}/{WITNESS}", secrets.token_hex(16)
    try:
        (run_folder / UNITS_FOLDER).mkdir(exist_ok=True)
        replace_file(run_folder / name, content.encode())
    except OSError as error:
        raise disk_trouble(error, run_folder) from error
    return name, content


def _told(machines: Sequence[Machine], needs: Needs) -> str:
    """What there is, and what a unit takes of it, in a sentence."""
    count, kinds = len(machines), len({machine.kind for machine in machines})
    found = f"{count} machine{'s' if count != 1 else ''} of {kinds} kind{'s' if kinds != 1 else ''}"
    cores = sum(machine.node.cpus for machine in machines)
    return f"Ray: {found} with {cores:g} cores; a unit takes {needs.sentence}"
