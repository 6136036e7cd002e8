"""What does the page's server answer? A list of runs, a page for each, and what is new in it as it comes.

Events follow the format of server-sent events: each has as its `id` the newest line of the journal that is in it, so
that a browser whose connection was cut (`Last-Event-ID`), or a page that was hidden (`after`), is sent what it lacks.
A reader that is slow is waited for: nothing is queued for it, it is sent less often and then all that has changed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from frostline.live_page.folder import WatchedFolder
from frostline.live_page.guard import HOSTS, REPORT_POLICY, Guarded, Tickets, WithHeaders, sentence
from frostline.live_page.pictures import Pictures
from frostline.live_page.zoomed import FIELDS, zoomed
from frostline.run_folder import REPORT_FILE, ask_to_stop, writer_of

STATIC = {
    "page.css": "text/css",
    "colours.css": "text/css",
    "chart.js": "text/javascript",
    "run.js": "text/javascript",
    "list.js": "text/javascript",
    "common.js": "text/javascript",
}
COMMENT_SECONDS = 15.0
"""Between two signs of life on a connection on which nothing happens."""
CHECK_SECONDS = 0.4
"""How soon a connection notices that a picture has changed, or that the server ends."""


@dataclass
class Site:
    """What all requests share."""

    watched: WatchedFolder
    ending: Callable[[], bool] = lambda: False
    """Whether the server is about to end."""
    pictures: Pictures = field(default_factory=Pictures)
    asked: dict[Path, int] = field(default_factory=dict)
    """Processes that have been asked to stop: a second time would make them leave at once."""
    check_seconds: float = CHECK_SECONDS
    zooming: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))

    def run(self, request: Request) -> Path | None:
        """The folder of the run that a request names."""
        return self.watched.find(request.path_params["name"])

    async def page(self, request: Request) -> Response:
        """The list of runs, or the page of the one run."""
        if self.watched.single:
            name = quote(self.watched.folder.name, safe="")
            return Response(status_code=303, headers={"Location": f"/runs/{name}"})
        return _static("list.html", "text/html")

    async def listed(self, request: Request) -> Response:
        """The runs, for the list."""
        runs = await asyncio.to_thread(self.watched.listed)
        return JSONResponse({"folder": self.watched.folder.name, "single": self.watched.single, "runs": runs})

    async def run_page(self, request: Request) -> Response:
        """The page of a run."""
        return _static("run.html", "text/html") if self.run(request) else _nothing()

    async def compare_page(self, request: Request) -> Response:
        """The page on which several runs are compared; it is that of a run, with more than one."""
        return _static("run.html", "text/html")

    async def static(self, request: Request) -> Response:
        """A file of ours."""
        name = request.path_params["file"]
        return _static(name, STATIC[name]) if name in STATIC else _nothing()

    async def events(self, request: Request) -> Response:
        """What is new in a run, as it comes."""
        folder = self.run(request)
        if folder is None:
            return _nothing()
        after = request.headers.get("last-event-id") or request.query_params.get("after")
        return StreamingResponse(self._events(folder, after), media_type="text/event-stream")

    async def _events(self, folder: Path, after: str | None) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        async with self.pictures.of(folder) as picture:
            while not picture.looked:
                await asyncio.sleep(self.check_seconds)
            sent, last = picture.sent_until(None if after is None else unquote(after)), loop.time()
            yield b"retry: 2000\n\n"
            while True:
                over = self.ending()
                if over:
                    await asyncio.to_thread(picture.look)
                news = picture.news(sent)
                if news is not None:
                    yield _event(news, picture.newest)
                    last = loop.time()
                elif loop.time() - last >= COMMENT_SECONDS:
                    yield b": nothing new\n\n"
                    last = loop.time()
                if over:
                    yield b"event: end\ndata: {}\n\n"
                    return
                await asyncio.sleep(self.check_seconds)

    async def zoom(self, request: Request) -> Response:
        """Curves of one replicate between two steps, as fine as a screen shows."""
        folder, query = self.run(request), request.query_params
        try:
            seed, first, last = (int(query[name]) for name in ("seed", "first", "last"))
            kind, variant = query["kind"], query["variant"]
        except (KeyError, ValueError):
            return _nothing()
        if folder is None or kind not in FIELDS:
            return _nothing()
        async with self.pictures.of(folder) as picture, self.zooming:
            files = picture.files_of(variant, seed)
            try:
                found = {
                    arm: await asyncio.to_thread(zoomed, folder, file, kind, first, last) for arm, file in files.items()
                }
            except (OSError, ValueError):
                return _nothing()
        series = {arm: {"stride": own.stride, "points": list(own.points())} for arm, own in found.items()}
        return JSONResponse({"series": series})

    async def report(self, request: Request) -> Response:
        """The report of a run, which holds no script, under a policy that allows none."""
        folder = self.run(request)
        path = None if folder is None else folder / REPORT_FILE
        if path is None or path.is_symlink() or not path.is_file():
            return _nothing()
        content = await asyncio.to_thread(path.read_bytes)
        return Response(content, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})

    async def stop(self, request: Request) -> Response:
        """Ask the process of a run to save and stop after its step."""
        folder = self.run(request)
        if folder is None:
            return _nothing()
        writer = await asyncio.to_thread(writer_of, folder)
        if writer is None or not writer.stops:
            return JSONResponse({"asked": False}, 409)
        if self.asked.get(folder) != writer.process:
            self.asked[folder] = writer.process
            if not await asyncio.to_thread(ask_to_stop, folder):
                del self.asked[folder]
                return JSONResponse({"asked": False}, 409)
        return JSONResponse({"asked": True})


def application(site: Site, tickets: Tickets) -> ASGIApp:
    """The whole server, for whoever may see it."""
    routes = [
        Route("/", site.page),
        Route("/runs.json", site.listed),
        Route("/compare", site.compare_page),
        Route("/static/{file}", site.static),
        Route("/runs/{name}", site.run_page),
        Route("/runs/{name}/events", site.events),
        Route("/runs/{name}/zoom", site.zoom),
        Route("/runs/{name}/report", site.report),
        Route("/runs/{name}/stop", site.stop, methods=["POST"]),
    ]
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
        Middleware(Guarded, tickets=tickets),
    ]
    inner = Starlette(routes=routes, middleware=middleware)
    inner.router.redirect_slashes = False
    return WithHeaders(inner)  # also what goes wrong unforeseen


def _event(news: object, newest: str) -> bytes:
    data = json.dumps(news, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    identity = f"id: {quote(newest)}\n" if newest else ""
    return f"{identity}data: {data}\n\n".encode(errors="backslashreplace")


def _static(name: str, kind: str) -> Response:
    content = (files("frostline.live_page") / "static" / name).read_bytes()
    return Response(content, media_type=kind)


def _nothing() -> Response:
    return sentence("There is nothing here.", 404)
