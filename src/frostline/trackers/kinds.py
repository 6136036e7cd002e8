"""Which trackers are there, what do they need, and where do they keep what they are told?

Nothing here imports a tracker's package: that is for the process that tells it.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import socket
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

from frostline.errors import FrostlineError, MissingExtraError, nearest
from frostline.trackers.tracker import Tracker

ANSWER_SECONDS = 5.0
"""How long a server may take to answer."""
WANDB_SERVER = "https://api.wandb.ai"


@dataclass(frozen=True)
class TrackerKind:
    """A tracker that can be asked for by name."""

    name: str
    packages: tuple[str, ...]
    """What is imported; the first is the tracker itself."""
    server: Callable[[], str | None]
    """Address of the server that the user's environment names; None where all stays on this machine."""
    look: Callable[[Path], str]
    """The command that shows what is in a folder."""

    def usual_folder(self, run_folder: Path) -> Path:
        """Beside the run, where runs are compared: `runs/tensorboard`."""
        return run_folder.absolute().parent / self.name

    def opened(self, folder: Path) -> Tracker:
        """The tracker, keeping what it is told in `folder`. Imports its package."""
        module = import_module(f"frostline.trackers.to_{self.name}")
        tracker: Tracker = module.opened(folder)
        return tracker


def _nowhere() -> None:
    return None


def _wandb_server() -> str | None:
    if os.environ.get("WANDB_MODE", "offline") not in ("online", "shared"):
        return None
    return os.environ.get("WANDB_BASE_URL") or WANDB_SERVER


def _mlflow_server() -> str | None:
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    return address if address.startswith(("http://", "https://")) else None


def _quoted(folder: Path) -> str:
    return shlex.quote(os.path.relpath(folder) if folder.is_relative_to(Path.cwd()) else str(folder))


TRACKERS = {
    kind.name: kind
    for kind in (
        TrackerKind("tensorboard", ("tensorboardX",), _nowhere, lambda to: f"tensorboard --logdir {_quoted(to)}"),
        TrackerKind(
            "trackio",
            ("trackio",),
            lambda: os.environ.get("TRACKIO_SERVER_URL") or None,
            lambda to: f"TRACKIO_DIR={_quoted(to)} trackio show",
        ),
        TrackerKind("wandb", ("wandb",), _wandb_server, lambda to: f"wandb sync {_quoted(to / 'wandb')}/offline-run-*"),
        TrackerKind(
            "mlflow",
            ("mlflow", "sqlalchemy", "alembic"),
            _mlflow_server,
            lambda to: f"mlflow ui --backend-store-uri {shlex.quote(f'sqlite:///{to.absolute()}/mlflow.db')}",
        ),
    )
}


def usable_tracker(name: str) -> TrackerKind:
    """The tracker called `name`. Raises `FrostlineError` where its package is missing or its server does not answer."""
    kind = TRACKERS.get(name)
    if kind is None:
        raise FrostlineError(
            f"there is no tracker '{name}'.", nearest(name, TRACKERS) or f"Choose one of: {', '.join(TRACKERS)}."
        )
    for package in kind.packages:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(
                f"the tracker '{name}' needs {package}, which is not installed.",
                f"Install it with: pip install 'frostline[{name}]'",
            )
    server = kind.server()
    if server is not None:
        _require_answer(name, server)
    return kind


def _require_answer(name: str, server: str) -> None:
    """Raise `FrostlineError` where nothing takes connections at `server`: it may hold a secret, which is not shown."""
    host = ""
    try:
        parts = urlsplit(server)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((host, port), ANSWER_SECONDS).close()
    except (OSError, ValueError) as error:
        raise FrostlineError(
            f"the server of '{name}', {host or 'which your environment names'}, does not answer ({error}).",
            "Start it, or unset the environment variable that names it, and all stays on this machine.",
        ) from error
