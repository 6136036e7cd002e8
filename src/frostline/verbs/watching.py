"""How does one watch runs in a browser? What `frostline watch` and `frostline run --watch` do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path


def watch(
    folder: str | PathLike[str] = "runs", *, port: int | None = None, tell: Callable[[str], None] = print
) -> None:
    """Serve a page that follows the run in `folder`, or all runs in a folder of runs, until Ctrl+C.

    It is for a browser on this machine alone: `tell` is told the address, which works once, and then the next one.
    `port` is the first free one from 8377 on unless given. Runs are read, never written; the page can ask one that is
    going on to save and stop. Call it in the main thread.
    """
    from frostline.live_page import (
        address_of,
        bound_socket,
        how_to_enter,
        new_token,
        require_server,
        serve,
        watched_folder,
    )

    watched = watched_folder(Path(folder))
    require_server()
    with bound_socket(port) as bound:
        number, token = bound.getsockname()[1], new_token()
        for line in how_to_enter(number, token):
            tell(line)
        serve(watched, bound, token, lambda following: tell(f"For another browser: {address_of(number, following)}"))


@contextmanager
def page_of_run(folder: Path, tell: Callable[[str], None] | None) -> Iterator[None]:
    """While the block lasts, a process beside serves the page of the run in `folder`, if `tell` is to hear of it."""
    if tell is None:
        yield
        return
    from frostline.live_page import page_beside

    with page_beside(folder, tell):
        yield
