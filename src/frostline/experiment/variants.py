"""Which variants does a run have, and is each what it was when the run was begun? One is in memory at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from frostline.arms import (
    Prepared,
    SettledSteps,
    facts_of,
    pinned,
    pinned_beside,
    prepare,
    prepared_by_all,
    require_fill,
    require_first_step,
    require_shardable,
    run_folder_bytes,
    settle_steps,
    with_sharded_weights,
    with_steps,
)
from frostline.engine import World
from frostline.experiment.resume import (
    Left,
)
from frostline.experiment.units import Part, concerns, of_part
from frostline.progress import RunProgress
from frostline.recipe import Recipe, Variant, variants_of
from frostline.run_folder import (
    require_same_facts,
)
from frostline.storage import require_room


class Variants:
    """The variants of a run, each loaded and checked when it is asked for; the one before it is let go of then."""

    def __init__(
        self,
        recipe: Recipe,
        cache: Path,
        progress: RunProgress,
        run_folder: Path,
        left: Left,
        world: World,
        only: Part | None,
        *,
        sharded: bool,
    ) -> None:
        """`sharded`: whether the processes of `world` hold the weights together, as was settled for the whole run."""
        every = variants_of(recipe)
        if sharded:
            every = tuple(replace(variant, recipe=with_sharded_weights(variant.recipe)) for variant in every)
        self.labels = [variant.label for variant in every]
        """Labels of all variants of the recipe, in their order."""
        self.all = [variant for variant in every if concerns(only, variant.label)]
        self.only, self.world, self.sharded = only, world, sharded
        self.recipe, self.cache, self.progress, self.run_folder, self.left = recipe, cache, progress, run_folder, left
        self.changes = list(left.changes)
        """What may decide a bit and is not as it was when the run was begun, in phrases, as the user has accepted."""
        self._prepared: Prepared | None = None
        self.settled: dict[str, dict[str, SettledSteps]] = {}
        """What a budget of time became, by variant and arm, where this process has timed it."""

    def check(self) -> None:
        """Load and check every variant; the first one stays: most experiments have one, and load their model once."""
        self.prepared(self.all[0])
        for variant in self.all[1:]:
            self._prepare(variant)

    def prepared(self, variant: Variant) -> Prepared:
        """Everything of `variant`, which has room on the disk, and is what it was when the run was begun."""
        if self._prepared is None or self._prepared.variant != variant.label:
            self._prepared = None
            self._prepared = self._prepare(variant)
        return self._prepared

    def _prepare(self, variant: Variant) -> Prepared:
        then = self.left.variants.get(variant.label)
        prepared = prepare(self._as_begun(variant), self.cache, say=self.progress.say, reading=self.progress.reading)
        prepared = of_part(prepared_by_all(prepared, self.world), self.only)
        require_shardable(prepared)
        if then is None:
            require_first_step(prepared)
        prepared = with_steps(prepared, self._steps(prepared))
        require_room(self.run_folder, run_folder_bytes(prepared), "the run, with its checkpoints,")
        if then is None:
            return require_fill(prepared, self.cache)
        accepted = bool(self.left.changes)
        followed = require_same_facts(self.run_folder, then, facts_of(prepared), accepted=accepted)
        self.changes += [change for change in followed if change not in self.changes]
        return replace(prepared, schedule=then.schedule)

    def _steps(self, prepared: Prepared) -> dict[str, int]:
        """Steps of each arm under a budget of time: as recorded, or as timed now; {} where there is none."""
        recorded = self.left.steps.get(prepared.variant, {})
        if recorded.keys() >= prepared.arms.keys():
            return recorded
        if prepared.variant not in self.settled:
            with prepared.recipe.locating_errors():
                self.settled[prepared.variant] = settle_steps(prepared, self.progress.say)
        return {arm: own.steps for arm, own in self.settled[prepared.variant].items()}

    def _as_begun(self, variant: Variant) -> Variant:
        """With the day and the commits of the hub that the run was begun with."""
        if variant.label in self.left.variants:
            return pinned(variant, self.left.variants[variant.label])
        if self.left.started is None:
            return variant
        day = datetime.fromisoformat(self.left.started.at).astimezone().date()
        return pinned_beside(variant, list(self.left.variants.values()), day)
