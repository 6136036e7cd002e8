"""The process that tells one tracker of one run; see `beside`."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

from frostline.errors import FrostlineError
from frostline.run_folder import writer_of
from frostline.system import make_way
from frostline.text import one_line
from frostline.trackers.beside import Order
from frostline.trackers.kinds import TRACKERS
from frostline.trackers.telling import Telling, follow

LOOK_SECONDS = 1.0


def main() -> None:
    """Tell, until the run is over and all is told; then one line of JSON says what came of it."""
    order = Order(**json.loads(sys.stdin.readline()))
    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a tracker prints is not for whoever waits here
    make_way()  # the run that is told of comes first
    ended = threading.Event()

    def wait_for_the_end() -> None:
        while os.read(0, 1024):  # not of `sys.stdin`, whose lock would be held when the interpreter ends
            pass
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    run = Path(order.run)
    telling = Telling(run, TRACKERS[order.tracker], Path(order.folder))

    def is_over() -> bool:
        return ended.is_set() or not (order.beside or writer_of(run) is not None)

    try:
        follow(telling, is_over, lambda: ended.wait(LOOK_SECONDS))
        answer: dict[str, object] = {"steps": telling.told_rows}
    except FrostlineError as error:
        answer = {"failed": str(error)}
    except Exception as error:  # noqa: BLE001  # whatever a tracker raises is said in a sentence, and costs the run nothing
        answer = {"failed": one_line(f"{order.tracker} could not be told ({type(error).__name__}: {error}).")[:280]}
    said.write(json.dumps(answer) + "\n")
    said.flush()
    os._exit(0)  # threads of a tracker that fails may never end


if __name__ == "__main__":
    main()
