"""What do the signals say of this model and corpus? Measured once, then found in the cache folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from transformers import PreTrainedModel

from frostline.corpus import Corpus
from frostline.errors import CacheError
from frostline.measures import ModelIdentity, forward_conditions, identify
from frostline.plans import map_model
from frostline.recipe import require_signal
from frostline.signals.measure import KINDS, SignalInputs, measure_signals
from frostline.signals.sample import take_sample
from frostline.signals.signal import Signal
from frostline.storage import Facts, cached_entry, code_sha256, open_entry

SIGNAL_FILE = "signal.json"


class _SignalFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    values: list[tuple[int | None, str, float]]
    heads: list[tuple[int, int, float]]


def signal_inputs_of(
    model: PreTrainedModel,
    corpus: Corpus,
    *,
    device: torch.device,
    precision: str,
    windows: int | None = None,
    identity: ModelIdentity | None = None,
) -> SignalInputs:
    """What the signals look at; `identity` is that of `model`, where it is known.

    Raises `CorpusError` where the corpus is too small for a sample.
    """
    sample = take_sample(corpus) if windows is None else take_sample(corpus, windows)
    return SignalInputs(model, map_model(model), sample, device, precision, identity)


def signals_of(
    inputs: SignalInputs, cache: Path, names: Iterable[str] = tuple(KINDS), *, say: Callable[[str], None]
) -> dict[str, Signal]:
    """The signals of these names: from the cache folder where they are there, else measured, and kept there."""
    names = tuple(names)
    for name in names:
        require_signal(name)
    folder, identity = cache / "signals", signal_identity(inputs)
    keys = {name: hashlib.sha256(f"{identity}\n{name}".encode()).hexdigest()[:32] for name in names}
    found = {name: signal for name in names if (signal := _read(folder, keys[name], name)) is not None}
    missing = [name for name in names if name not in found]
    if missing:
        for name, signal in measure_signals(inputs, missing, say=say).items():
            found[name] = signal
            try:
                _keep(folder, keys[name], signal)
            except CacheError as error:
                say(f"Not kept for later: {error}")
    return {name: found[name] for name in names}


def signal_identity(inputs: SignalInputs) -> str:
    """Whatever may change a bit of a signal."""
    windows = inputs.sample.windows
    masks = [own.attention_mask for own in windows if own.attention_mask is not None]
    parts = {
        **forward_conditions(inputs.identity or identify(inputs.model), inputs.device, inputs.precision),
        "windows": _sha256_of([own.input_ids for own in windows]),
        "labels": _sha256_of([own.labels for own in windows]),
        "masks": _sha256_of(masks),
        "lengths": [own.lengths for own in windows],
        "code": code_sha256(("signals",)),
    }
    return json.dumps(parts, sort_keys=True)


def _sha256_of(arrays: Iterable[NDArray[np.int64]]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}\n".encode() + array.tobytes())
    return digest.hexdigest()


def _keep(folder: Path, key: str, signal: Signal) -> None:
    content = _SignalFile(
        values=[(layer, role, value) for (layer, role), value in signal.values.items()],
        heads=[(layer, head, value) for (layer, head), value in signal.heads.items()],
    )

    def write(target: Path) -> Facts:
        (target / SIGNAL_FILE).write_text(content.model_dump_json(), encoding="utf-8")
        return {"signal": signal.kind.name}

    cached_entry(folder, key, write)


def _read(folder: Path, key: str, name: str) -> Signal | None:
    entry = open_entry(folder, key)
    if entry is None:
        return None
    try:
        content = _SignalFile.model_validate_json((entry.folder / SIGNAL_FILE).read_bytes())
    except (OSError, ValidationError):
        return None  # removed meanwhile, or of another version: it is measured anew
    return Signal(
        KINDS[name],
        {(layer, role): value for layer, role, value in content.values},
        {(layer, head): value for layer, head, value in content.heads},
    )
