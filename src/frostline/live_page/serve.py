"""How does the page's server begin and end? On a port of this machine alone, until Ctrl+C or the end of its run."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import nullcontext

from frostline.errors import FrostlineError, MissingExtraError
from frostline.live_page.folder import WatchedFolder
from frostline.system import make_way

HOST = "127.0.0.1"
FIRST_PORT, PORTS = 8377, 20
"""Where a free port is looked for if none is asked for."""
NOTICES_SECONDS = 0.2
"""How soon the server notices that it is to end."""


def require_server() -> None:
    """Raise `MissingExtraError` where what the page is served by is not installed."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"the live page needs {error.name or 'starlette and uvicorn'}, which is not installed.",
            "Install it with: pip install 'frostline[watch]'",
        ) from error


def bound_socket(port: int | None) -> socket.socket:
    """A socket on `port`, or on the first free one of the usual ports. Raises `FrostlineError` where it is in use."""
    reason = ""
    for number in range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else [port]:
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that has just ended does not block it
            bound.bind((HOST, number))
            bound.listen(128)
        except OSError as error:
            bound.close()
            reason = (error.strerror or str(error)).lower()
        else:
            return bound
    where = f"port {port}" if port is not None else f"ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1}"
    raise FrostlineError(f"the live page cannot have {where}: {reason}.", "Choose another with --port.")


def new_token() -> str:
    """What an address is good by, once."""
    return secrets.token_urlsafe(24)


def address_of(port: int, token: str) -> str:
    """The address that a browser enters by."""
    return f"http://{HOST}:{port}/?token={token}"


def how_to_enter(port: int, token: str) -> list[str]:
    """What a person is told, in lines."""
    return [
        f"Live page (the address works once): {address_of(port, token)}",
        f"From another machine, first: ssh -L {port}:{HOST}:{port} {socket.gethostname()}",
    ]


def serve(
    watched: WatchedFolder,
    bound: socket.socket,
    token: str,
    used: Callable[[str], None],
    *,
    end: threading.Event | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, or until `end` is set; pages are told that it ends.

    `used` is told the next token once one was used. For the main thread of a process that does nothing else: signals
    end it, and it makes way for other processes.
    """
    import uvicorn

    from frostline.live_page.application import Site, application
    from frostline.live_page.guard import Tickets

    make_way()  # the run that is watched comes first
    ending = threading.Event() if end is None else end
    config = uvicorn.Config(
        application(Site(watched, ending.is_set), Tickets(bound.getsockname()[1], token, used)),
        access_log=False,
        server_header=False,
        log_level="critical",
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    # What uvicorn does with signals, ending with the program's own handlers, is not wanted: this is the end of looking,
    # no interruption.
    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]

    async def until_the_end() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ending.set)
        serving = asyncio.create_task(server.serve([bound]))
        while not ending.is_set() and not serving.done():
            await asyncio.sleep(NOTICES_SECONDS)
        server.should_exit = True
        await serving

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        asyncio.run(until_the_end())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
