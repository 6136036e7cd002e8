"""Commands on a recipe or a model: what plans mean and cost, where to train, what is inside."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from frostline import verbs
from frostline.cli.command import AsJson, On, Overrides, RecipeFile, TrustedCode, app, print_json
from frostline.interruption import Interruption
from frostline.terminal.progress import Sentences, run_progress

SHORTEST_RACE = 3
"""Steps of the last rung, at least; there is no other one then."""


def _recipe_names(incomplete: str) -> list[str]:
    """What a shell completes; summaries beside the names would be cut into lines that it takes for names."""
    from frostline.recipe import shipped_recipes

    return [recipe.name for recipe in shipped_recipes() if recipe.name.startswith(incomplete)]


@app.command(
    epilog="Examples:  frostline init  ·  frostline init demo  ·  frostline init moby-dick --to recipes  ·  "
    "frostline init --schema > .frostline.schema.json"
)
def init(
    name: Annotated[
        str | None, typer.Argument(help="The recipe to copy.", show_default=False, autocompletion=_recipe_names)
    ] = None,
    to: Annotated[Path, typer.Option("--to", help="Folder to copy it into.")] = Path(),
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of recipes, which an editor checks them by.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the shipped recipes, or copy one to change and run."""
    from frostline.recipe import copy_recipe, schema_text, shipped_recipes

    if schema:
        print(schema_text(), end="")
        return
    if name is not None:
        target = copy_recipe(name, to)
        if as_json:
            print_json({"recipe": str(target)})
        else:
            Console().print(
                f"Wrote {target}. Next: frostline plan {target}, then frostline run {target}.", soft_wrap=True
            )
        return
    recipes = shipped_recipes()
    if as_json:
        print_json([{"name": recipe.name, "summary": recipe.summary} for recipe in recipes])
        return
    from rich.table import Table

    table = Table("recipe", "what it does", box=None, pad_edge=False)
    for recipe in recipes:
        table.add_row(f"[bold]{recipe.name}[/]", recipe.summary)
    Console().print(table)
    Console().print("\nCopy one with: frostline init NAME", highlight=False)


@app.command(
    # A backslash, since help is Rich markup, which takes what stands in brackets for a style.
    epilog="Examples:  frostline plan demo.yaml  ·  frostline plan demo.yaml --set 'arms.x.train=\\[mlp@-4:]'"
)
def plan(
    recipe: RecipeFile, overrides: Overrides = None, trusted_code: TrustedCode = None, as_json: AsJson = False
) -> None:
    """Show what each arm trains: matches, layers x roles, the frost line, and the largest saving it allows."""
    progress = Sentences(Console(stderr=True))
    planned = verbs.plan(recipe, set=overrides or (), trusted_code=trusted_code, progress=progress)

    from frostline.terminal.plan import draw_plans, plans_as_json

    if as_json:
        print_json(plans_as_json(planned))
    else:
        Console().print(*draw_plans(planned), sep="\n")


@app.command(
    epilog="Examples:  frostline corpus demo.yaml  ·  frostline corpus demo.yaml --first 10 --html corpus.html"
)
def corpus(
    recipe: RecipeFile,
    overrides: Overrides = None,
    first: Annotated[int, typer.Option("--first", min=0, help="Windows to show.")] = 3,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a page.", show_default=False)
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read every row again, without the cache; of a hub data set all rows.")
    ] = False,
    trusted_code: TrustedCode = None,
    as_json: AsJson = False,
) -> None:
    """Show what is read: rows, left out, cut, tokens, windows, and the first windows with what learns in colour."""
    found = verbs.read_corpus(
        recipe,
        set=overrides or (),
        first=first,
        check=check,
        page=html,
        trusted_code=trusted_code,
        progress=run_progress(Console(stderr=True)),
    )

    from frostline.terminal.corpus import corpora_as_json, draw_corpora

    if as_json:
        print_json(corpora_as_json(found, html))
        return
    for read in found:
        Console().print(draw_corpora(read))
    if html is not None:
        Console().print(f"\n Page: {html.resolve()}", soft_wrap=True, markup=False, highlight=False)


@app.command(epilog="Examples:  frostline estimate demo.yaml  ·  frostline estimate demo.yaml --set training.batch=8")
def estimate(
    recipe: RecipeFile, overrides: Overrides = None, trusted_code: TrustedCode = None, as_json: AsJson = False
) -> None:
    """Estimate memory, time, disk and saving of each arm, in a minute or two, before anything runs."""
    progress = Sentences(Console(stderr=as_json))
    estimates = verbs.estimate(recipe, set=overrides or (), trusted_code=trusted_code, progress=progress)
    if as_json:
        print_json([asdict(found) for found in estimates])
        return

    from frostline.terminal.estimate import draw_estimate

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
    timings = verbs.time(
        recipe,
        set=overrides or (),
        rounds=rounds,
        memory=memory,
        trusted_code=trusted_code,
        progress=Sentences(Console(stderr=as_json)),
    )
    if as_json and timings:
        print_json([asdict(timing) for timing in timings])
        return

    from frostline.terminal.timing import draw_timing

    for timing in timings:
        Console().print(draw_timing(timing))


@app.command(
    epilog="Examples:  frostline advise demo.yaml  ·  frostline advise demo.yaml --budget time=40% --budget memory=8GB"
)
def advise(
    context: typer.Context,
    recipe: RecipeFile,
    overrides: Overrides = None,
    budget: Annotated[
        list[str] | None,
        typer.Option("--budget", metavar="KEY=LIMIT", help="time=40%, memory=8GB or parameters=5%. Repeatable."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=SHORTEST_RACE, help="Steps of the race's last rung.")
    ] = None,
    signal: Annotated[
        list[str] | None,
        typer.Option("--signal", help="Look at this signal. Repeatable.", show_default="those of single matrices"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The advice's folder.", show_default="runs/NAME-advice")
    ] = None,
    on: On = None,
    trusted_code: TrustedCode = None,
    as_json: AsJson = False,
) -> None:
    """Advise where to train: look inside the model, price plans, race them in short paired runs, recommend one.

    Arms of the recipe are left aside. Stopped or killed, it goes on when the same command is given again.
    """
    result = verbs.advise(
        recipe,
        out,
        set=overrides or (),
        budget=budget or (),
        steps=steps,
        signals=signal,
        trusted_code=trusted_code,
        progress=run_progress(Console(stderr=as_json)),
        interruption=context.ensure_object(Interruption),
        on=on,
    )
    if result.page is not None:  # no signal has stopped it
        from frostline.terminal.advice import advice_as_json, draw_advice

        if as_json:
            print_json(advice_as_json(result))
        else:
            Console().print(draw_advice(result))
    if result.exit_code:
        raise typer.Exit(result.exit_code)


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
    found, page = verbs.inspect_target(
        target,
        corpus=corpus,
        length=length,
        arm=arm,
        signals=signal,
        page=out,
        trusted_code=trusted_code,
        progress=Sentences(Console(stderr=True)),
    )

    from frostline.terminal.inspection import draw_inspection, inspection_as_json

    if as_json:
        print_json(inspection_as_json(found, page))
    else:
        Console().print(draw_inspection(found, page))
