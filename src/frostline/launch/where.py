"""Where is an experiment to run? What `--on` says, and whether somebody answers there; nothing slow is loaded."""

from __future__ import annotations

import importlib.util
import os
import socket
from dataclasses import dataclass

from frostline.errors import FrostlineError, MissingExtraError, nearest

VARIABLE = "RAY_ADDRESS"
"""Environment variable by which Ray is told of a cluster."""
RAY, CLIENT = "ray", "ray://"
LOCAL = "local"
"""Ray's own word for a cluster of this machine, which begins and ends with its driver."""
ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class RayAddress:
    """A cluster of Ray: `local` for one that is started here, `ray://HOST:PORT`, or what the environment names."""

    address: str

    @property
    def is_local(self) -> bool:
        """Whether the cluster is started for this run and stopped after it."""
        return self.address == LOCAL

    @property
    def on(self) -> str:
        """What `--on` is given to mean it, by someone with the same environment."""
        return self.address if self.address.startswith(CLIENT) else RAY


def ray_address(on: str) -> RayAddress:
    """The cluster that `--on` means. Raises `FrostlineError` where it cannot be used: nothing has been run by then."""
    if on == RAY:
        address = os.environ.get(VARIABLE) or LOCAL
    elif on.startswith(CLIENT):
        address = on
    else:
        raise FrostlineError(
            f"'{on}' is no place to run on.",
            nearest(on, (RAY,)) or "Use 'ray' for this machine, or 'ray://HOST:PORT' for a cluster.",
        )
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError("Ray is not installed.", "Install it with: pip install 'frostline[ray]'.")
    if address not in (LOCAL, "auto"):
        _require_answer(address, VARIABLE if on == RAY else "--on")
    return RayAddress(address)


def _require_answer(address: str, named_by: str) -> None:
    """Raise `FrostlineError` unless somebody listens at `address`; Ray itself would try for half a minute."""
    host, _, number = address.removeprefix(CLIENT).rstrip("/").rpartition(":")
    if not host or not number.isdigit() or not 0 < int(number) < 2**16:
        raise FrostlineError(f"{named_by}: '{address}' is no address.", "Use ray://HOST:PORT; the usual port is 10001.")
    try:
        socket.create_connection((host.strip("[]"), int(number)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        reason = (error.strerror or str(error) or "no answer").lower()
        raise FrostlineError(
            f"{named_by}: nobody answers at '{address}' ({reason}).",
            "Start the cluster with 'ray start --head', or use '--on ray' for one of this machine alone.",
        ) from error
