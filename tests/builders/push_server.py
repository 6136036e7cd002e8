"""What stands for the hub where something is pushed: it takes small files whole, and keeps what it was sent.

The hub says for each file how it is to be uploaded; this one wants all of them in the commit itself (`regular`), as the
hub does for small ones, so that no storage of large files is needed.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class PushServer:
    """A hub onto which one may push."""

    address: str = ""
    created: list[dict[str, Any]] = field(default_factory=list)
    """What was said of each repository that was to be made."""
    tokens: set[str] = field(default_factory=set)
    files: dict[str, bytes] = field(default_factory=dict)
    """Files that were committed."""
    refuses: int = 0
    """Status with which it answers a commit, if not 0."""


class _Answers(BaseHTTPRequestHandler):
    def __init__(self, server: PushServer, *arguments: object) -> None:
        self.hub = server
        super().__init__(*arguments)  # type: ignore[arg-type]  # what the server gives

    def do_HEAD(self) -> None:  # the name that http.server looks for
        self._send(200, {})

    def do_GET(self) -> None:
        self._send(200, {"id": "owner/tiny", "sha": "a" * 40, "siblings": [], "tags": []})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else self._chunked()
        self.hub.tokens.add(str(self.headers.get("authorization")))
        if self.path == "/api/repos/create":
            self.hub.created.append(json.loads(body))
            self._send(200, {"url": f"{self.hub.address}/owner/tiny"})
        elif "/preupload/" in self.path:
            names = [own["path"] for own in json.loads(body)["files"]]
            files = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            self._send(200, {"files": files})
        elif "/commit/" in self.path and self.hub.refuses:
            self._send(self.hub.refuses, {"error": "Storage is full"})
        elif "/commit/" in self.path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.hub.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            self._send(200, {"commitUrl": f"{self.hub.address}/owner/tiny/commit/{'b' * 40}", "commitOid": "b" * 40})
        else:
            self._send(200, {})

    def _chunked(self) -> bytes:
        body = b""
        while self.headers.get("Transfer-Encoding") == "chunked" and (size := int(self.rfile.readline(), 16)):
            body += self.rfile.read(size)
            self.rfile.readline()
        return body

    def _send(self, status: int, values: dict[str, object]) -> None:
        content = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None: ...


@contextmanager
def push_server() -> Iterator[PushServer]:
    """A hub that takes what is pushed to `owner/tiny`."""
    hub = PushServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Answers, hub))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
