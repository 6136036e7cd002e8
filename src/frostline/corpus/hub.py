"""How is a data set of the Hugging Face hub read? Row by row as a stream, through `datasets` (extra `hub`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from frostline.corpus.tables import Row, missing_column, text_of
from frostline.errors import CorpusError, MissingExtraError
from frostline.recipe import CorpusSettings

HUB_PREFIX = "hub:"


def hub_name(settings: CorpusSettings) -> str:
    """The data set's id, without the prefix. Raises `CorpusError` if there is none."""
    name = settings.source.removeprefix(HUB_PREFIX).strip()
    if not name:
        raise CorpusError(f"'{settings.source}' names no data set.", "Write it as 'hub:OWNER/NAME'.")
    return name


def read_hub_rows(settings: CorpusSettings, columns: Sequence[str]) -> Iterator[Row]:
    """All rows of the split, as text of `columns`.

    Raises `MissingExtraError` without `datasets`, `CorpusError` when the data set, its subset, split or column is
    not there or the hub cannot be reached.
    """
    rows = iter(_open_stream(settings))
    done = 0
    for number in range(1, 1 << 62):
        try:
            row = next(rows, None)
        except (OSError, ValueError, RuntimeError, LookupError) as error:
            raise _unreachable(settings, error) from error
        if row is None:
            return
        place = f"{settings.source}, split '{settings.split}', row {number:,}"
        for column in columns:
            if column not in row:
                raise missing_column(f"{settings.source}, split '{settings.split}',", column, list(row))
        values = tuple(text_of(row[column], column, place) for column in columns)
        done += sum(len(value) for value in values if value is not None)
        yield Row(values, place, done)


def _open_stream(settings: CorpusSettings) -> Iterable[Mapping[str, object]]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise MissingExtraError(
            f"'{settings.source}' needs the package 'datasets'.", 'Install it with: pip install "frostline[hub]"'
        ) from error
    try:
        stream: Iterable[Mapping[str, object]] = load_dataset(
            hub_name(settings), name=settings.subset, split=settings.split, streaming=True
        )
    except (OSError, ValueError, RuntimeError, LookupError) as error:
        raise _unreachable(settings, error) from error
    return stream


def _unreachable(settings: CorpusSettings, error: Exception) -> CorpusError:
    reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
    return CorpusError(
        f"the data set '{hub_name(settings)}' could not be read from the hub: {reason}.",
        "Check its id, 'subset' and 'split'; it needs the network, unless it is in the cache already.",
    )
