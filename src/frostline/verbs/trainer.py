"""How would `transformers.Trainer` train an arm of a recipe?"""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from frostline.errors import RecipeError, nearest
from frostline.verbs.work import ProgressWanted, at_work, meant

if TYPE_CHECKING:
    from frostline.integrations import TrainerArm
    from frostline.recipe import GivenRecipe, Overrides


def training_arguments(
    recipe: GivenRecipe,
    arm: str,
    *,
    seed: int | None = None,
    output_dir: str | PathLike[str] = "trainer",
    set: Overrides = (),
    trusted_code: str | None = None,
    cache: str | Path | None = None,
    progress: ProgressWanted = False,
) -> TrainerArm:
    """The arm `arm` of `recipe` for `transformers.Trainer`: its model and windows, and the settings of its training.

    `seed` is that of the replicate, the recipe's first unless given; `output_dir` is the trainer's. The other
    parameters are as in `run`. With `found` for what comes back:

        applied = found.apply()
        trainer = Trainer(found.model, found.arguments, train_dataset=found.train_dataset,
                          optimizers=found.optimizers(applied))

    Losses then are those of a run but for rounding. Where the model draws dropout, other numbers are drawn.
    """
    wanted = meant(recipe, set, trusted_code)
    if arm not in wanted.arms:
        hint = nearest(arm, wanted.arms) or f"It has: {', '.join(wanted.arms)}."
        raise RecipeError(f"the recipe has no arm '{arm}'.", hint)

    from frostline.arms import prepare
    from frostline.integrations import trainer_arm
    from frostline.recipe import variants_of

    variants = variants_of(wanted)
    if len(variants) > 1:
        raise RecipeError(
            f"the recipe varies: it is {len(variants)} experiments, and an arm of one is wanted.",
            "Settle what varies: set={'vary': None} and the value itself.",
        )
    # As the plain loop trains it: all weights in fp32, in memory that nothing shares.
    plain = wanted.training.model_copy(update={"engine": "reference"})
    (variant,) = variants
    variant = replace(variant, recipe=variant.recipe.model_copy(update={"training": plain}))
    with at_work(cache, progress) as work, wanted.locating_errors():
        prepared = prepare(variant, work.cache, say=work.progress.say)
        return trainer_arm(prepared, arm, wanted.seeds[0] if seed is None else seed, output_dir)
