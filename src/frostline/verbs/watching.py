"""How does one follow a run elsewhere? What `frostline watch` and `track` do, and `run --watch` and `--track`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from frostline.trackers import Tracked


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


def track(
    folder: str | PathLike[str],
    to: str,
    *,
    dir: str | PathLike[str] | None = None,
    tell: Callable[[str], None] = print,
) -> Tracked:
    """Tell the tracker `to` of the run in `folder`: `tensorboard`, `trackio`, `wandb` or `mlflow`.

    A run that goes on is followed until it ends; one that is over is told at once. What the tracker knows
    already is not told again. All is kept in `dir`, a folder beside the run unless named, or where the environment
    says. `tell` is told how to look at it. Runs are read, never written.
    """
    from frostline.trackers import track_run

    return track_run(Path(folder), to, None if dir is None else Path(dir), tell)


@contextmanager
def followed_run(
    folder: Path, watch: Callable[[str], None] | None, trackers: Sequence[str], tell: Callable[[str], None]
) -> Iterator[None]:
    """While the block lasts, processes beside follow the run in `folder`: its page, if `watch` is to hear of it, and
    `trackers`."""
    with ExitStack() as stack:
        if watch is not None:
            from frostline.live_page import page_beside

            stack.enter_context(page_beside(folder, watch))
        if trackers:
            from frostline.trackers import trackers_beside

            stack.enter_context(trackers_beside(folder, trackers, tell))
        yield
