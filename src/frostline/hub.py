"""Can the hub be reached? Asked once before it is used: its libraries ask six times for each file, half a minute.

This loads neither torch nor transformers, so that a mistyped model is told at once.
"""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from frostline.errors import ModelError

TIMEOUT_SECONDS = 5.0
REMEMBERED_SECONDS = 60.0
"""How long an answer holds: a model is many files, and a network comes and goes."""

CONFIGURATION = "config.json"
"""File that every model has."""
HOW_TO_NAME_A_MODEL = (
    "Give a folder with safetensors weights, a hub id (it needs the network or a filled cache), or 'embedded'."
)

_answers: dict[str, tuple[float, str]] = {}
"""When each address was asked, and what came of it."""


def hub_trouble() -> str:
    """Why the hub cannot be reached, in a few words; empty where it can."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    address = constants.ENDPOINT
    asked, trouble = _answers.get(address, (float("-inf"), ""))
    if time.monotonic() - asked > REMEMBERED_SECONDS:
        trouble = _trouble_at(address)
        _answers[address] = time.monotonic(), trouble
    return trouble


@contextmanager
def hub_if_reachable() -> Iterator[None]:
    """Where the hub cannot be reached, its libraries look in the block for what they have kept, and nowhere else."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = bool(hub_trouble())
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def require_within_reach(name: str, revision: str | None) -> None:
    """Raise `ModelError` where the hub cannot be reached, and no model `name` is kept of what it once gave."""
    trouble = hub_trouble()
    if trouble:
        from huggingface_hub import try_to_load_from_cache

        if not isinstance(try_to_load_from_cache(name, CONFIGURATION, revision=revision), str):
            raise out_of_reach(name, "configuration", trouble)


def out_of_reach(name: str, what: str, trouble: str) -> ModelError:
    """The error that `what` of the model `name` is neither kept nor to be had."""
    return ModelError(
        f"there is no folder '{name}'; as a hub id, its {what} is not in the cache, and the hub cannot be reached "
        f"({trouble}).",
        HOW_TO_NAME_A_MODEL,
    ).at("model", "source")


def _trouble_at(address: str) -> str:
    request = urllib.request.Request(address, method="HEAD", headers={"User-Agent": "frostline"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
            return ""
    except (urllib.error.HTTPError, http.client.HTTPException):
        return ""  # something has answered: the libraries may make more of it
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            return ""  # they may know certificates that Python does not
        return str(getattr(error.reason, "strerror", None) or error.reason)
    except OSError as error:
        return error.strerror or str(error)
