"""What do all commands have in common? The application, its exit codes, arguments and ways of printing.

Exit codes: 0 all well, 1 the run ended with something failed, 2 a mistake to fix, 130 Ctrl+C, 143 SIGTERM.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

SOMETHING_FAILED = 1
MISTAKE = 2
LED = ("run", "resume", "time", "advise")
"""Commands that several processes do together where torchrun has started them; any other is done by rank 0 alone."""

app = typer.Typer(
    name="frostline",
    epilog="Begin with: [bold]frostline init demo[/] and then [bold]frostline run demo.yaml[/]",
    no_args_is_help=True,
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
Watched = Annotated[
    bool, typer.Option("--watch", help="Also serve a live page of the run, until it ends (extra 'watch').")
]
Tracked = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        metavar="TRACKER",
        help="Also tell a tracker of the run: tensorboard, trackio, wandb or mlflow. Repeatable.",
    ),
]
On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="PLACE",
        help="Compute on a cluster of Ray: 'ray' (this machine, or RAY_ADDRESS) or 'ray://HOST:PORT' (extra 'ray').",
        show_default="this process",
    ),
]
MovedRecipe = Annotated[
    Path | None,
    typer.Option("--from", metavar="FOLDER", help="Where the folder of the recipe is now, if it was moved."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
