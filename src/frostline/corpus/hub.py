"""How is a data set of the Hugging Face hub read? Row by row as a stream, through `datasets` (extra `hub`).

Always at one commit: a branch, or none, is resolved to the commit that it stands for, by which the tokens are cached.
Without network it is the commit that it stood for the last time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from frostline.corpus.rows import Row, missing_column
from frostline.errors import CorpusError, MissingExtraError
from frostline.hub import hub_if_reachable, hub_trouble
from frostline.recipe import HUB_PREFIX, CorpusSettings
from frostline.storage import replace_file

TIMEOUT_SECONDS = 30
_COMMIT = re.compile(r"[0-9a-f]{40}")


def hub_name(settings: CorpusSettings) -> str:
    """The data set's id, without the prefix. Raises `CorpusError` if there is none."""
    name = settings.source.removeprefix(HUB_PREFIX).strip()
    if not name:
        raise CorpusError(f"'{settings.source}' names no data set.", "Write it as 'hub:OWNER/NAME'.")
    return name


def hub_commit(settings: CorpusSettings, cache: Path) -> str:
    """The commit that `settings.revision` stands for. Raises `CorpusError` where that cannot be found out."""
    name, revision = hub_name(settings), settings.revision
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    remembered = cache / "hub" / hashlib.sha256(f"{name}@{revision or ''}".encode()).hexdigest()[:32]
    try:
        with hub_if_reachable():
            commit = HfApi().dataset_info(name, revision=revision, timeout=TIMEOUT_SECONDS).sha
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise _unreachable(settings, error) from error
    except hub_errors() as error:
        with suppress(OSError, UnicodeDecodeError):
            if _COMMIT.fullmatch(commit := remembered.read_text(encoding="utf-8")):
                return commit
        raise _unreachable(settings, error) from error
    if commit is None:
        raise CorpusError(f"the hub names no commit of the data set '{name}'.", "Give one as 'revision'.")
    with suppress(OSError):  # a cache that cannot be written is told where tokens are kept
        remembered.parent.mkdir(parents=True, exist_ok=True)
        replace_file(remembered, commit.encode())
    return commit


def hub_errors() -> tuple[type[Exception], ...]:
    """Whatever talking to the hub may raise, whichever library carries it."""
    from huggingface_hub.errors import HfHubHTTPError

    transport = [base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)]
    return (OSError, ValueError, RuntimeError, LookupError, *transport)


def read_hub_rows(settings: CorpusSettings, commit: str, columns: Sequence[str]) -> Iterator[Row]:
    """All rows of the split at `commit`, with their `columns`.

    Raises `MissingExtraError` without `datasets`, `CorpusError` when the data set, its subset, split or column is
    not there or the hub cannot be reached.
    """
    rows = iter(_open_stream(settings, commit))
    done = 0
    for number in range(1, 1 << 62):
        try:
            row = next(rows, None)
        except hub_errors() as error:
            raise _unreachable(settings, error) from error
        if row is None:
            return
        place = f"{settings.source}, split '{settings.split}', row {number:,}"
        for column in columns:
            if column not in row:
                raise missing_column(f"{settings.source}, split '{settings.split}',", column, list(row))
        values = tuple(row[column] for column in columns)
        done += sum(len(value) for value in values if isinstance(value, str))
        yield Row(values, place, done)


def hub_columns(settings: CorpusSettings, commit: str, cache: Path) -> tuple[str, ...]:
    """The columns of the split's first row, remembered, so that tokens in the cache need no network.

    Raises as `read_hub_rows` does.
    """
    named = json.dumps([hub_name(settings), settings.subset, settings.split, commit])
    remembered = cache / "hub-columns" / f"{hashlib.sha256(named.encode()).hexdigest()[:32]}.json"
    with suppress(OSError, ValueError):
        return tuple(str(name) for name in json.loads(remembered.read_text(encoding="utf-8")))
    try:
        columns = tuple(next(iter(_open_stream(settings, commit)), ()))
    except hub_errors() as error:
        raise _unreachable(settings, error) from error
    with suppress(OSError):  # a cache that cannot be written is told where tokens are kept
        remembered.parent.mkdir(parents=True, exist_ok=True)
        replace_file(remembered, json.dumps(columns).encode())
    return columns


def _open_stream(settings: CorpusSettings, commit: str) -> Iterable[Mapping[str, object]]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise MissingExtraError(
            f"'{settings.source}' needs the package 'datasets'.", 'Install it with: pip install "frostline[hub]"'
        ) from error
    try:
        with hub_if_reachable():
            stream: Iterable[Mapping[str, object]] = load_dataset(
                hub_name(settings), name=settings.subset, split=settings.split, revision=commit, streaming=True
            )
    except hub_errors() as error:
        raise _unreachable(settings, error) from error
    return stream


def _unreachable(settings: CorpusSettings, error: Exception) -> CorpusError:
    trouble = hub_trouble()
    reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
    return CorpusError(
        f"the data set '{hub_name(settings)}' could not be read from the hub"
        + (f", which cannot be reached ({trouble})." if trouble else f": {reason}."),
        "Check its id, 'revision', 'subset' and 'split'; it needs the network, unless it is in the cache already.",
    )
