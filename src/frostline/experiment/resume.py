"""What did an earlier process leave in a run folder, and may this one go on with it?

The rules are those of the table in `docs/survival.md`: what would make a different experiment is refused, what could
change a bit is refused unless the user accepts it (then the journal and the report say so), the rest may change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from frostline.engine import World
from frostline.errors import CorpusError, RunFolderError
from frostline.machine import describe_machine
from frostline.recipe import (
    EMBEDDED,
    PLACE_FILE,
    CheckpointSettings,
    Overrides,
    Place,
    Recipe,
    ResourceSettings,
    load_recipe,
    recipe_hash,
    require_corpus,
    variants_of,
    with_absolute_paths,
    without_number,
)
from frostline.run_folder import (
    RECIPE_FILE,
    RUN_FILE,
    UNITS_FOLDER,
    AdviceStarted,
    LayerFilled,
    PeakMemory,
    RateChosen,
    RateTried,
    RunEnded,
    RunResumed,
    RunStarted,
    StepsSettled,
    VariantPrepared,
    changes_of_machine,
    is_of_first_version,
    read_lines,
    records_of,
    require_run_folder,
)
from frostline.storage import LOCK_FILE

PROCESSES, SHARDING = "processes", "sharding"
"""What the environment of a run says: how many processes computed it; and only where they sharded its weights, that."""
RunState = Literal["nothing", "begun", "finished"]


@dataclass(frozen=True)
class Left:
    """What the run's own file of the journal holds."""

    started: RunStarted | None
    variants: dict[str, VariantPrepared]
    rates_tried: tuple[RateTried, ...]
    rates_chosen: tuple[RateChosen, ...]
    layers_filled: tuple[LayerFilled, ...]
    memory: frozenset[tuple[str, str]]
    """Variants and arms whose memory was measured."""
    bytes_kept: int
    """Bytes of the file that stay. What comes after them is written anew: a run that goes on has not ended."""
    fresh: bool = False
    """Whether arms that earlier runs trained are trained again."""
    changes: tuple[str, ...] = ()
    """What may decide a bit and is not as it was when the run was begun, in phrases."""
    steps: dict[str, dict[str, int]] = field(default_factory=dict)
    """For each variant with a budget of time, the steps that it became for each arm."""
    went_on_changed: bool = False
    """Whether an earlier process went on under other conditions than the run was begun."""


NOTHING = Left(None, {}, (), (), (), frozenset(), 0)


def standing(run_folder: Path) -> RunState:
    """What there is at `run_folder`. Raises `RunFolderError` where it is something else than a run."""
    if run_folder.is_symlink() or (run_folder.exists() and not run_folder.is_dir()):
        raise RunFolderError(f"{run_folder}: not a folder.", "Choose another with --out.")
    if not run_folder.exists():
        return "nothing"
    if not (run_folder / RECIPE_FILE).exists():
        foreign = [
            path.name
            for path in run_folder.iterdir()
            if path.name not in (LOCK_FILE, PLACE_FILE, UNITS_FOLDER) and path.suffix != ".part"
        ]
        if foreign:
            raise RunFolderError(
                f"{run_folder}: not a run folder: it has no {RECIPE_FILE}, but '{sorted(foreign)[0]}'.",
                "Choose another with --out.",
            )
        return "nothing"  # killed before its first file
    lines, _ = read_lines(run_folder, RUN_FILE)
    if records_of(lines, AdviceStarted):
        raise RunFolderError(
            f"{run_folder} is the folder of an advice, not of a run.",
            "Go on with it by the same 'frostline advise' command; a run goes into another folder.",
        )
    ended = records_of(lines, RunEnded)
    return "finished" if ended and ended[-1].status == "finished" else "begun"


def read_left(run_folder: Path) -> Left:
    """What an earlier process left. Raises `RunFolderError` where its journal is damaged."""
    lines, ends = read_lines(run_folder, RUN_FILE)
    steps: dict[str, dict[str, int]] = {}
    for settled in records_of(lines, StepsSettled):
        steps.setdefault(settled.variant, {})[settled.arm] = settled.steps
    kept = [index for index, line in enumerate(lines) if line["kind"] != RunEnded.__name__]
    started = next(iter(records_of(lines, RunStarted)), None)
    return Left(
        started=started,
        variants={facts.variant: facts for facts in records_of(lines, VariantPrepared)},
        rates_tried=tuple(records_of(lines, RateTried)),
        rates_chosen=tuple(records_of(lines, RateChosen)),
        layers_filled=tuple(records_of(lines, LayerFilled)),
        memory=frozenset((peak.variant, peak.arm) for peak in records_of(lines, PeakMemory)),
        bytes_kept=ends[kept[-1]] if kept else 0,
        fresh=started is not None and started.fresh,
        steps=steps,
        went_on_changed=bool(records_of(lines, RunResumed)),
        changes=() if started is None else tuple(changes_of_machine(started.environment, describe_machine())),
    )


def changes_of_processes(started: RunStarted | None, processes: int) -> list[str]:
    """Their number, in a phrase, where it is another than at the beginning and weights are sharded over them."""
    if started is None or SHARDING not in started.environment:
        return []
    then = started.environment[PROCESSES]
    if then == str(processes):
        return []
    return [f"processes was {then} and is {processes}"]


def require_as_sharded(run_folder: Path, started: RunStarted, world: World) -> None:
    """Raise `RunFolderError` where several processes sharded the weights of the run, and this one is alone."""
    if world.alone and SHARDING in started.environment:
        then = started.environment[PROCESSES]
        raise RunFolderError(
            f"{run_folder}: {then} processes share the weights of this run, and this is one.",
            f"Start as many: torchrun --nproc-per-node {then} -m frostline resume {run_folder}",
        )


def recorded_recipe(run_folder: Path, overrides: Overrides = (), recipe_folder: Path | None = None) -> Recipe:
    """The recipe that the run was begun with, with overrides.

    Its paths are relative to `recipe_folder`; to where the recipe was, seen from the run folder, if that is None.
    Raises `RunFolderError` or `RecipeError`.
    """
    require_run_folder(run_folder, RECIPE_FILE)
    return placed_in(recipe_folder, load_recipe(run_folder / RECIPE_FILE, overrides))


def placed_in(recipe_folder: Path | None, recipe: Recipe) -> Recipe:
    """`recipe`, whose paths are relative to `recipe_folder`; as it is where that is None."""
    return recipe if recipe_folder is None else recipe.placed(Place(recipe_folder.expanduser().resolve()))


def require_files(run_folder: Path, recipe: Recipe, command: str = "resume") -> None:
    """Raise `RunFolderError` where a file that a recorded recipe names is no longer where the recipe was.

    `command` is what can be told where it is now. A model that was a folder when the run was begun must be one: what is
    of its name on the hub is another one.
    """
    read = [("corpus", variant.recipe.corpus) for variant in variants_of(recipe)]
    retention = recipe.retention_corpus
    for name, corpus in [*read, *([] if retention is None else [("retention corpus", retention)])]:
        try:
            require_corpus(corpus)
        except CorpusError as error:
            raise _moved(run_folder, name, corpus.source, recipe, command) from error
    for label, facts in read_left(run_folder).variants.items():
        source = label.removeprefix("model.source=") if label.startswith("model.source=") else recipe.model.source
        if source == EMBEDDED or facts.model_revision is not None or is_of_first_version(facts):
            continue
        if not recipe.place.path_of(source).is_dir():
            raise _moved(run_folder, "model", source, recipe, command)


def _moved(run_folder: Path, what: str, source: str, recipe: Recipe, command: str) -> RunFolderError:
    return RunFolderError(
        f"{run_folder}: the {what} '{source}' of its recipe is not in '{recipe.place.folder}'.",
        f"Say where the folder of the recipe is now: frostline {command} {run_folder} --from FOLDER",
    )


def require_same_recipe(run_folder: Path, wanted: Recipe) -> None:
    """Raise `RunFolderError`, naming a key, unless the run was begun with `wanted`.

    What changes no result is left aside: `checkpoints`, which GPU of several, and `resources`, whose threads are looked
    at elsewhere.
    """
    begun = _deciding(recorded_recipe(run_folder))
    wanted = _deciding(wanted)
    # Runs of 0.1.0 have recorded absolute paths.
    hashes = (recipe_hash(begun), recipe_hash(with_absolute_paths(begun)))
    if recipe_hash(wanted) in hashes or recipe_hash(with_absolute_paths(wanted)) in hashes:
        return
    key = _first_difference(begun.model_dump(mode="json"), wanted.model_dump(mode="json"))
    raise RunFolderError(
        f"{run_folder}: it was begun with another recipe: '{key}' differs.",
        f"Go on with the recipe that it has ('frostline resume {run_folder}'), or choose another folder with --out.",
    )


def require_accepted(run_folder: Path, changes: Sequence[str], accepted: bool) -> None:
    """Raise `RunFolderError` where there are changes that the user has not accepted."""
    if changes and not accepted:
        raise RunFolderError(
            f"{run_folder}: since it was begun, {'; '.join(changes)}: results would no longer be the same to the bit.",
            "Go on where it was begun; or accept that with --accept-changes, and the report will say so.",
        )


def _deciding(recipe: Recipe) -> Recipe:
    training = recipe.training.model_copy(update={"device": without_number(recipe.training.device)})
    means = {"checkpoints": CheckpointSettings(), "resources": ResourceSettings()}
    return recipe.model_copy(update={**means, "training": training})


def _first_difference(then: object, now: object, path: str = "") -> str:
    if isinstance(then, dict) and isinstance(now, dict):
        for key in [*then, *(key for key in now if key not in then)]:
            if then.get(key) != now.get(key):
                return _first_difference(then.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    return path
