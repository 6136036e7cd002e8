"""How does a corpus arrive from an address? By https only, checked against its SHA-256, once, into the cache folder.

The recipe must carry the checksum, so an address can never quietly give another text. What is in the cache is checked
again each time that it is used.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import IO

from frostline.corpus.compressed import COMPRESSED
from frostline.errors import CorpusError
from frostline.storage import cache_trouble

LARGEST_DOWNLOAD_BYTES = 16 << 30
TIMEOUT_SECONDS = 60
_CHUNK_BYTES = 1 << 20

Progress = Callable[[int, int], None]


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to another https address."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]  # the stub wants HTTPMessage


def fetch(address: str, sha256: str, cache: Path, progress: Progress | None = None) -> Path:
    """The file behind `address`, from the cache folder or the network. Raises `CorpusError`, leaving nothing behind.

    Its name keeps the ending of the address, so that `format: auto` works.
    """
    _check_address(address)
    expected = sha256.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", expected):
        raise CorpusError(f"sha256: '{sha256[:80]}' is not a SHA-256.", "It is written as 64 digits 0-9 and a-f.")
    endings = Path(urllib.parse.urlsplit(address).path.lower()).suffixes
    # `.gz` alone would not say what is in it.
    suffix = "".join(endings[-2:] if endings and endings[-1] in COMPRESSED else endings[-1:])
    suffix = suffix if re.fullmatch(r"(\.[a-z0-9]{1,10}){1,2}", suffix) else ""
    folder = cache / "downloads"
    target = folder / f"{expected}{suffix}"
    try:
        if target.is_file() and _hash(target) == expected:
            return target
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".fetching-")
    except OSError as error:
        raise cache_trouble(error, folder) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            _check_sum(address, expected, _download(address, file, progress))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise cache_trouble(error, folder) from error
    finally:
        temporary.unlink(missing_ok=True)
    return target


def shown_address(address: str) -> str:
    """`address` without user name, password and query, which may be secret."""
    parts = urllib.parse.urlsplit(address)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _check_address(address: str) -> None:
    try:
        parts = urllib.parse.urlsplit(address)
        usable = parts.scheme == "https" and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or any(ord(character) <= 32 for character in address):
        shown = address[:200].split("?")[0]
        raise CorpusError(f"'{shown}' is not an https address.", "A corpus is fetched by https only.")


def _open(address: str) -> http.client.HTTPResponse:
    request = urllib.request.Request(address, headers={"User-Agent": "frostline"})
    response = urllib.request.build_opener(_HttpsOnly).open(request, timeout=TIMEOUT_SECONDS)
    if not isinstance(response, http.client.HTTPResponse):
        raise CorpusError(f"{shown_address(address)} did not answer by https.")
    return response


def _download(address: str, file: IO[bytes], progress: Progress | None) -> str:
    """Copy the answer into `file`; its SHA-256. Raises `OSError` only for trouble with `file`."""
    digest = hashlib.sha256()
    done = 0
    try:
        response = _open(address)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _not_fetched(address, error) from error
    with response:
        total = int(response.headers.get("Content-Length") or 0)
        while True:
            if max(done, total) > LARGEST_DOWNLOAD_BYTES:
                raise CorpusError(
                    f"{shown_address(address)} is larger than {LARGEST_DOWNLOAD_BYTES >> 30} GiB.",
                    "Fetch it yourself and name the file.",
                )
            try:
                chunk = response.read(_CHUNK_BYTES)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise _not_fetched(address, error) from error
            if not chunk:
                break
            try:
                _write(file, chunk)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise cache_trouble(error, Path(str(file.name)).parent, max(total, done + len(chunk))) from error
                raise
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, max(total, done))
    if total and done != total:
        raise CorpusError(f"{shown_address(address)} broke off after {done:,} of {total:,} bytes.", "Run again.")
    return digest.hexdigest()


def _write(file: IO[bytes], chunk: bytes) -> None:
    file.write(chunk)


def _check_sum(address: str, expected: str, found: str) -> None:
    if found != expected:
        raise CorpusError(
            f"{shown_address(address)} has the SHA-256 {found}, not {expected}.",
            "The file has changed: look at it, and put its own sum into the recipe if it is what you want.",
        )


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _not_fetched(address: str, error: Exception) -> CorpusError:
    if isinstance(error, urllib.error.HTTPError):
        reason = f"the server answers {error.code} {error.reason}".rstrip()
    else:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        told = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
        reason = told or type(cause).__name__
    return CorpusError(
        f"{shown_address(address)} could not be fetched: {' '.join(reason.split()).rstrip('.')[:200]}.",
        "It needs the network once; or fetch the file elsewhere and name it as the source.",
    )
