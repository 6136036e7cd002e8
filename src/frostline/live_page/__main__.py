"""The process that serves the page of a run beside it; see `beside`."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from socket import socket

from frostline.live_page.folder import watched_folder
from frostline.live_page.serve import serve


def main() -> None:
    """Serve on the socket that is named until standard input closes, of which the first line says what."""
    wanted = json.loads(sys.stdin.readline())
    end = threading.Event()

    def wait_for_the_end() -> None:
        while os.read(0, 1024):  # not of `sys.stdin`, whose lock would be held when the interpreter ends
            pass
        end.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    with socket(fileno=int(sys.argv[1])) as bound:
        serve(watched_folder(Path(wanted["folder"]), awaited=True), bound, wanted["token"], lambda token: None, end=end)


if __name__ == "__main__":
    main()
