"""The command line.

Exit codes: 0 all well, 1 the run ended with something failed, 2 a mistake to mend, 130 Ctrl+C, 143 SIGTERM.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from frostline.errors import FrostlineError
from frostline.interruption import Interruption, Stopped
from frostline.text import visible

if TYPE_CHECKING:
    from frostline.launch import RunResult
    from frostline.launch.progress import RunProgress

SOMETHING_FAILED = 1
MISTAKE = 2
RUNGS_WANT = 9
"""Steps of the last rung of a race, at least: the first one trains a ninth of them."""

app = typer.Typer(
    name="frostline",
    help="Which weights should I train, and which can I leave frozen? A controlled experiment that answers.",
    epilog="Begin with: [bold]frostline init demo[/] and then [bold]frostline run demo.yaml[/]",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file (YAML).", show_default=False)]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe; wins over the file. Repeatable."),
]
TrustedCode = Annotated[
    str | None,
    typer.Option(
        "--trust-remote-code",
        metavar="PIN",
        help="Run code that comes with the model, if it is exactly this: a commit, or sha256:... of a folder's code.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


class Resume(StrEnum):
    """What `frostline run` does where its run folder exists."""

    AUTO = "auto"
    NEVER = "never"


def main() -> None:
    """Entry point: runs a command and turns a user's mistake into one sentence and exit code 2."""
    interruption = Interruption()
    try:
        with interruption.listening():
            app()
    except Stopped as stopped:
        sys.exit(stopped.exit_code)  # before or after typer, which takes care of it in between
    except SystemExit:
        if interruption.exit_code is not None:
            sys.exit(interruption.exit_code)  # typer knows one code for all interruptions
        raise
    except FrostlineError as error:
        console = Console(stderr=True)
        console.print("[bold red]error:[/] ", end="")
        console.print(visible(str(error)), markup=False, highlight=False, soft_wrap=True)
        sys.exit(MISTAKE)


@app.command(epilog="Examples:  frostline init  ·  frostline init demo  ·  frostline init moby-dick --to recipes")
def init(
    name: Annotated[str | None, typer.Argument(help="The recipe to copy.", show_default=False)] = None,
    to: Annotated[Path, typer.Option("--to", help="Folder to copy it into.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """List the shipped recipes, or copy one to change and run."""
    from frostline.recipe.shipped import copy_recipe, shipped_recipes

    if name is not None:
        target = copy_recipe(name, to)
        if as_json:
            _print_json({"recipe": str(target)})
        else:
            Console().print(
                f"Wrote {target}. Next: frostline plan {target}, then frostline run {target}.", soft_wrap=True
            )
        return
    recipes = shipped_recipes()
    if as_json:
        _print_json([{"name": recipe.name, "summary": recipe.summary} for recipe in recipes])
        return
    from rich.table import Table

    table = Table("recipe", "what it does", box=None, pad_edge=False)
    for recipe in recipes:
        table.add_row(f"[bold]{recipe.name}[/]", recipe.summary)
    Console().print(table)
    Console().print("\nCopy one with: frostline init NAME", highlight=False)


@app.command(epilog="Examples:  frostline plan demo.yaml  ·  frostline plan demo.yaml --set 'arms.x.train=[mlp@-4:]'")
def plan(
    recipe: RecipeFile, overrides: Overrides = None, trusted_code: TrustedCode = None, as_json: AsJson = False
) -> None:
    """Show what each arm trains: matches, layers x roles, the frost line, and the largest saving it allows."""
    from frostline.cli.plan import plan_overview
    from frostline.folders import cache_folder
    from frostline.recipe import load_recipe, trusting

    wanted = trusting(load_recipe(recipe, overrides or ()), trusted_code)
    overview = plan_overview(wanted, cache_folder(), say=_saying(Console(stderr=True)))
    if as_json:
        _print_json(overview.as_json)
    else:
        for drawing in overview.drawings:
            Console().print(drawing)


@app.command(
    epilog="Examples:  frostline run demo.yaml  ·  frostline run demo.yaml --set training.steps=100 --out runs/longer"
)
def run(
    recipe: RecipeFile,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option("--out", help="The run folder to make.", show_default="runs/NAME")] = None,
    resume: Annotated[
        Resume, typer.Option("--resume", help="auto: go on with the run folder if there is one, else start.")
    ] = Resume.NEVER,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train every arm, also those that an earlier run trained.")
    ] = False,
    trusted_code: TrustedCode = None,
    as_json: AsJson = False,
) -> None:
    """Run an experiment and write its report. Ctrl+C saves and stops; 'frostline resume' goes on from there.

    An arm that an earlier run trained in exactly the same way is taken from there, unless --fresh.
    """
    from frostline.folders import cache_folder
    from frostline.journal import refuse_existing
    from frostline.recipe import load_recipe, trusting

    wanted = trusting(load_recipe(recipe, overrides or ()), trusted_code)
    run_folder = out if out is not None else Path("runs") / _folder_name(wanted.name)
    if resume is Resume.NEVER:
        refuse_existing(run_folder)

    from frostline.launch import resume_experiment, run_experiment
    from frostline.launch.resume import standing

    def work(progress: RunProgress) -> RunResult:
        if standing(run_folder) == "nothing":
            return run_experiment(wanted, run_folder, cache_folder(), progress, fresh=fresh)
        return resume_experiment(run_folder, cache_folder(), progress, recipe=wanted)

    _run_and_report(run_folder, work, as_json)


@app.command(epilog="Examples:  frostline resume runs/demo  ·  frostline resume runs/demo --retry-failed")
def resume(
    run_folder: RunFolder,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also try arms again that failed, from their last checkpoint.")
    ] = False,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Go on although versions or threads changed; the report says so.")
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a key of 'checkpoints'; no other may change."),
    ] = None,
    trusted_code: TrustedCode = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that was stopped or killed. What it gives is what it would have given, to the byte."""
    from frostline.folders import cache_folder
    from frostline.launch import resume_experiment
    from frostline.launch.resume import recorded_recipe
    from frostline.recipe import trusting

    wanted = trusting(recorded_recipe(run_folder, overrides or ()), trusted_code)

    def work(progress: RunProgress) -> RunResult:
        return resume_experiment(
            run_folder,
            cache_folder(),
            progress,
            recipe=wanted,
            retry_failed=retry_failed,
            accept_changes=accept_changes,
        )

    _run_and_report(run_folder, work, as_json)


def _run_and_report(run_folder: Path, work: Callable[[RunProgress], RunResult], as_json: bool) -> None:
    """Do the work on a run, then write its report and print its answer. A signal ends it at once, without a report."""
    from frostline.launch.progress import run_progress
    from frostline.report import show_run, write_report
    from frostline.stats import write_summary

    console = Console(stderr=as_json)
    with run_progress(console) as progress:
        result = work(progress)
        if result.exit_code == 0:
            progress.say("Writing summary and report")
            summary = write_summary(run_folder)
            report = write_report(run_folder)
    if result.exit_code:
        if as_json:
            _print_json({"run": str(run_folder), "report": None, "status": result.status, "failed": []})
        raise typer.Exit(result.exit_code)
    failed = [sentence for variant in summary.variants for sentence in variant.checks.failed]
    sound = all(variant.checks.pairing_holds and variant.checks.frozen_holds for variant in summary.variants)
    if as_json:
        _print_json({"run": str(run_folder), "report": str(report), "status": result.status, "failed": failed})
    else:
        console.print(show_run(run_folder))
        console.print(f"\nReport: {report.resolve()}", soft_wrap=True, highlight=False)
    if failed or not sound:
        raise typer.Exit(SOMETHING_FAILED)


@app.command(epilog="Examples:  frostline estimate demo.yaml  ·  frostline estimate demo.yaml --set training.batch=8")
def estimate(
    recipe: RecipeFile, overrides: Overrides = None, trusted_code: TrustedCode = None, as_json: AsJson = False
) -> None:
    """Estimate memory, time, disk and saving of each arm, in a minute or two, before anything runs."""
    from dataclasses import asdict

    from frostline.cli.estimate import draw_estimate
    from frostline.folders import cache_folder
    from frostline.launch.estimate import estimate_recipe
    from frostline.recipe import load_recipe, trusting

    wanted = trusting(load_recipe(recipe, overrides or ()), trusted_code)
    estimates = estimate_recipe(wanted, cache_folder(), say=_saying(Console(stderr=as_json)))
    if as_json:
        _print_json([asdict(found) for found in estimates])
        return
    for found in estimates:
        Console().print(draw_estimate(found))


@app.command(
    name="time", epilog="Examples:  frostline time demo.yaml  ·  frostline time demo.yaml --rounds 50 --no-memory"
)
def time_arms(
    recipe: RecipeFile,
    overrides: Overrides = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Timed steps of each arm.")] = 24,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Also measure each arm's peak memory.")] = True,
    trusted_code: TrustedCode = None,
    as_json: AsJson = False,
) -> None:
    """Time the arms alone, step by step in turns: what each saves, where its time goes, without an experiment."""
    from dataclasses import asdict

    from frostline.cli.time import draw_timing
    from frostline.folders import cache_folder
    from frostline.launch.timing import time_recipe
    from frostline.recipe import load_recipe, trusting

    wanted = trusting(load_recipe(recipe, overrides or ()), trusted_code)
    say = _saying(Console(stderr=as_json))
    timings = time_recipe(wanted, cache_folder(), rounds=rounds, memory=memory, say=say)
    if as_json:
        _print_json([asdict(timing) for timing in timings])
        return
    for timing in timings:
        Console().print(draw_timing(timing))


@app.command(
    epilog="Examples:  frostline advise demo.yaml  ·  frostline advise demo.yaml --budget time=40% --budget memory=8GB"
)
def advise(
    recipe: RecipeFile,
    overrides: Overrides = None,
    budget: Annotated[
        list[str] | None,
        typer.Option("--budget", metavar="KEY=LIMIT", help="time=40%, memory=8GB or parameters=5%. Repeatable."),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=RUNGS_WANT, help="Steps of the race's last rung.")] = None,
    signal: Annotated[
        list[str] | None,
        typer.Option("--signal", help="Look at this signal. Repeatable.", show_default="those of single matrices"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The advice's folder.", show_default="runs/NAME-advice")
    ] = None,
    trusted_code: TrustedCode = None,
    as_json: AsJson = False,
) -> None:
    """Advise where to train: look inside the model, price plans, race them in short paired runs, recommend one.

    Arms of the recipe are left aside. Stopped or killed, it goes on when the same command is given again.
    """
    from frostline.advise.budget import parse_budget
    from frostline.advise.measure import ADVISING
    from frostline.cli.advise import advice_as_json, draw_advice
    from frostline.engine.pretrained import model_title
    from frostline.folders import cache_folder
    from frostline.launch.advise import advise as find_advice
    from frostline.launch.progress import run_progress
    from frostline.recipe import load_recipe, trusting
    from frostline.report.advice import write_advice

    limits = parse_budget(budget or ())
    wanted = trusting(load_recipe(recipe, overrides or ()), trusted_code)
    folder = out if out is not None else Path("runs") / f"{_folder_name(wanted.name)}-advice"
    console = Console(stderr=as_json)
    with run_progress(console) as progress:
        names = tuple(dict.fromkeys(signal)) if signal else ADVISING
        result = find_advice(wanted, folder, cache_folder(), progress, budget=limits, steps=steps, signals=names)
        if result.exit_code:
            raise typer.Exit(result.exit_code)
        progress.say("Writing the page")
        page = write_advice(folder, wanted.name, model_title(wanted.model), wanted.corpus.source)
    if as_json:
        _print_json(advice_as_json(result, page))
    else:
        Console().print(draw_advice(result, page))
    if result.recommendation is None:
        raise typer.Exit(SOMETHING_FAILED)


@app.command(
    epilog="Examples:  frostline inspect embedded  ·  frostline inspect MODEL --corpus notes.txt  ·  "
    "frostline inspect runs/demo --arm freeze"
)
def inspect(
    target: Annotated[
        str, typer.Argument(metavar="RUN|MODEL|RECIPE", help="A run folder, a model (folder or hub id), or a recipe.")
    ],
    corpus: Annotated[
        str | None, typer.Option("--corpus", help="The text to look with, for a model.", show_default="embedded")
    ] = None,
    length: Annotated[
        int | None, typer.Option("--length", min=2, help="Tokens of a window, for a model.", show_default="128")
    ] = None,
    arm: Annotated[
        str | None,
        typer.Option("--arm", help="Whose training is looked at, of a run.", show_default="the first one saved"),
    ] = None,
    signal: Annotated[
        list[str] | None, typer.Option("--signal", help="Only this signal. Repeatable.", show_default="all")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The page.", show_default="RUN/inspect.html, or inspect.html")
    ] = None,
    trusted_code: TrustedCode = None,
    as_json: AsJson = False,
) -> None:
    """Look inside a model: what each layer and role does for a text; of a run, where its training has acted."""
    from frostline.advise.measure import KINDS, require_signal
    from frostline.cli.inspect import draw_inspection, inspection_as_json, is_run, recipe_of
    from frostline.errors import RecipeError
    from frostline.folders import cache_folder
    from frostline.launch.inspect import inspect_model, inspect_run
    from frostline.recipe import trusting
    from frostline.report.inspection import write_inspection

    names = tuple(dict.fromkeys(signal)) if signal else tuple(KINDS)
    for name in names:
        require_signal(name, KINDS)
    say = _saying(Console(stderr=True))
    if is_run(target):
        if corpus is not None or length is not None:
            raise RecipeError(
                f"{target}: a run has its own corpus and windows.", "Use --corpus and --length with a model alone."
            )
        found = inspect_run(Path(target), cache_folder(), names=names, arm=arm, trusted_code=trusted_code, say=say)
        page = out or Path(target) / "inspect.html"
    else:
        if arm is not None:
            raise RecipeError(f"--arm {arm}: {target} is no run folder.", "Only a run has trained arms.")
        recipe = trusting(recipe_of(target, corpus, length), trusted_code)
        found = inspect_model(recipe, cache_folder(), names=names, say=say)
        page = out or Path("inspect.html")
    write_inspection(page, found)
    if as_json:
        _print_json(inspection_as_json(found, page))
    else:
        Console().print(draw_inspection(found, page))


@app.command(epilog="Examples:  frostline report runs/demo  ·  frostline report runs/demo --figures figures")
def report(
    run_folder: RunFolder,
    figures: Annotated[
        Path | None, typer.Option("--figures", help="Also write every figure as SVG and PNG to this folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write summary.json and report.html of a run anew from its journal."""
    from frostline.report import write_figures, write_report
    from frostline.stats import write_summary

    write_summary(run_folder)
    written = [write_report(run_folder)]
    if figures is not None:
        written += write_figures(run_folder, figures)
    if as_json:
        _print_json([str(path) for path in written])
    else:
        for path in written:
            Console().print(str(path), soft_wrap=True, highlight=False)


@app.command(epilog="Examples:  frostline show runs/demo  ·  frostline show runs/demo --json | jq .claims")
def show(run_folder: RunFolder, as_json: AsJson = False) -> None:
    """Print a run's answer, its claims and its arms in the terminal."""
    if as_json:
        from dataclasses import asdict

        from frostline.stats import summarise

        _print_json(asdict(summarise(run_folder)))
        return
    from frostline.report import show_run

    Console().print(show_run(run_folder))


@app.command(epilog="Examples:  frostline verify runs/demo  ·  frostline verify runs/demo --json")
def verify(run_folder: RunFolder, trusted_code: TrustedCode = None, as_json: AsJson = False) -> None:
    """Check a run folder: hashes, pairing, frozen weights, and that its summary and report follow from its journal."""
    from dataclasses import asdict

    from frostline.cli.tables import draw_findings
    from frostline.folders import cache_folder
    from frostline.launch.verify import verify_run

    say = _saying(Console(stderr=as_json))
    findings = verify_run(run_folder, cache_folder(), say=say, trusted_code=trusted_code)
    if as_json:
        _print_json([asdict(finding) for finding in findings])
    else:
        Console().print(draw_findings(findings))
    if any(finding.holds is False for finding in findings):
        raise typer.Exit(SOMETHING_FAILED)


@app.command(epilog="Examples:  frostline env  ·  frostline env --json")
def env(as_json: AsJson = False) -> None:
    """Print versions and machine, for a bug report."""
    from frostline.machine import describe_machine

    facts = describe_machine()
    if as_json:
        _print_json(facts)
        return
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        Console().print(f"{name:<{width}}  {value}", highlight=False, markup=False, soft_wrap=True)


def _saying(console: Console) -> Callable[[str], None]:
    """How a command that has no progress bar tells what it does."""

    def say(sentence: str) -> None:
        console.print(visible(sentence), style="dim", markup=False, highlight=False)

    return say


def _folder_name(name: str) -> str:
    """A run's name as a folder of one level, whatever it contains."""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).strip(".-")
    return safe or "experiment"


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
