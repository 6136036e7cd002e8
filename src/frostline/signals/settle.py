"""What do the signals say of this model and corpus? Measured once, then found in the cache folder.

A recipe whose arms choose by a signal (`train: [top:25% by snr]`) is settled here: once, before training, for all
replicates.
"""

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
from frostline.errors import CacheError, at
from frostline.measures import ModelIdentity, forward_conditions, identify
from frostline.plans import ModelMap, Plan, map_model, portions_of
from frostline.recipe import ArmSettings, ChangeSettings, Recipe, require_signal
from frostline.signals.choose import MeasureSignal, settle_plan, signals_asked_for
from frostline.signals.measure import KINDS, Looked, measure_signals
from frostline.signals.sample import take_sample
from frostline.signals.signal import Signal
from frostline.storage import Facts, cached_entry, code_sha256, open_entry

Chosen = dict[str, dict[str, list[str]]]
"""For each arm and each of its selectors that computed, the selectors that stand in its place."""
SIGNAL_FILE = "signal.json"


class _SignalFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    values: list[tuple[int | None, str, float]]
    heads: list[tuple[int, int, float]]


def look_at(
    model: PreTrainedModel,
    corpus: Corpus,
    *,
    device: torch.device,
    precision: str,
    windows: int | None = None,
    identity: ModelIdentity | None = None,
) -> Looked:
    """What the signals look at; `identity` is that of `model`, where it is known.

    Raises `CorpusError` where the corpus is too small for a sample.
    """
    sample = take_sample(corpus) if windows is None else take_sample(corpus, windows)
    return Looked(model, map_model(model), sample, device, precision, identity)


def signals_of(
    looked: Looked, cache: Path, names: Iterable[str] = tuple(KINDS), *, say: Callable[[str], None]
) -> dict[str, Signal]:
    """The signals of these names: from the cache folder where they are there, else measured, and kept there."""
    names = tuple(names)
    for name in names:
        require_signal(name)
    folder, identity = cache / "signals", _identity(looked)
    keys = {name: hashlib.sha256(f"{identity}\n{name}".encode()).hexdigest()[:32] for name in names}
    found = {name: signal for name in names if (signal := _read(folder, keys[name], name)) is not None}
    missing = [name for name in names if name not in found]
    if missing:
        for name, signal in measure_signals(looked, missing, say=say).items():
            found[name] = signal
            try:
                _keep(folder, keys[name], signal)
            except CacheError as error:
                say(f"Not kept for later: {error}")
    return {name: found[name] for name in names}


def asks_for_signals(recipe: Recipe) -> bool:
    """Whether any arm has a selector that computes."""
    return any(signals_asked_for(Plan.from_settings(arm)) for arm in recipe.arms.values())


def settle_recipe(recipe: Recipe, looked: Looked, cache: Path, *, say: Callable[[str], None]) -> tuple[Recipe, Chosen]:
    """`recipe` with every selector that computes replaced, and what each became. Raises `PlanError` naming the arm."""
    for name, arm in recipe.arms.items():  # before signals are measured, which takes its time
        with at("arms", name):
            for written in Plan.from_settings(arm).selectors:
                if written.choice is None:
                    portions_of(written, looked.map)
    known: dict[str, Signal] = {}

    def measure(name: str) -> Signal:
        if name not in known:
            known.update(signals_of(looked, cache, [name], say=say))
        return known[name]

    arms: dict[str, ArmSettings] = {}
    chosen: Chosen = {}
    for name, arm in recipe.arms.items():
        if not signals_asked_for(Plan.from_settings(arm)):
            arms[name] = arm
            continue
        with at("arms", name):
            arms[name], chosen[name] = settle_arm(arm, looked.map, measure)
        for selector, found in chosen[name].items():
            say(f"Arm {name}: '{selector}' is {', '.join(found)}")
    return recipe.model_copy(update={"arms": arms}), chosen


def settle_arm(
    arm: ArmSettings, model_map: ModelMap, measure: MeasureSignal
) -> tuple[ArmSettings, dict[str, list[str]]]:
    """`arm` with every selector that computes replaced, and what each became. Raises `PlanError`."""
    settled = settle_plan(Plan.from_settings(arm), model_map, measure)
    chosen = {selector: list(found) for selector, found in settled.chosen.items()}
    return _as_settings(arm, settled.plan), chosen


def _as_settings(arm: ArmSettings, plan: Plan) -> ArmSettings:
    changes = tuple(
        ChangeSettings.model_validate({"at": change.at, change.verb: [own.text for own in change.selectors]})
        for change in plan.changes
    )
    return arm.model_copy(
        update={
            "train": None if plan.train is None else tuple(own.text for own in plan.train),
            "freeze": None if plan.freeze is None else tuple(own.text for own in plan.freeze),
            "changes": changes,
            "lora": plan.lora,
        }
    )


def _identity(looked: Looked) -> str:
    """Whatever may change a bit of a signal."""
    windows = looked.sample.windows
    masks = [own.attention_mask for own in windows if own.attention_mask is not None]
    parts = {
        **forward_conditions(looked.identity or identify(looked.model), looked.device, looked.precision),
        "windows": _sha256_of([own.input_ids for own in windows]),
        "labels": _sha256_of([own.labels for own in windows]),
        "masks": _sha256_of(masks),
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
