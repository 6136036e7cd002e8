"""All signals by name, each once; names that are none are told."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from frostline.plans import map_model
from frostline.recipe import CHOOSING_SIGNALS, SIGNALS
from frostline.signals.general import write_general_text
from frostline.signals.measure import KINDS, SignalInputs, measure_signals
from frostline.signals.signal import as_frame
from tests.builders.models import FAMILIES, tiny_model
from tests.builders.samples import CPU, random_sample


@pytest.mark.parametrize("family", FAMILIES)
def test_every_signal_of_every_family_is_finite_and_the_same_twice(family: str) -> None:
    model = tiny_model(family)
    inputs = SignalInputs(model, map_model(model), random_sample(4), CPU, "fp32")
    signals = measure_signals(inputs)
    assert list(signals) == list(KINDS)
    assert all(np.isfinite(list(signal.values.values())).all() for signal in signals.values())
    assert measure_signals(inputs) == signals


def test_one_signal_alone_is_what_it_is_among_all_and_tells_what_it_does() -> None:
    model = tiny_model("llama")
    inputs = SignalInputs(model, map_model(model), random_sample(4), CPU, "fp32")
    told: list[str] = []
    alone = measure_signals(inputs, ["foreign"], say=told.append)
    assert alone["foreign"] == measure_signals(inputs)["foreign"]
    assert told == ["Letting the model write general text", "Looking at the stream between the layers"]


def test_the_frame_has_a_row_for_each_place_and_head() -> None:
    model = tiny_model("llama")
    inputs = SignalInputs(model, map_model(model), random_sample(4), CPU, "fp32")
    frame = as_frame(measure_signals(inputs, ["snr", "attention-entropy"]).values())
    assert frame.columns == ["signal", "layer", "role", "head", "value"]
    assert frame.filter(signal="snr").height == 4 * 7
    assert frame.filter(signal="attention-entropy").height == 4 + 4 * 4


def test_general_text_is_the_models_own_and_the_same_each_time() -> None:
    model = tiny_model("llama")
    first, again = (write_general_text(model, 12, device=CPU, precision="fp32") for _ in range(2))
    rows = [window.input_ids.tolist() for window in first.windows]
    assert rows == [window.input_ids.tolist() for window in again.windows]
    assert len({str(row) for row in rows}) == 8
    assert {window.input_ids.shape for window in first.windows} == {(1, 12)}


def test_the_signals_that_recipes_may_name_are_those_that_are_measured() -> None:
    assert tuple(KINDS) == SIGNALS
    assert tuple(name for name, kind in KINDS.items() if kind.chooses) == CHOOSING_SIGNALS


def test_the_documentation_has_every_signal() -> None:
    page = (Path(__file__).parents[2] / "docs/advise.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?`) \| (?:matrices|layers|layers, halves|heads) \|", page, re.M)
    assert set(re.findall(r"`(.*?)`", " ".join(rows))) == set(SIGNALS)
