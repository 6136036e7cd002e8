"""What stands for the hub? An address at which nobody answers; or a server on this machine with one model."""

from __future__ import annotations

import errno
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "0123456789" * 4


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> str:
    """The hub cannot be reached, which is said with these words."""
    from huggingface_hub import constants

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    return os.strerror(errno.ECONNREFUSED)


@dataclass(frozen=True)
class HubServer:
    """A hub that has one model, `owner/tiny`."""

    address: str
    asked: list[str] = field(default_factory=list)
    """Paths that it was asked for."""


class _Answers(BaseHTTPRequestHandler):
    """Answers for files of the model as the hub does, at whichever revision; 404 to all else."""

    def __init__(self, folder: Path, asked: list[str], *arguments: object) -> None:
        self.folder, self.asked = folder, asked
        super().__init__(*arguments)  # type: ignore[arg-type]  # what the server gives

    def do_HEAD(self) -> None:  # the name that http.server looks for
        self._answer()

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def _answer(self) -> bytes:
        self.asked.append(self.path)
        match = re.fullmatch(r"/owner/tiny/resolve/[^/]+/(.+)", self.path)
        path = self.folder / match[1] if match else None
        content = path.read_bytes() if path is not None and path.is_file() else b""
        self.send_response(200 if content else 404)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        if path is not None:
            self.send_header(*("ETag", f'"{path.name}"') if content else ("X-Error-Code", "EntryNotFound"))
        self.end_headers()
        return content

    def log_message(self, format: str, *arguments: object) -> None: ...


@contextmanager
def hub_with(folder: Path) -> Iterator[HubServer]:
    """A hub that has the model of `folder`."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Answers, folder, asked))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield HubServer(f"http://127.0.0.1:{server.server_port}", asked)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
