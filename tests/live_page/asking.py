"""A browser's part, without one: requests handed to the application itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message

from frostline.live_page.application import Site, application
from frostline.live_page.folder import watched_folder
from frostline.live_page.guard import Tickets
from frostline.live_page.pictures import Pictures

PORT, TOKEN = 8377, "first-token"
HOST = f"127.0.0.1:{PORT}"


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The data of each event, with its `id`."""
        found = []
        for block in self.text.split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
            if "data" in lines and "event" not in lines:
                found.append({**json.loads(lines["data"]), "id": unquote(lines.get("id", ""))})
        return found


class Asking:
    """The application over `folder`, and the cookie of whoever has entered."""

    def __init__(self, folder: Path) -> None:
        self.following: list[str] = []
        self.ending = False
        self.site = Site(watched_folder(folder), lambda: self.ending, Pictures(every_seconds=0.02), check_seconds=0.01)
        self.app: ASGIApp = application(self.site, Tickets(PORT, TOKEN, self.following.append))
        self.cookie = ""

    def enter(self) -> Asking:
        self.cookie = self.ask(f"/?token={TOKEN}").headers["set-cookie"].split(";")[0]
        return self

    def ask(
        self,
        path: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        until: Callable[[Answer], bool] = lambda answer: False,
    ) -> Answer:
        """The whole answer, or what there is of it when `until` holds; the connection is closed then."""
        return asyncio.run(self.asking(path, method, headers, until))

    async def asking(
        self,
        path: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        until: Callable[[Answer], bool] = lambda answer: False,
        slow: Callable[[], Any] | None = None,
    ) -> Answer:
        answer, closed = Answer(), asyncio.Event()
        raw, _, query = path.partition("?")
        named = {"host": HOST, **({"cookie": self.cookie} if self.cookie else {}), **(headers or {})}
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
            "path": unquote(raw), "raw_path": raw.encode(), "query_string": query.encode(), "root_path": "",
            "scheme": "http", "server": ("127.0.0.1", PORT), "client": ("127.0.0.1", 50000),
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        }  # fmt: skip
        asked = False

        async def receive() -> Message:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await closed.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                answer.body += message.get("body", b"")
                if slow is not None:
                    await slow()
                if until(answer):
                    closed.set()

        await self.app(scope, receive, send)
        return answer
