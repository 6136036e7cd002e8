"""How does an advice race its trials on a cluster of Ray? Benches compute them; all else its driver does itself.

The driver measures the prices of plans, and trials are compared with one another: machines of another kind than the
driver's take no part. So the journal, which names that machine, is what one process writes there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from frostline.advisor import AdviceResult, Advised, Budget, advise, read_advice
from frostline.engine import resolve_device
from frostline.errors import FrostlineError
from frostline.interruption import Interruption, Stopped
from frostline.launch.memory_asked import for_trials
from frostline.launch.part_work import this_machine
from frostline.launch.ray_cluster import Cluster, Machine, Needs, Node, connected, needs_of
from frostline.launch.ray_trials import Benches, TrialsOnRay
from frostline.launch.trial_bench import BenchOrder, comparable, is_of_kind
from frostline.launch.where import RayAddress
from frostline.machine import THREADS, describe_machine
from frostline.progress import RunProgress
from frostline.recipe import Recipe, dump_recipe
from frostline.run_folder import JOURNAL_FOLDER


@dataclass(frozen=True)
class AdviceAsked:
    """What an advice on a cluster is asked for; see `advisor.advise`."""

    recipe: Recipe
    folder: Path
    cache: Path
    address: RayAddress
    budget: Budget
    steps: int | None
    signals: tuple[str, ...]
    trusted_code: str | None = None


def advise_on_ray(asked: AdviceAsked, progress: RunProgress, interruption: Interruption | None = None) -> AdviceResult:
    """Advise, with trials computed on the cluster. Signals as in `advise`. Raises `FrostlineError`.

    Machines that are of another kind than this one take no part: prices of plans are measured here.
    """
    interruption = interruption or Interruption()
    recipe = asked.recipe
    try:
        with recipe.locating_errors():
            device = resolve_device(recipe.training.device).type
        begun = _threads_begun_with(asked.folder, recipe.resources.cpus)
        progress.say(f"Ray: {'starting on this machine' if asked.address.is_local else asked.address.address}")
        with connected(asked.address) as cluster:
            nodes = cluster.nodes()
            needs = for_trials(_needs(recipe, nodes, begun, device), recipe, nodes, asked.cache)
            with _computing_with(needs.cpus):
                machine = comparable(describe_machine(), device)
                of_kind, others = _looked_at(cluster, needs, nodes, machine, device)
                progress.say(_told(of_kind, others, needs))
                benches = Benches(cluster, needs, [own.node for own in of_kind], apart=bool(others))

                def elsewhere(advised: Advised) -> TrialsOnRay:
                    order = _order(asked, advised, needs.cpus, machine)
                    return TrialsOnRay(benches, order, advised.recipe, progress, interruption)

                try:
                    return advise(
                        recipe,
                        asked.folder,
                        asked.cache,
                        progress,
                        budget=asked.budget,
                        steps=asked.steps,
                        signals=asked.signals,
                        interruption=interruption,
                        elsewhere=elsewhere,
                    )
                finally:
                    benches.end_all()
    except Stopped as stopped:
        interruption.answer()
        progress.say("Stopped before the advice began.")
        return AdviceResult(asked.folder, "interrupted", stopped.exit_code)


def _order(asked: AdviceAsked, advised: Advised, threads: int, machine: Mapping[str, str]) -> BenchOrder:
    recipe_folder = asked.recipe.place.folder or Path.cwd()
    return BenchOrder(
        folder=str(advised.folder),
        recipe=dump_recipe(advised.recipe),
        recipe_folder=str(recipe_folder.resolve()),
        trusted_code=asked.trusted_code,
        facts=advised.facts,
        steps=advised.steps,
        threads=threads,
        machine=machine,
        cache=(str(asked.cache.resolve()), this_machine()),
    )


def _threads_begun_with(folder: Path, wanted: int | None) -> int | None:
    """Threads with which the advice in `folder` was begun; None where it is to begin.

    Raises `FrostlineError` where so many are not `wanted`.
    """
    left = read_advice(folder) if (folder / JOURNAL_FOLDER).is_dir() else None
    if left is None:
        return None
    begun = int(left.started.environment[THREADS])
    if wanted is not None and wanted != begun:
        raise FrostlineError(
            f"resources.cpus is {wanted}, and the advice was begun with {begun} threads: trials would no longer be "
            "comparable.",
            f"Go on with --set resources.cpus={begun}.",
        )
    return begun


def _needs(recipe: Recipe, nodes: Sequence[Node], begun: int | None, device: str) -> Needs:
    """What a trial takes. Raises `FrostlineError` where this machine lacks what the others have, or none has it."""
    if recipe.training.device == "auto" and device == "cpu" and any(node.gpus >= 1 for node in nodes):
        raise FrostlineError(
            "machines of the cluster have GPUs, and this one, which measures the prices of plans, has none.",
            "Give the command on a machine with a GPU, or set training.device=cpu.",
        )
    needs = needs_of(recipe, nodes, begun or torch.get_num_threads())
    if begun is not None and needs.cpus != begun:
        raise FrostlineError(
            f"the advice was begun with {begun} threads, and no machine of the cluster has as many cores.",
            "Go on where one has.",
        )
    return needs


@contextmanager
def _computing_with(threads: int) -> Iterator[None]:
    """This process computes with so many threads, as those that compute trials do."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _looked_at(
    cluster: Cluster, needs: Needs, nodes: Sequence[Node], machine: Mapping[str, str], device: str
) -> tuple[list[Machine], list[Machine]]:
    """Machines of the kind of this one that can compute a trial, and others. Raises `FrostlineError` without any."""
    # With a GPU where a trial has one: Ray hides it from whoever asks for none.
    looked = cluster.look([node for node in nodes if needs.fits(node)], machine, gpus=needs.gpus, device=device)
    of_kind = [own for own in looked if is_of_kind({**machine, THREADS: own.facts[THREADS]}, own.facts)]
    if not of_kind:
        raise FrostlineError(
            f"no machine of the cluster is of the kind of this one ({machine['processor']}), which measures the prices "
            "of plans.",
            "Give the command on one of them.",
        )
    return of_kind, [own for own in looked if own not in of_kind]


def _told(machines: Sequence[Machine], others: Sequence[Machine], needs: Needs) -> str:
    """What there is, and what a trial takes of it, in a sentence."""
    count, left_out = len(machines), len(others)
    cores = sum(own.node.cpus for own in machines)
    without = f"; {left_out} of another kind {'is' if left_out == 1 else 'are'} left out" if left_out else ""
    return (
        f"Ray: {count} machine{'s' if count != 1 else ''} with {cores:g} cores; a trial takes {needs.sentence}{without}"
    )
