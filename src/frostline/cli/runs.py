"""Commands on a run folder: fill it, go on with it, show and check what is there."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from frostline import verbs
from frostline.cli.command import (
    SOMETHING_FAILED,
    AsJson,
    MovedRecipe,
    On,
    Overrides,
    RecipeFile,
    RunFolder,
    Tracked,
    TrustedCode,
    Watched,
    app,
    print_json,
)
from frostline.interruption import Interruption
from frostline.progress import RunProgress
from frostline.terminal.progress import JsonProgress, Sentences, run_progress


@app.command(
    epilog="Examples:  frostline run demo.yaml  ·  frostline run demo.yaml --set training.steps=100 --out runs/longer"
)
def run(
    context: typer.Context,
    recipe: RecipeFile,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option("--out", help="The run folder to make.", show_default="runs/NAME")] = None,
    resume: Annotated[
        Literal["auto", "never"],
        typer.Option("--resume", help="auto: go on with the run folder if there is one, else start."),
    ] = "never",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train every arm, also those that an earlier run trained.")
    ] = False,
    on: On = None,
    watched: Watched = False,
    trackers: Tracked = None,
    trusted_code: TrustedCode = None,
    as_json: AsJson = False,
) -> None:
    """Run an experiment and write its report. Ctrl+C saves and stops; 'frostline resume' goes on from there.

    An arm that an earlier run trained in exactly the same way is taken from there, unless --fresh.
    """
    outcome = verbs.run(
        recipe,
        out,
        set=overrides or (),
        resume=resume,
        fresh=fresh,
        trusted_code=trusted_code,
        progress=_progress(as_json),
        interruption=context.ensure_object(Interruption),
        watch=_tell_plainly if watched else None,
        track=trackers or (),
        tell=_tell_plainly,
        on=on,
    )
    _print_outcome(outcome, as_json)


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
    recipe_folder: MovedRecipe = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a key of 'checkpoints' or 'resources'; no other may."),
    ] = None,
    on: On = None,
    watched: Watched = False,
    trackers: Tracked = None,
    trusted_code: TrustedCode = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that was stopped or killed. What it gives is what it would have given, to the byte."""
    outcome = verbs.resume(
        run_folder,
        set=overrides or (),
        retry_failed=retry_failed,
        accept_changes=accept_changes,
        recipe_folder=recipe_folder,
        trusted_code=trusted_code,
        progress=_progress(as_json),
        interruption=context.ensure_object(Interruption),
        watch=_tell_plainly if watched else None,
        track=trackers or (),
        tell=_tell_plainly,
        on=on,
    )
    _print_outcome(outcome, as_json)


@app.command(epilog="Examples:  frostline watch  ·  frostline watch runs/demo  ·  frostline run demo.yaml --watch")
def watch(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run folder, or a folder of runs.", show_default=True)
    ] = Path("runs"),
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="The port to serve on.", show_default="a free one from 8377 on"),
    ] = None,
) -> None:
    """Watch runs in a browser on this machine while they go on, or after; Ctrl+C ends it, and no run."""
    verbs.watch(folder, port=port, tell=_tell_plainly)


@app.command(epilog="Examples:  frostline track runs/demo --to tensorboard  ·  frostline run demo.yaml --track trackio")
def track(
    run_folder: RunFolder,
    to: Annotated[
        str, typer.Option("--to", metavar="TRACKER", help="tensorboard, trackio, wandb or mlflow.", show_default=False)
    ],
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="The folder that the tracker keeps it in.", show_default="beside the run"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell a tracker of a run, all of it and each step once, while the run goes on or after."""
    tracked = verbs.track(run_folder, to, dir=folder, tell=_tell_plainly)
    if as_json:
        print_json({**asdict(tracked), "folder": str(tracked.folder)})
    else:
        Console().print(f"{tracked.steps:,} steps told.", highlight=False)


@app.command(epilog="Examples:  frostline report runs/demo  ·  frostline report runs/demo --figures figures")
def report(
    run_folder: RunFolder,
    figures: Annotated[
        Path | None, typer.Option("--figures", help="Also write every figure as SVG and PNG to this folder.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Also write the numbers of every figure as CSV and parquet to this folder."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write summary.json and report.html of a run anew from its journal."""
    written = verbs.write_report(run_folder, figures=figures, data=data)
    if as_json:
        print_json([str(path) for path in written])
    else:
        for path in written:
            Console().print(str(path), soft_wrap=True, highlight=False)


@app.command(epilog="Examples:  frostline show runs/demo  ·  frostline show runs/demo --json | jq .claims")
def show(run_folder: RunFolder, as_json: AsJson = False) -> None:
    """Print a run's answer, its claims and its arms in the terminal."""
    if as_json:
        from frostline.stats import summarise

        print_json(asdict(summarise(run_folder)))
        return
    from frostline.terminal.run import show_run

    Console().print(show_run(run_folder))


@app.command(epilog="Examples:  frostline blind runs/demo  ·  frostline blind runs/demo --choices choices.json")
def blind(
    run_folder: RunFolder,
    arms: Annotated[
        str | None,
        typer.Option("--arms", metavar="A,B", help="Two arms; the baseline and the first other unless named."),
    ] = None,
    drawing: Annotated[
        int, typer.Option("--drawing", min=0, help="Number of the drawing that decides which text is A.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The page to write.", show_default="RUN/blind.html")
    ] = None,
    choices: Annotated[
        Path | None,
        typer.Option("--choices", metavar="FILE", help="Read what a page saved, and print the sign test."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a page on which you choose between two arms' texts without knowing whose they are, or read its choices."""
    if choices is not None:
        result = verbs.read_blind(run_folder, choices)
        if as_json:
            print_json(asdict(result))
        else:
            Console().print(result.sentence, highlight=False)
        return
    named = None if arms is None else tuple(arm.strip() for arm in arms.split(","))
    page = verbs.blind(run_folder, named, drawing=drawing, out=out)
    if as_json:
        print_json(str(page))
    else:
        Console().print(str(page), soft_wrap=True, highlight=False)


@app.command(epilog="Examples:  frostline verify runs/demo  ·  frostline verify passed-on --from .")
def verify(
    run_folder: RunFolder,
    recipe_folder: MovedRecipe = None,
    trusted_code: TrustedCode = None,
    as_json: AsJson = False,
) -> None:
    """Check a run folder: hashes, pairing, frozen weights, and that its summary and report follow from its journal."""
    findings = verbs.verify(
        run_folder,
        recipe_folder=recipe_folder,
        trusted_code=trusted_code,
        progress=Sentences(Console(stderr=as_json)),
    )
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        from frostline.terminal.tables import draw_findings

        Console().print(draw_findings(findings))
    if any(finding.holds is False for finding in findings):
        raise typer.Exit(SOMETHING_FAILED)


def _tell_plainly(line: str) -> None:
    """Beside what a command prints, on standard error, so that JSON stays JSON."""
    Console(stderr=True).print(line, soft_wrap=True, highlight=False, markup=False)


def _progress(as_json: bool) -> RunProgress:
    return JsonProgress(sys.stderr) if as_json else run_progress(Console())


def _print_outcome(outcome: verbs.RunOutcome, as_json: bool) -> None:
    """The answer of a run; of one that a signal has stopped only where to go on, which it has told already."""
    if outcome.status == "followed":  # by torchrun, and not as rank 0
        return
    if as_json:
        report = None if outcome.report is None else str(outcome.report)
        values = {"run": str(outcome.folder), "report": report, "status": outcome.status}
        print_json({**values, "failed": list(outcome.failed)})
    elif outcome.report is not None:
        from frostline.terminal.run import show_run

        Console().print(show_run(outcome.folder))
        Console().print(f"\nReport: {outcome.report.resolve()}", soft_wrap=True, highlight=False)
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)
