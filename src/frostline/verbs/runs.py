"""How does one fill a run folder, go on with it, check it? What `frostline run`, `resume`, `verify` and `report` do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from frostline.errors import FrostlineError
from frostline.interruption import Interruption
from frostline.verbs.together import cluster_address, led, meant_for, require_shares
from frostline.verbs.watching import followed_run
from frostline.verbs.work import ProgressWanted, Work, at_work

if TYPE_CHECKING:
    from frostline.engine import World
    from frostline.experiment import Finding, RunResult
    from frostline.recipe import GivenRecipe, Overrides
    from frostline.report import Run
    from frostline.stats import BlindResult

SOMETHING_FAILED = 1
"""Exit code of a run that came to its end, but not whole."""
FOLLOWED = "followed"
"""Status in a process that torchrun has started beside that of rank 0, which does the work."""


@dataclass(frozen=True)
class RunOutcome:
    """What became of a run."""

    folder: Path
    """The run folder."""
    status: str
    """`finished` or `interrupted`; `followed` in a process that torchrun has started beside that of rank 0."""
    exit_code: int
    """Exit code of the command: 0; 1 where something failed; 130 or 143 where a signal stopped it."""
    report: Path | None
    """Path of its report; None where a signal stopped it."""
    failed: tuple[str, ...] = ()
    """What failed, in sentences: arms that could not go on, checks that do not hold."""

    @cached_property
    def run(self) -> Run:
        """The run as `open_run` opens it: summary, polars frames, charts."""
        from frostline.report import open_run

        return open_run(self.folder)


def run(
    recipe: GivenRecipe,
    folder: str | PathLike[str] | None = None,
    *,
    set: Overrides = (),
    resume: Literal["never", "auto"] = "never",
    fresh: bool = False,
    trusted_code: str | None = None,
    cache: str | Path | None = None,
    progress: ProgressWanted = False,
    interruption: Interruption | None = None,
    watch: Callable[[str], None] | None = None,
    track: Sequence[str] = (),
    tell: Callable[[str], None] = print,
    on: str | None = None,
) -> RunOutcome:
    """Run the experiment `recipe` (a path, a mapping or a `Recipe`) and write its summary and report.

    `folder` is the run folder to make, `runs/NAME` unless given; with `resume="auto"` the run goes on where there is
    one. `set` overrides keys of the recipe: `{"training.steps": 40}`. An arm that an earlier run trained in exactly the
    same way is taken from there, unless `fresh`. `trusted_code` is the pin of code that comes with the model and may
    run. `cache` is the cache folder, `progress` says who watches. With `watch`, a process beside serves a live page of
    the run until it ends, and `watch` is told its address. `track` names trackers, each of which a process beside tells
    of the run as `track` does; `tell` is told where to look, and what goes wrong with one. `on` gives its units to a
    cluster of Ray: `"ray"` for one of this machine, or that of RAY_ADDRESS, `"ray://HOST:PORT"` for another.

    It works in any thread, and handles no signal: Ctrl+C ends it like any program, and `resume` goes on from its last
    checkpoint. To save at once instead, listen in the main thread: `with interruption.listening(): ...`.
    """
    address = cluster_address(on)

    def do(world: World | None) -> RunOutcome:
        wanted = meant_for(recipe, set, trusted_code, world)

        from frostline.run_folder import refuse_existing, require_can_be_made, usual_folder

        run_folder = usual_folder(wanted.name) if folder is None else Path(folder)
        if resume not in ("never", "auto"):
            raise FrostlineError(f"resume='{resume}' is not understood.", "Use 'never' or 'auto'.")
        if resume == "never":
            refuse_existing(run_folder)
        require_can_be_made(run_folder)

        def fill(work: Work) -> RunResult:
            from frostline.engine import ALONE
            from frostline.experiment import resume_experiment, run_experiment, standing
            from frostline.launch import Asked, forget_units, run_on_ray, take_in_units

            cache, progress = work.cache, work.progress
            if address is not None:
                asked = Asked(wanted, run_folder, cache, address, fresh=fresh, trusted_code=trusted_code)
                return run_on_ray(asked, progress, interruption)
            together = world or ALONE
            if standing(run_folder) == "nothing":
                return run_experiment(
                    wanted, run_folder, cache, progress, fresh=fresh, interruption=interruption, world=together
                )
            take_in_units(run_folder, progress.say)
            return resume_experiment(
                run_folder,
                cache,
                progress,
                recipe=wanted,
                interruption=interruption,
                world=together,
                accepted=lambda: forget_units(run_folder),
            )

        with followed_run(run_folder, watch, track, tell), at_work(cache, progress) as work:
            return _reported(run_folder, fill, work)

    return led(do, cache, interruption, progress, followed=_followed)


def resume(
    folder: str | PathLike[str],
    *,
    set: Overrides = (),
    retry_failed: bool = False,
    accept_changes: bool = False,
    recipe_folder: str | PathLike[str] | None = None,
    trusted_code: str | None = None,
    cache: str | Path | None = None,
    progress: ProgressWanted = False,
    interruption: Interruption | None = None,
    watch: Callable[[str], None] | None = None,
    track: Sequence[str] = (),
    tell: Callable[[str], None] = print,
    on: str | None = None,
) -> RunOutcome:
    """Go on with the run in `folder` that was stopped or killed; it ends as it would have ended, to the byte.

    `set` may set keys of `checkpoints` and `resources` only. `retry_failed` also tries arms again that failed.
    `accept_changes` goes on although versions or threads have changed; then the report says so. `recipe_folder` is
    where the folder of the recipe is now, if the two were not moved together. The rest is as in `run`.
    """
    address = cluster_address(on)
    if address is not None and accept_changes:
        raise FrostlineError(
            "changed conditions cannot be accepted for a cluster.", "Go on on this machine, without --on."
        )

    def do(world: World | None) -> RunOutcome:
        from frostline.engine import ALONE
        from frostline.experiment import recorded_recipe, require_files, resume_experiment, standing
        from frostline.launch import Asked, forget_units, run_on_ray, take_in_units
        from frostline.recipe import trusting

        run_folder = Path(folder)
        recipe = recorded_recipe(run_folder, set, None if recipe_folder is None else Path(recipe_folder))
        if retry_failed or standing(run_folder) != "finished":  # else nothing is read any more
            require_files(run_folder, recipe)
        wanted = trusting(recipe, trusted_code)
        require_shares(wanted, world)

        def go_on(work: Work) -> RunResult:
            cache, progress = work.cache, work.progress
            if address is not None:
                asked = Asked(wanted, run_folder, cache, address, retry_failed=retry_failed, trusted_code=trusted_code)
                return run_on_ray(asked, progress, interruption)
            take_in_units(run_folder, progress.say)
            return resume_experiment(
                run_folder,
                cache,
                progress,
                recipe=wanted,
                retry_failed=retry_failed,
                accept_changes=accept_changes,
                interruption=interruption,
                world=world or ALONE,
                accepted=lambda: forget_units(run_folder),
            )

        with followed_run(run_folder, watch, track, tell), at_work(cache, progress) as work:
            return _reported(run_folder, go_on, work)

    return led(do, cache, interruption, progress, followed=_followed)


def verify(
    folder: str | PathLike[str],
    *,
    recipe_folder: str | PathLike[str] | None = None,
    trusted_code: str | None = None,
    cache: str | Path | None = None,
    progress: ProgressWanted = False,
) -> list[Finding]:
    """Check the run in `folder`: hashes, pairing, frozen weights; that summary and report follow from its journal.

    `recipe_folder` is where the folder of the recipe is now, if the two were not moved together. A finding that does
    not hold is no error: its `holds` is False.
    """
    from frostline.experiment import verify_run
    from frostline.report import render_report

    with at_work(cache, progress) as work:
        say = work.progress.say
        return verify_run(
            Path(folder),
            work.cache,
            say=say,
            render_report=render_report,
            trusted_code=trusted_code,
            recipe_folder=None if recipe_folder is None else Path(recipe_folder),
        )


def write_report(
    folder: str | PathLike[str],
    *,
    figures: str | PathLike[str] | None = None,
    data: str | PathLike[str] | None = None,
) -> list[Path]:
    """Write `summary.json` and `report.html` of the run in `folder` anew from its journal.

    A summary that earlier rules judged is kept, and the report says by whose rules; moved away, it is judged anew.
    With `figures`, a folder, also every figure as SVG and PNG; with `data`, a folder, the numbers of every figure as
    CSV and parquet. Paths of what was written come back.
    """
    from frostline import report
    from frostline.stats import RULES, judged_by, write_summary

    if judged_by(Path(folder)) in ("", RULES):
        write_summary(Path(folder))
    written = [report.write_report(Path(folder))]
    if figures is not None:
        written += report.write_figures(Path(folder), Path(figures))
    if data is not None:
        written += report.write_data(Path(folder), Path(data))
    return written


def blind(
    folder: str | PathLike[str],
    arms: Sequence[str] | None = None,
    *,
    drawing: int = 0,
    out: str | PathLike[str] | None = None,
) -> Path:
    """Write a page on which a person chooses between texts of two arms without knowing whose they are; its path.

    The arms are the baseline and the first other unless named. `drawing` numbers the order in which texts are shown.
    The page goes into the run folder unless `out` names a file.
    """
    from frostline.report import BLIND_FILE, write_blind
    from frostline.stats import blind_test

    target = Path(folder) / BLIND_FILE if out is None else Path(out)
    return write_blind(blind_test(Path(folder), arms, drawing), target)


def read_blind(folder: str | PathLike[str], choices: str | PathLike[str]) -> BlindResult:
    """What was chosen on a page that `blind` made of the run in `folder`, with the exact sign test of it.

    `choices` is the file that the page saved.
    """
    from frostline.stats import read_choices

    return read_choices(Path(folder), Path(choices))


def _followed() -> RunOutcome:
    return RunOutcome(Path(), FOLLOWED, 0, None)


def _reported(run_folder: Path, do: Callable[[Work], RunResult], work: Work) -> RunOutcome:
    """Do the work on a run, then write its report. A signal ends it at once, without a report."""
    result = do(work)
    if result.exit_code:
        return RunOutcome(run_folder, result.status, result.exit_code, None)
    from frostline.report import write_report
    from frostline.stats import write_summary

    work.progress.say("Writing summary and report")
    summary = write_summary(run_folder)
    report = write_report(run_folder)
    failed = tuple(sentence for variant in summary.variants for sentence in variant.checks.failed)
    sound = all(variant.checks.pairing_holds and variant.checks.frozen_holds for variant in summary.variants)
    return RunOutcome(run_folder, result.status, SOMETHING_FAILED if failed or not sound else 0, report, failed)
