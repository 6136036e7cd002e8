"""Rank correlations against ranks made and correlated by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from frostline.advisor.signal_scores import rank_correlation, score_signals, steadiness_of
from frostline.plans import map_model
from frostline.signals.gradients import FISHER, gradient_signals
from frostline.signals.measure import SignalInputs, measure_signals
from frostline.signals.residual import BLOCK_INFLUENCE
from frostline.signals.sample import Sample
from frostline.signals.signal import Signal
from tests.builders.models import tiny_model
from tests.builders.samples import CPU, random_sample

TRUTH = {0: 0.1, 1: 0.4, 2: 0.2, 3: 0.9, 4: 0.3}


def by_hand(first: list[float], second: list[float]) -> float:
    """Pearson's correlation of the ranks, without ties."""
    own, other = (np.argsort(np.argsort(values)).astype(float) for values in (first, second))
    own, other = own - own.mean(), other - other.mean()
    return float(own @ other / np.sqrt((own @ own) * (other @ other)))


def test_the_correlation_is_that_of_the_ranks_over_common_places() -> None:
    signal = {1: 5.0, 0: -2.0, 3: 7.0, 2: 6.0, 9: 100.0}
    expected = by_hand([-2.0, 5.0, 6.0, 7.0], [TRUTH[place] for place in (0, 1, 2, 3)])
    assert rank_correlation(signal, TRUTH) == pytest.approx(expected)
    assert rank_correlation(TRUTH, TRUTH) == pytest.approx(1)
    assert rank_correlation({place: -value for place, value in TRUTH.items()}, TRUTH) == pytest.approx(-1)


def test_too_few_places_and_equal_values_have_no_correlation() -> None:
    assert rank_correlation({0: 1.0, 1: 2.0, 2: 3.0}, TRUTH) is None
    assert rank_correlation(dict.fromkeys(TRUTH, 1.0), TRUTH) is None


def test_a_signal_of_matrices_is_averaged_and_one_of_layers_is_not_asked_about_roles() -> None:
    roles = {"attn.q": 1.0, "attn.k": 3.0, "attn.v": 2.0, "attn.o": 4.0}
    matrices = Signal(FISHER, {(layer, role): TRUTH[layer] * own for layer in TRUTH for role, own in roles.items()})
    layers = Signal(
        BLOCK_INFLUENCE, {(layer, part): -own for layer, own in TRUTH.items() for part in ("layer", "attn", "mlp")}
    )
    found = score_signals([matrices, layers], TRUTH, roles)
    assert [score.signal for score in found] == ["fisher", "block-influence"]
    assert found[0].layers == pytest.approx(1)
    assert found[0].roles == pytest.approx(1)
    assert found[1].layers == pytest.approx(-1)
    assert found[1].roles is None


def test_the_whole_layer_counts_where_it_has_a_value_of_its_own() -> None:
    signal = Signal(BLOCK_INFLUENCE, {(0, "layer"): 5.0, (0, "attn"): 1.0, (1, "attn"): 2.0, (1, "mlp"): 4.0})
    assert signal.by_layer() == {0: 5.0, 1: 3.0}


def test_a_signal_is_as_steady_as_two_halves_of_the_windows_rank_the_matrices_alike(tmp_path: Path) -> None:
    model, sample = tiny_model("llama"), random_sample(6)
    inputs = SignalInputs(model, map_model(model), sample, CPU, "fp32")
    signals = measure_signals(inputs, ("fisher", "block-influence", "snr"))
    found = steadiness_of(signals.values(), inputs, tmp_path, lambda _: None)
    first, second = (
        gradient_signals(model, inputs.map, Sample(half), device=CPU, precision="fp32")[2].values
        for half in (sample.windows[0::2], sample.windows[1::2])
    )
    matrices = [(layer, role) for layer, role in first if layer is not None and role.startswith(("attn.", "mlp."))]
    expected = stats.spearmanr([first[place] for place in matrices], [second[place] for place in matrices]).statistic
    assert found["fisher"] == pytest.approx(expected)
    assert 0 < expected < 1
    assert found["block-influence"] is not None
    assert found["snr"] is None, "it reads no windows"
