"""Which plans are raced under a budget, and what two of them have in common."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from frostline.advisor import priced_candidates as room
from frostline.advisor.budget import parse_budget
from frostline.advisor.priced_candidates import control_for, in_common, priced_candidates
from frostline.advisor.prices import PriceModel, with_arms
from frostline.arms.prepared import Prepared, prepare
from frostline.errors import RecipeError
from frostline.plans import ModelMap
from frostline.recipe import ArmSettings, load_recipe, variants_of
from frostline.run_folder import CandidateMade
from frostline.signals.gradients import FISHER, GRADIENT_NORM
from frostline.signals.kept import signal_inputs_of
from frostline.signals.measure import SignalInputs
from frostline.signals.signal import Signal, SignalKind
from frostline.terminal.progress import PlainProgress
from tests.advisor.test_race import made
from tests.builders.experiments import write_experiment

BY_ARITHMETIC = PriceModel(seconds=(1e-9, 1e-9, 0.0, 0.0), kept=(0.0, 0.0, 0.0), base_bytes=0, misfit=0.0)


def test_what_two_plans_have_in_common_is_counted_in_values() -> None:
    assert in_common({"a": 3, "b": 1}, {"a": 3, "c": 2}) == pytest.approx(3 / 6)
    assert in_common({"a": 3}, {"a": 3}) == 1.0
    assert in_common({"a": 3}, {}) == 0.0
    assert in_common({}, {}) == 0.0


def candidates(folder: Path, budget: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, CandidateMade]:
    """Where one signal ranks the upper layers highest, the other one the lower; prices follow from arithmetic alone."""
    monkeypatch.setattr(room, "fit_prices", lambda *arguments, **options: BY_ARITHMETIC)
    prepared = prepare(variants_of(load_recipe(write_experiment(folder)))[0], folder / "cache", say=lambda _: None)
    inputs = signal_inputs_of(
        prepared.model, prepared.corpus, device=prepared.device, precision=prepared.precision, windows=4
    )
    signals = {kind.name: by_layer(kind, inputs.map, sign) for kind, sign in ((GRADIENT_NORM, 1), (FISHER, -1))}
    with PlainProgress(Console(quiet=True)) as progress:
        made = priced_candidates(prepared, inputs, signals, folder / "cache", parse_budget([budget]), progress)
    return {own.candidate: own for own in made}


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, SignalInputs]:
    folder = tmp_path_factory.mktemp("controls")
    prepared = prepare(variants_of(load_recipe(write_experiment(folder)))[0], folder / "cache", say=lambda _: None)
    inputs = signal_inputs_of(
        prepared.model, prepared.corpus, device=prepared.device, precision=prepared.precision, windows=4
    )
    return prepared, inputs


def control_of(looked_at: tuple[Prepared, SignalInputs], *train: str, number: int = 3) -> CandidateMade | None:
    prepared, inputs = looked_at
    arm = ArmSettings(train=train)
    trained = with_arms(prepared, {"pick": arm}).arms["pick"].resolved.trained_values
    pick = replace(made("pick", size=trained), settled=arm.model_dump(mode="json", exclude_defaults=True))
    return control_for(prepared, inputs, pick, "random-as-pick", number)


def values_by_role(looked_at: tuple[Prepared, SignalInputs], *train: str) -> dict[str, int]:
    trained = with_arms(looked_at[0], {"own": ArmSettings(train=train)}).arms["own"].resolved.trained
    found: dict[str, int] = {}
    for portion in trained.values():
        found[portion.role] = found.get(portion.role, 0) + portion.values
    return found


@pytest.mark.parametrize("train", [("attn@50%:", "mlp@50%:"), ("attn.qkv@50%:",), ("mlp.up@:3", "attn.q@0")])
def test_a_control_has_as_many_values_of_each_role_in_other_layers(
    train: tuple[str, ...], looked_at: tuple[Prepared, SignalInputs]
) -> None:
    controls = [control_of(looked_at, *train, number=number) for number in range(3, 9)]
    plans = {own.plan for own in controls if own is not None and own.like == "pick"}
    assert len(plans) > 1
    for own in controls:
        assert own is not None
        if own.like:
            assert values_by_role(looked_at, *own.settled["train"]) == values_by_role(looked_at, *train)  # type: ignore[misc]
    assert max(own.layers for own in controls if own is not None) > len({1, 2}) - ("mlp.up@:3" in train)


def test_a_plan_of_whole_roles_has_a_control_of_its_size_from_all_matrices(
    looked_at: tuple[Prepared, SignalInputs],
) -> None:
    control = control_of(looked_at, "mlp.down@:")
    assert control is not None
    assert control.like == ""
    assert set(values_by_role(looked_at, *control.settled["train"])) != {"mlp.down"}  # type: ignore[misc]
    assert control_of(looked_at, "norm") is None, "smaller than any matrix"
    assert control_of(looked_at, "all") is None


def by_layer(kind: SignalKind, model_map: ModelMap, sign: int) -> Signal:
    places = {(portion.layer, portion.role): portion.layer for portion in model_map.portions}
    return Signal(kind, {place: float(sign * (-1 if layer is None else layer)) for place, layer in places.items()})


def test_each_signal_has_the_largest_share_that_keeps_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = candidates(tmp_path, "time=62%", monkeypatch)
    assert found["gradient-norm"].asked == {"train": ["top:25% by gradient-norm"]}
    assert not found["gradient-norm"].exceeds
    assert found["fisher"].asked == {"train": ["top:5% by fisher"]}, "a low layer takes the whole way back"
    assert found["fisher"].exceeds
    controls = [own for own in found.values() if own.origin == "random"]
    assert {own.asked["train"][0].partition(" ")[0] for own in controls} == {"top:25%"}  # type: ignore[index]
    assert not any(own.exceeds for own in controls), "they are never advised"


def test_a_limit_of_what_the_nearest_plan_needs_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match="comes nearest is norms-biases") as caught:
        candidates(tmp_path, "parameters=0.01%", monkeypatch)
    assert caught.value.hint == "Allow at least that much."
    needed = caught.value.message.rpartition(", ")[2].removesuffix(" % of the parameters.")
    found = candidates(tmp_path, f"parameters={needed}%", monkeypatch)
    assert not found["norms-biases"].exceeds
