"""Which machines are there, and is what the recipe asks for to be had on one of them? A cluster of Ray, while in use.

Without an address a cluster of this machine is started, and stopped again. Nothing is told to anybody: Ray's collection
of usage is switched off before Ray is loaded.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from frostline.errors import FrostlineError, RecipeError
from frostline.launch.where import RayAddress
from frostline.readable import size
from frostline.recipe import Recipe, ResourceSettings
from frostline.run_folder import changes_of_machine, kind_of_machine
from frostline.system import usable_cores

if TYPE_CHECKING:
    from types import ModuleType

OBJECT_STORE_BYTES = 256 * 2**20
"""Of a cluster that is started here: units lie in the run folder, and only their answers are sent."""
LOOK_SECONDS = 120.0
"""Until a machine has loaded what it needs, for the first time."""
SWITCHES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a unit without a GPU sees none
}
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Variable by which a cluster of one machine, on any system, listens on 127.0.0.1 and nowhere else."""
GB = 1_000_000_000


@dataclass(frozen=True)
class Node:
    """One machine of a cluster."""

    id: str
    cpus: float
    gpus: float
    memory_bytes: float


@dataclass(frozen=True)
class Needs:
    """What a unit takes of the machine that it runs on."""

    cpus: int
    """Cores, and threads."""
    gpus: float
    memory_bytes: int
    """0 where nothing is asked for."""

    def fits(self, node: Node) -> bool:
        """Whether the machine could do a unit if nothing else ran there."""
        return self.cpus <= node.cpus and self.gpus <= node.gpus and self.memory_bytes <= node.memory_bytes

    def times_on(self, node: Node) -> int:
        """How many units the machine could do at once."""
        asked = ((self.cpus, node.cpus), (self.gpus, node.gpus), (self.memory_bytes, node.memory_bytes))
        return int(min(has / wanted for wanted, has in asked if wanted))

    @property
    def sentence(self) -> str:
        """For people."""
        parts = [f"{self.cpus} core{'s' if self.cpus != 1 else ''}"]
        parts += [f"{self.gpus:g} GPU"] if self.gpus else []
        parts += [f"{size(self.memory_bytes)} of memory"] if self.memory_bytes else []
        return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)

    @property
    def options(self) -> dict[str, float]:
        """What Ray is asked for."""
        memory = {"memory": self.memory_bytes} if self.memory_bytes else {}
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, **memory}


@dataclass(frozen=True)
class Machine:
    """A machine that was looked at."""

    node: Node
    facts: Mapping[str, str]

    @property
    def kind(self) -> str:
        """Machines of one kind give the same bits."""
        return kind_of_machine(self.facts)


@dataclass(frozen=True)
class Cluster:
    """A cluster to which this process is connected; `ray` is the module."""

    ray: ModuleType
    address: RayAddress

    def nodes(self) -> list[Node]:
        """The machines that are there now."""
        found = []
        for node in self.ray.nodes():
            if node["Alive"]:
                has: dict[str, float] = node["Resources"]
                found.append(Node(node["NodeID"], has.get("CPU", 0.0), has.get("GPU", 0.0), has.get("memory", 0.0)))
        return found

    def on_node(self, node: Node) -> object:
        """Ray's word for: there and nowhere else."""
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        strategy: object = strategies.NodeAffinitySchedulingStrategy(node.id, soft=False)
        return strategy

    def look(
        self, nodes: Sequence[Node], driver: Mapping[str, str], *, gpus: float = 0.0, device: str = "cpu"
    ) -> list[Machine]:
        """Look at each of `nodes` as it is for a run on `device`, with so many `gpus`, which Ray hides otherwise.

        Raises `FrostlineError` where one has other versions than `driver`, or none answers.
        """
        tasks = importlib.import_module("frostline.launch.ray_tasks")
        look = self.ray.remote(tasks.look_task)
        asked = {
            look.options(num_cpus=0, num_gpus=gpus, max_retries=2, scheduling_strategy=self.on_node(node)).remote(
                device
            ): node
            for node in nodes
        }
        machines = []
        versions = {name: value for name, value in driver.items() if name in VERSIONS}
        for task, node in asked.items():
            try:
                facts = self.ray.get(task, timeout=LOOK_SECONDS)
            except self.ray.exceptions.RayTaskError as error:
                raise FrostlineError(
                    f"a machine of the cluster cannot run Frostline ({type(error.cause).__name__}: {error.cause}).",
                    "Install the same version of it on all machines.",
                ) from error
            except self.ray.exceptions.RayError:
                continue  # it went away, or is not ready yet: what starts there later is looked at then
            if changes := changes_of_machine(versions, facts):
                raise FrostlineError(
                    f"a machine of the cluster has other versions: {'; '.join(_here_and_there(changes))}.",
                    "Install the same versions on all machines.",
                )
            machines.append(Machine(node, facts))
        if not machines:
            raise FrostlineError(
                f"no machine of the cluster at '{self.address.address}' answers.", "Look at 'ray status'."
            )
        return machines


VERSIONS = ("frostline", "frostline code", "python", "torch", "transformers", "tokenizers", "numpy", "peft")
"""Of the facts about a machine, those that are the same on all machines of a run."""


def _here_and_there(changes: Sequence[str]) -> list[str]:
    """What differs between here and there, in the words for it."""
    return [change.replace(" was ", " is ", 1).replace(" and is ", " here and ", 1) + " there" for change in changes]


def needs_of(recipe: Recipe, nodes: Sequence[Node], threads: int) -> Needs:
    """What a unit takes: as the recipe says, else `threads` cores, and a GPU where there are any.

    Raises `RecipeError` where no machine has as much.
    """
    asked: ResourceSettings = recipe.resources
    most_cpus = max((int(node.cpus) for node in nodes), default=1)
    cpus = asked.cpus or max(1, min(threads, most_cpus))
    gpus = asked.gpus
    if gpus is None:
        wanted = recipe.training.device == "cuda" or (
            recipe.training.device == "auto" and any(node.gpus >= 1 for node in nodes)
        )
        gpus = 1.0 if wanted else 0.0
    needs = Needs(cpus, gpus, round((asked.memory_gb or 0.0) * GB))
    if not any(needs.fits(node) for node in nodes):
        raise _too_much(needs, nodes, recipe)
    return needs


def _too_much(needs: Needs, nodes: Sequence[Node], recipe: Recipe) -> RecipeError:
    """Which key of the recipe asks for more than any machine has, or that no machine has it all."""
    found = (
        ("cpus", needs.cpus, max((node.cpus for node in nodes), default=0), "cores"),
        ("gpus", needs.gpus, max((node.gpus for node in nodes), default=0), "GPUs"),
        ("memory_gb", needs.memory_bytes / GB, max((node.memory_bytes for node in nodes), default=0) / GB, "GB"),
    )
    for key, wanted, most, unit in found:
        if wanted > most:
            unit = unit.removesuffix("s") if wanted == 1 else unit
            error = RecipeError(
                f"a unit asks for {wanted:g} {unit}, and the largest machine of the cluster has {most:.4g}.",
                f"Set resources.{key} to less, or add a larger machine.",
            ).at("resources", key)
            recipe.source.locate(error)
            return error
    asked = f"{needs.cpus} cores, {needs.gpus:g} GPUs and {needs.memory_bytes / GB:g} GB"
    return RecipeError(f"no machine of the cluster has {asked} at once.", "Ask for less in resources.").at("resources")


@contextmanager
def connected(address: RayAddress) -> Iterator[Cluster]:
    """The cluster at `address`, until the block ends. Raises `FrostlineError` where it cannot be had."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    if address.is_local:
        os.environ.setdefault(LOOPBACK, "0")
    ray = importlib.import_module("ray")
    if ray.is_initialized():
        yield Cluster(ray, address)  # of whoever has called us
        return
    own: dict[str, Any] = {}
    if address.is_local:
        own = {
            "num_cpus": usable_cores(),
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
    try:
        with _own_signals():
            ray.init(address=address.address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FrostlineError(
            f"the Ray cluster at '{address.address}' cannot be used: {reason}", "Look at 'ray status' there."
        ) from error
    try:
        yield Cluster(ray, address)
    finally:
        ray.shutdown()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Signals are handled after the block as before it: Ray takes SIGTERM for itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
