"""Where is an experiment to run? What `--on` says, and whether somebody answers there; nothing slow is loaded."""

from __future__ import annotations

import importlib
import importlib.util
import os
import socket
from dataclasses import dataclass

from frostline.errors import FrostlineError, MissingExtraError, nearest

VARIABLE = "RAY_ADDRESS"
"""Environment variable by which Ray is told of a cluster."""
TLS_VARIABLE = "RAY_USE_TLS"
RAY, CLIENT = "ray", "ray://"
LOCAL = "local"
"""Ray's own word for a cluster of this machine, which begins and ends with its driver."""
ANSWER_SECONDS = 5.0
ASKS_HEAD = "/ray.rpc.NodeInfoGcsService/CheckAlive"
"""What gRPC calls the question whether a cluster's head is there; an empty question is a whole one."""


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
    no_address = FrostlineError(
        f"{named_by}: '{address}' is no address.", "Use ray://HOST:PORT; the usual port is 10001."
    )
    if not host or not (number.isascii() and number.isdigit()) or not 0 < int(number) < 2**16:
        raise no_address
    try:
        socket.create_connection((host.strip("[]"), int(number)), timeout=ANSWER_SECONDS).close()
    except UnicodeError as error:  # no name of a host can be written like that
        raise no_address from error
    except OSError as error:
        reason = (error.strerror or str(error) or "no answer").lower()
        raise FrostlineError(
            f"{named_by}: nobody answers at '{address}' ({reason}).",
            "Start the cluster with 'ray start --head', or use '--on ray' for one of this machine alone.",
        ) from error
    if not address.startswith(CLIENT):
        _require_head(address, named_by)


def _require_head(address: str, named_by: str) -> None:
    """Raise `FrostlineError` unless the head of a cluster answers at `address`.

    Ray itself would ask whatever answers there for minutes, and heed no signal meanwhile. The question is the one by
    which Ray's own processes ask whether its head is there; no part of it is loaded.
    """
    if importlib.util.find_spec("grpc") is None or os.environ.get(TLS_VARIABLE, "0").lower() in ("1", "true"):
        return  # Ray's own way of asking, or one with certificates, is needed
    grpc = importlib.import_module("grpc")
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary(ASKS_HEAD)
        try:
            ask(b"", timeout=ANSWER_SECONDS)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                return  # a head that wants to know who asks
            raise FrostlineError(
                f"{named_by}: what answers at '{address}' is no head of a Ray cluster.",
                f"If it is the port for clients (10001 unless set), use '{CLIENT}{address}'; the head's own is the one "
                "that 'ray start --head' tells (6379 unless set).",
            ) from error
