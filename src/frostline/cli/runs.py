"""Commands on a run folder: fill it, go on with it, show and check what is there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from frostline.cli.command import (
    SOMETHING_FAILED,
    AsJson,
    Overrides,
    RecipeFile,
    RunFolder,
    TrustedCode,
    app,
    folder_name,
    print_json,
    read_recipe,
    saying,
)
from frostline.interruption import Interruption

if TYPE_CHECKING:
    from frostline.experiment import RunResult
    from frostline.progress import RunProgress


class Resume(StrEnum):
    """What `frostline run` does where its run folder exists."""

    AUTO = "auto"
    NEVER = "never"


@app.command(
    epilog="Examples:  frostline run demo.yaml  ·  frostline run demo.yaml --set training.steps=100 --out runs/longer"
)
def run(
    context: typer.Context,
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
    wanted = read_recipe(recipe, overrides, trusted_code)

    from frostline.run_folder import refuse_existing
    from frostline.storage import cache_folder

    run_folder = out if out is not None else Path("runs") / folder_name(wanted.name)
    if resume is Resume.NEVER:
        refuse_existing(run_folder)

    from frostline.experiment import resume_experiment, run_experiment, standing

    interruption = context.ensure_object(Interruption)

    def work(progress: RunProgress) -> RunResult:
        if standing(run_folder) == "nothing":
            return run_experiment(wanted, run_folder, cache_folder(), progress, fresh=fresh, interruption=interruption)
        return resume_experiment(run_folder, cache_folder(), progress, recipe=wanted, interruption=interruption)

    _run_and_report(run_folder, work, as_json)


@app.command(epilog="Examples:  frostline resume runs/demo  ·  frostline resume runs/demo --retry-failed")
def resume(
    context: typer.Context,
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
    from frostline.experiment import recorded_recipe, resume_experiment
    from frostline.recipe import trusting
    from frostline.storage import cache_folder

    wanted = trusting(recorded_recipe(run_folder, overrides or ()), trusted_code)

    def work(progress: RunProgress) -> RunResult:
        return resume_experiment(
            run_folder,
            cache_folder(),
            progress,
            recipe=wanted,
            retry_failed=retry_failed,
            accept_changes=accept_changes,
            interruption=context.ensure_object(Interruption),
        )

    _run_and_report(run_folder, work, as_json)


def _run_and_report(run_folder: Path, work: Callable[[RunProgress], RunResult], as_json: bool) -> None:
    """Do the work on a run, then write its report and print its answer. A signal ends it at once, without a report."""
    from frostline.report import write_report
    from frostline.stats import write_summary
    from frostline.terminal.progress import JsonProgress, run_progress
    from frostline.terminal.run import show_run

    console = Console(stderr=as_json)
    watching: RunProgress = JsonProgress(sys.stderr) if as_json else run_progress(console)
    with watching as progress:
        result = work(progress)
        if result.exit_code == 0:
            progress.say("Writing summary and report")
            summary = write_summary(run_folder)
            report = write_report(run_folder)
    if result.exit_code:
        if as_json:
            print_json({"run": str(run_folder), "report": None, "status": result.status, "failed": []})
        raise typer.Exit(result.exit_code)
    failed = [sentence for variant in summary.variants for sentence in variant.checks.failed]
    sound = all(variant.checks.pairing_holds and variant.checks.frozen_holds for variant in summary.variants)
    if as_json:
        print_json({"run": str(run_folder), "report": str(report), "status": result.status, "failed": failed})
    else:
        console.print(show_run(run_folder))
        console.print(f"\nReport: {report.resolve()}", soft_wrap=True, highlight=False)
    if failed or not sound:
        raise typer.Exit(SOMETHING_FAILED)


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
        print_json([str(path) for path in written])
    else:
        for path in written:
            Console().print(str(path), soft_wrap=True, highlight=False)


@app.command(epilog="Examples:  frostline show runs/demo  ·  frostline show runs/demo --json | jq .claims")
def show(run_folder: RunFolder, as_json: AsJson = False) -> None:
    """Print a run's answer, its claims and its arms in the terminal."""
    if as_json:
        from dataclasses import asdict

        from frostline.stats import summarise

        print_json(asdict(summarise(run_folder)))
        return
    from frostline.terminal.run import show_run

    Console().print(show_run(run_folder))


@app.command(epilog="Examples:  frostline verify runs/demo  ·  frostline verify runs/demo --json")
def verify(run_folder: RunFolder, trusted_code: TrustedCode = None, as_json: AsJson = False) -> None:
    """Check a run folder: hashes, pairing, frozen weights, and that its summary and report follow from its journal."""
    from dataclasses import asdict

    from frostline.experiment import verify_run
    from frostline.report import render_report
    from frostline.storage import cache_folder
    from frostline.terminal.tables import draw_findings

    say = saying(Console(stderr=as_json))
    findings = verify_run(run_folder, cache_folder(), say=say, render_report=render_report, trusted_code=trusted_code)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        Console().print(draw_findings(findings))
    if any(finding.holds is False for finding in findings):
        raise typer.Exit(SOMETHING_FAILED)
