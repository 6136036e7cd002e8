"""What did the model know before? What it writes itself: forgetting is measured on it where no other corpus is named.

The loss of a model on text that it sampled itself is an estimate of its entropy, and what training adds to it is one of
the Kullback-Leibler divergence from the untouched model to the trained one (Li and Hoiem 2016, arXiv:1606.09282, keep a
model's own answers for the same end). It is written once, kept in the cache folder, and recorded: a run that goes on
reads what was recorded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from frostline.corpus import NOT_COUNTED, Batch
from frostline.measures import ModelIdentity, forward_conditions
from frostline.run_folder import CorpusFacts
from frostline.signals import own_text
from frostline.storage import Facts, cached_entry, code_sha256

WINDOWS = 8
LONGEST_WINDOW = 64
"""Tokens of a window at most: writing is slow, and what it takes must stay a small share of a run."""
DESCRIPTION = "the untouched model's own text"
TEXT_FILE = "text.json"


@dataclass(frozen=True)
class OwnText:
    """What the untouched model wrote, as windows that no arm trains on."""

    windows: tuple[tuple[int, ...], ...]
    beginning: tuple[int, ...] = ()
    """Token ids before the text of every window, which are given and not counted."""

    revision = None
    """It comes from no hub."""

    @property
    def held_out_windows(self) -> int:
        """Number of windows."""
        return len(self.windows)

    @property
    def window_length(self) -> int:
        """Tokens of each."""
        return len(self.windows[0])

    @property
    def sha256(self) -> str:
        """SHA-256 of its tokens."""
        return hashlib.sha256(np.array(self.windows, dtype="<i8").tobytes()).hexdigest()

    def held_out_batches(self, size: int) -> Iterator[Batch]:
        """All windows, `size` at a time."""
        for start in range(0, len(self.windows), size):
            ids = np.array(self.windows[start : start + size], dtype=np.int64)
            labels = ids.copy()
            labels[:, : len(self.beginning)] = NOT_COUNTED
            numbers = tuple(range(start, start + len(ids)))
            yield Batch(ids, labels, None, numbers, hashlib.sha256(ids.tobytes()).hexdigest())

    def facts(self) -> CorpusFacts:
        """As the journal has it, its tokens included."""
        return CorpusFacts(
            description=DESCRIPTION,
            sha256=self.sha256,
            tokens=sum(map(len, self.windows)),
            distinct_tokens=len({token for window in self.windows for token in window}),
            windows=0,
            held_out_windows=self.held_out_windows,
            tokens_sha256=self.sha256,
            beginning=list(self.beginning),
            own_text=[list(window) for window in self.windows],
        )


def unwritten_own_text(length: int, beginning: tuple[int, ...]) -> OwnText:
    """Windows of the size of what a model would write, with nothing in them: for what only their size decides."""
    return OwnText(((0,) * min(length, LONGEST_WINDOW),) * WINDOWS, beginning)


def write_own_text(
    model: PreTrainedModel,
    length: int,
    cache: Path,
    *,
    identity: ModelIdentity,
    device: torch.device,
    precision: str,
    beginning: tuple[int, ...],
    by_cache: bool | None,
) -> OwnText:
    """`WINDOWS` windows of up to `length` tokens by the untouched `model`; what the cache folder has is as good."""
    length = min(length, LONGEST_WINDOW)
    decides = {
        **forward_conditions(identity, device, precision),
        "code": code_sha256(("signals",)),
        "windows": [WINDOWS, length],
        "beginning": beginning,
        "by cache": by_cache,
    }
    key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    def write(folder: Path) -> Facts:
        windows = own_text(
            model, length, WINDOWS, device=device, precision=precision, beginning=beginning, by_cache=by_cache
        )
        (folder / TEXT_FILE).write_text(json.dumps(windows), encoding="utf-8")
        return {"windows": WINDOWS}

    entry = cached_entry(cache / "own-text", key, write)
    read = json.loads((entry.folder / TEXT_FILE).read_text(encoding="utf-8"))
    return OwnText(tuple(map(tuple, read)), beginning)
