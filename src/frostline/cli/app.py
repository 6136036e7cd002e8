"""The command line: every command, and what becomes of an error or a signal in any of them."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from frostline import __version__
from frostline.cache import settle_other_caches, settle_temporary_files
from frostline.cli import recipes, runs, trained  # noqa: F401  # importing them is what adds their commands
from frostline.cli.command import LED, MISTAKE, AsJson, app, print_json
from frostline.errors import CacheError, FrostlineError
from frostline.interruption import Interruption, Stopped
from frostline.out_of_memory import MEMORY_ERRORS, is_out_of_memory, want_of_memory
from frostline.started import ECHO_SECONDS, how_started, is_launched
from frostline.system import ask_for_huge_pages, require_supported_system
from frostline.text import visible

_LESS_MEMORY = (
    "'frostline estimate RECIPE' says what a run takes; a smaller model, training.batch or windows.length takes less."
)


def main() -> None:
    """Entry point: runs a command and turns a user's mistake into one sentence and exit code 2.

    The one `Interruption` of the process listens here; commands find it as the context's object and hand it on.
    """
    _show_what_can_be_shown()
    # Where memory runs out, libraries in Rust may wait for ever for themselves while they draw a backtrace.
    os.environ.setdefault("RUST_BACKTRACE", "0")
    interruption = Interruption(ECHO_SECONDS if is_launched() else 0.0)
    try:
        require_supported_system()
        ask_for_huge_pages()
        _require_present_folder()
        with suppress(CacheError):  # told by what needs the cache folder
            settle_temporary_files()
        settle_other_caches()
        with interruption.listening():
            app(obj=interruption)
    except Stopped as stopped:
        sys.exit(stopped.exit_code)  # raised outside of typer, which handles it inside itself
    except SystemExit:
        if interruption.exit_code is not None:
            sys.exit(interruption.exit_code)  # typer knows one code for all interruptions
        raise
    except FrostlineError as error:
        _tell(str(error))
        sys.exit(MISTAKE)
    except MEMORY_ERRORS as error:
        if not is_out_of_memory(error):
            raise
        _tell(f"{want_of_memory(error)}. {_LESS_MEMORY}")
        sys.exit(MISTAKE)


def _tell(sentence: str) -> None:
    console = Console(stderr=True)
    console.print("[bold red]error:[/] ", end="")
    console.print(visible(sentence), markup=False, highlight=False, soft_wrap=True)


def _require_present_folder() -> None:
    """Raise `FrostlineError` where it is gone: libraries end the process with sentences of their own."""
    try:
        Path.cwd()
    except OSError as error:
        raise FrostlineError("the present folder is not there any more.", "Go to one that is (cd).") from error


def _show_what_can_be_shown() -> None:
    """Letters that the terminal's encoding lacks are replaced: no output is worth the work that it tells of."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace" if stream is sys.stdout else "backslashreplace")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"frostline {__version__}")
        raise typer.Exit


@app.callback()
def frostline(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Which weights should I train, and which can I leave frozen? A controlled experiment that answers."""
    if context.invoked_subcommand not in LED and how_started().rank > 0:
        raise typer.Exit  # rank 0 does alone what several processes would each do, and print


@app.command(epilog="Examples:  frostline env  ·  frostline env --json")
def env(as_json: AsJson = False) -> None:
    """Print versions and machine, for a bug report."""
    from frostline.machine import describe_machine

    facts = describe_machine()
    if as_json:
        print_json(facts)
        return
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        Console().print(f"{name:<{width}}  {value}", highlight=False, markup=False, soft_wrap=True)
