"""What does a recipe mean, what will it take, where should it train? What the commands on a recipe do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from frostline.interruption import Interruption
from frostline.verbs.runs import FOLLOWED, SOMETHING_FAILED
from frostline.verbs.together import cluster_address, led, meant_for
from frostline.verbs.work import ProgressWanted, Work, at_work, meant

if TYPE_CHECKING:
    from frostline.advisor import AdviceResult
    from frostline.engine import World
    from frostline.forecast import PlannedVariant, RunEstimate, Timing
    from frostline.recipe import GivenRecipe, Overrides


def plan(
    recipe: GivenRecipe,
    *,
    set: Overrides = (),
    trusted_code: str | None = None,
    cache: str | Path | None = None,
    progress: ProgressWanted = False,
) -> list[PlannedVariant]:
    """What each arm of `recipe` trains, and the largest saving that allows; one value for each model it varies over.

    Parameters as in `run`. Only the model is loaded; the corpus where a plan is chosen by a signal.
    """
    wanted = meant(recipe, set, trusted_code)

    from frostline.forecast import plan_recipe

    with at_work(cache, progress) as work:
        return plan_recipe(wanted, work.cache, say=work.progress.say)


def estimate(
    recipe: GivenRecipe,
    *,
    set: Overrides = (),
    trusted_code: str | None = None,
    cache: str | Path | None = None,
    progress: ProgressWanted = False,
) -> list[RunEstimate]:
    """Memory, time and disk that each arm of `recipe` will take, before anything runs; one value for each variant.

    Parameters as in `run`. Takes a minute or two.
    """
    wanted = meant(recipe, set, trusted_code)

    from frostline.forecast import estimate_recipe

    with at_work(cache, progress) as work:
        return estimate_recipe(wanted, work.cache, say=work.progress.say)


def time(
    recipe: GivenRecipe,
    *,
    set: Overrides = (),
    rounds: int = 24,
    memory: bool = True,
    trusted_code: str | None = None,
    cache: str | Path | None = None,
    progress: ProgressWanted = False,
) -> list[Timing]:
    """Seconds of a step of each arm of `recipe`, measured in turns without an experiment; one value for each model.

    `rounds` are the timed steps of each arm; `memory` measures each arm's peak too, in a process of its own. The other
    parameters are as in `run`.
    """

    def do(world: World | None) -> list[Timing]:
        wanted = meant_for(recipe, set, trusted_code, world)

        from frostline.arms import is_to_be_sharded, with_sharded_weights
        from frostline.engine import ALONE
        from frostline.forecast import time_recipe

        together = world or ALONE
        with at_work(cache, progress) as work:
            say = work.progress.say
            sharded = is_to_be_sharded(wanted, work.cache, together, say)
            timed = with_sharded_weights(wanted) if sharded else wanted
            measured = memory and not sharded  # memory is measured of an arm alone in a process
            return time_recipe(timed, work.cache, rounds=rounds, memory=measured, say=say, world=together)

    return led(do, cache, None, progress, followed=list)


def advise(
    recipe: GivenRecipe,
    folder: str | PathLike[str] | None = None,
    *,
    set: Overrides = (),
    budget: str | Sequence[str] = (),
    steps: int | None = None,
    signals: Sequence[str] | None = None,
    trusted_code: str | None = None,
    cache: str | Path | None = None,
    progress: ProgressWanted = False,
    interruption: Interruption | None = None,
    on: str | None = None,
) -> AdviceResult:
    """Where to train: look inside the model of `recipe`, price plans, race them in short paired runs, recommend one.

    The recipe's own arms are left aside. `folder` is the advice's folder, `runs/NAME-advice` unless given; an advice
    that was stopped or killed goes on there. `budget` is what a plan may take, such as `"time=40%"`, or several of
    those. `steps` are those of the race's last rung, `signals` the names of those looked at (None: those of single
    matrices). `on` gives trials to a cluster of Ray, side by side. The other parameters are as in `run`.
    """
    address = cluster_address(on)

    from frostline.recipe import require_signal

    for name in signals or ():
        require_signal(name)

    def do(world: World | None) -> AdviceResult:
        wanted = meant_for(recipe, set, trusted_code, world, advice=True)

        from frostline.advisor import advise as find_advice
        from frostline.advisor import parse_budget
        from frostline.engine import ALONE
        from frostline.loading import model_title
        from frostline.report import write_advice
        from frostline.run_folder import usual_folder
        from frostline.signals import ADVISING

        limits = parse_budget([budget] if isinstance(budget, str) else budget)
        usual = usual_folder(wanted.name)
        advice_folder = usual.with_name(f"{usual.name}-advice") if folder is None else Path(folder)
        looked_at = tuple(dict.fromkeys(signals)) if signals else ADVISING

        def seek(work: Work) -> AdviceResult:
            if address is not None:
                from frostline.launch import AdviceAsked, advise_on_ray

                asked = AdviceAsked(
                    wanted, advice_folder, work.cache, address, limits, steps, looked_at, trusted_code=trusted_code
                )
                return advise_on_ray(asked, work.progress, interruption)
            return find_advice(
                wanted,
                advice_folder,
                work.cache,
                work.progress,
                budget=limits,
                steps=steps,
                signals=looked_at,
                interruption=interruption,
                world=world or ALONE,
            )

        with at_work(cache, progress) as work:
            result = seek(work)
            if result.exit_code:
                return result
            work.progress.say("Writing the page")
            page = write_advice(advice_folder, wanted.name, model_title(wanted.model), wanted.corpus.source)
        return replace(result, page=page, exit_code=SOMETHING_FAILED if result.recommendation is None else 0)

    return led(do, cache, interruption, progress, followed=_followed)


def _followed() -> AdviceResult:
    from frostline.advisor import AdviceResult

    return AdviceResult(Path(), FOLLOWED, 0)
