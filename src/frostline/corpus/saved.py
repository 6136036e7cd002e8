"""Which files hold a data set that `datasets` wrote by `save_to_disk`? Arrow streams, listed in its `state.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from frostline.corpus.places import shown, unreachable
from frostline.errors import CorpusError, nearest

_SPLITS_FILE, _STATE_FILE, _INFO_FILE = "dataset_dict.json", "state.json", "dataset_info.json"


class _Listed(BaseModel):
    model_config = ConfigDict(strict=True)
    filename: str


class _State(BaseModel):
    model_config = ConfigDict(strict=True)
    data_files: list[_Listed]
    indices_files: list[_Listed] | None = None


class _Splits(BaseModel):
    model_config = ConfigDict(strict=True)
    splits: list[str]


Content = TypeVar("Content", bound=BaseModel)


def is_saved(folder: Path) -> bool:
    """Whether `folder` is a data set that `save_to_disk` wrote, with splits or without."""
    return any(
        all((folder / name).is_file() for name in names) for names in ((_SPLITS_FILE,), (_STATE_FILE, _INFO_FILE))
    )


def saved_files(folder: Path, split: str) -> list[Path]:
    """The arrow files of the data set, of its `split` if it has some, in order. Raises `CorpusError`."""
    if (folder / _SPLITS_FILE).is_file():
        splits = _read(folder / _SPLITS_FILE, _Splits).splits
        if split not in splits:
            listed = ", ".join(f"'{name}'" for name in splits)
            raise CorpusError(
                f"the data set {shown(folder)} has no split '{split}'.",
                f"{nearest(split, splits, count=1) or ''} It has {listed or 'none'}.".strip(),
            )
        folder = folder / split
    state = _read(folder / _STATE_FILE, _State)
    if state.indices_files:
        raise CorpusError(
            f"{shown(folder)} keeps its rows in an order of their own, which is not read.",
            "Save it again: dataset.flatten_indices().save_to_disk(...).",
        )
    names = [listed.filename for listed in state.data_files]
    for name in names:
        if Path(name).name != name:
            raise CorpusError(f"{shown(folder / _STATE_FILE)} names a file outside the folder: '{name}'.")
    if not names:
        raise CorpusError(f"the data set {shown(folder)} has no rows.")
    return [folder / name for name in names]


def _read(path: Path, content: type[Content]) -> Content:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return content.model_validate({key.removeprefix("_"): value for key, value in values.items()})
    except OSError as error:
        raise unreachable(path, error) from error
    except (ValueError, AttributeError, ValidationError) as error:
        raise CorpusError(f"{shown(path)} is not what 'save_to_disk' writes.", "Save the data set again.") from error
