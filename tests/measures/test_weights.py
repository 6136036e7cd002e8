"""Are the measured changes those of the weights themselves, in plain, split, thawed and adapted matrices?"""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft.tuners.lora import LoraLayer
from torch import Tensor
from transformers import PreTrainedModel

from frostline.errors import PlanError
from frostline.measures import WeightNorms, WeightWatch
from frostline.plans import AppliedPlan, Plan, Portion, select
from tests.builders.batches import random_batch
from tests.builders.models import tiny_model

FUSED = ("gpt2", "gpt_neox", "bloom", "phi3")
Values = dict[str, NDArray[np.float64]]


class Training:
    """A hand-written loop over `applied` that can say what the watched matrices are, by names of the plain model."""

    def __init__(self, applied: AppliedPlan, plain: PreTrainedModel, selectors: list[str]) -> None:
        self.applied = applied
        self.plain = plain
        self.portions: list[Portion] = select(plain, selectors)
        self.optimizer = torch.optim.AdamW([p for _, p in applied.trainable_parameters()], lr=0.01, weight_decay=0.1)

    def step(self, step: int) -> None:
        self.applied.advance(step)
        self.optimizer.param_groups[0]["params"] = [p for _, p in self.applied.trainable_parameters()]
        ids = torch.from_numpy(random_batch(step).input_ids)
        self.applied.model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def values(self) -> Values:
        """Each watched matrix in float64, read off the module that computes with it."""
        return {
            portion.name: portion.view_of(self._effective(portion.parameter)).double().numpy().copy()
            for portion in self.portions
        }

    @torch.no_grad()
    def _effective(self, parameter: str) -> Tensor:
        path, _, own = parameter.rpartition(".")
        module = self.applied.model.get_submodule(path)
        base: object = module.get_base_layer() if isinstance(module, LoraLayer) else module
        value: object = getattr(base, own)
        assert isinstance(value, Tensor)
        if isinstance(module, LoraLayer) and own == "weight":
            delta: object = getattr(module, "get_delta_weight")("default")  # noqa: B009  # typed as a tensor by mypy
            assert isinstance(delta, Tensor)
            return value.double() + delta.double()
        return value.detach()


def start(
    family: str, plan: str, selectors: list[str], every: int = 1, layers: int = 2
) -> tuple[Training, WeightWatch]:
    plain = tiny_model(family, layers=layers)
    applied = Plan.parse(plan).apply(copy.deepcopy(plain).train())
    return Training(applied, plain, selectors), WeightWatch(applied, selectors, every=every)


def distances(after: Values, before: Values) -> list[float]:
    return [float(np.linalg.norm(after[name] - before[name])) for name in after]


def run(training: Training, watch: WeightWatch, steps: int) -> tuple[list[Values], list[WeightNorms | None]]:
    history, norms = [training.values()], []
    for step in range(steps):
        training.step(step)
        norms.append(watch.after_step(step))
        history.append(training.values())
    return history, norms


@pytest.mark.parametrize("family", [*FUSED, "llama", "mixtral", "gpt_neo"])
@pytest.mark.parametrize("plan", ["train: all", "train: [attn.q@50%:]", "freeze: [attn.v]"])
def test_change_and_drift_are_the_frobenius_norms_of_the_differences(family: str, plan: str) -> None:
    training, watch = start(family, plan, ["attn"])
    history, norms = run(training, watch, 3)
    assert watch.names == list(history[0])
    for step, found in enumerate(norms):
        assert found is not None
        assert found.change == pytest.approx(distances(history[step + 1], history[step]), rel=1e-4, abs=1e-12)
        assert found.drift == pytest.approx(distances(history[step + 1], history[0]), rel=1e-4, abs=1e-12)


@pytest.mark.parametrize("family", FUSED)
def test_frozen_matrices_give_exactly_zero_and_trained_ones_do_not(family: str) -> None:
    training, watch = start(family, "train: [attn.q@50%:]", ["attn"])
    _, norms = run(training, watch, 2)
    final = watch.final()
    assert watch.trained == [
        role == "attn.q" and layer == 1 for role, layer in zip(watch.roles, watch.layers, strict=True)
    ]
    assert any(watch.trained)
    for index, trained in enumerate(watch.trained):
        for found in norms:
            assert found is not None
            assert (found.change[index] > 0) == (found.drift[index] > 0) == trained
        ends = (final.drift[index], final.relative_drift[index], final.stable_rank[index])
        assert all(end > 0 for end in ends) if trained else ends == (0, 0, 0)


@pytest.mark.parametrize("family", FUSED)
def test_a_split_matrix_is_measured_as_the_plain_one(family: str) -> None:
    _, split = start(family, "train: [attn.q]", ["attn"])
    _, plain = start(family, "train: all", ["attn"])
    assert split.names == plain.names
    assert split.final().norm == plain.final().norm


@pytest.mark.parametrize(("every", "measured"), [(1, [0, 1, 2, 3, 4, 5, 6]), (2, [1, 3, 5]), (3, [2, 5]), (0, [])])
def test_every_kth_step_is_measured_with_the_change_of_that_one_step(every: int, measured: list[int]) -> None:
    training, watch = start("llama", "train: [attn]", ["attn.q"], every=every)
    history, norms = run(training, watch, 7)
    assert [step for step, found in enumerate(norms) if found is not None] == measured
    for step in measured:
        found = norms[step]
        assert found is not None
        assert found.change == pytest.approx(distances(history[step + 1], history[step]), rel=1e-4)
        assert found.drift == pytest.approx(distances(history[step + 1], history[0]), rel=1e-4)
    assert watch.final().drift == pytest.approx(distances(history[-1], history[0]), rel=1e-4)


def test_a_step_left_out_is_refused_rather_than_measured_wrongly() -> None:
    _, watch = start("llama", "train: all", ["attn.q"], every=3)
    with pytest.raises(ValueError, match="without after_step"):
        watch.after_step(2)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_end_is_described_as_numpy_describes_it(family: str) -> None:
    training, watch = start(family, "train: [attn.q, attn.v@1]", ["attn", "mlp", "norm"])
    history, _ = run(training, watch, 3)
    final = watch.final()
    for index, name in enumerate(watch.names):
        start_values, moved = history[0][name], history[-1][name] - history[0][name]
        norm, drift = np.linalg.norm(start_values), np.linalg.norm(moved)
        assert final.norm[index] == pytest.approx(norm, rel=1e-5)
        assert final.drift[index] == pytest.approx(drift, rel=1e-4)
        assert final.relative_drift[index] == pytest.approx(drift / norm if norm else 0, rel=1e-4)
        if drift:
            matrix = moved if moved.ndim == 2 else moved[:, None]
            expected = (drift / np.linalg.norm(matrix, ord=2)) ** 2
            assert final.stable_rank[index] == pytest.approx(expected, rel=1e-3)
        else:
            assert final.stable_rank[index] == 0


def test_what_moves_away_from_zero_has_an_infinite_relative_drift() -> None:
    training, watch = start("gpt2", "train: [bias]", ["bias"])
    run(training, watch, 1)
    final = watch.final()
    assert set(final.norm) == {0.0}
    assert all(math.isinf(drift) == (moved > 0) for drift, moved in zip(final.relative_drift, final.drift, strict=True))
    assert max(final.drift) > 0


def test_a_matrix_that_thaws_and_one_that_freezes_stand_still_when_frozen() -> None:
    plan = "train: [attn.q]; at 2 thaw: [attn.k]; at 3 freeze: [attn.q]"
    training, watch = start("gpt2", plan, ["attn.q", "attn.k", "attn.v"], layers=1)
    history, norms = run(training, watch, 5)
    moving = {"attn.q": [True, True, True, False, False], "attn.k": [False, False, True, True, True]}
    for index, role in enumerate(watch.roles):
        changes = [found.change[index] for found in norms if found is not None]
        assert [change > 0 for change in changes] == moving.get(role, [False] * 5)
    assert watch.trained == [role != "attn.v" for role in watch.roles]
    assert watch.final().drift == pytest.approx(distances(history[-1], history[0]), rel=1e-4)


@pytest.mark.parametrize(("family", "target"), [("llama", "attn.q"), ("gpt2", "attn.qkv"), ("gpt_neo", "attn.v")])
def test_an_adapted_matrix_moves_by_its_adapters_product(family: str, target: str) -> None:
    training, watch = start(family, f"lora: rank 2, alpha 4, targets [{target}]", ["attn"])
    history, norms = run(training, watch, 3)
    assert watch.names == list(history[0])
    matched = {portion.name for portion in select(training.plain, [target])}
    assert watch.trained == [name in matched for name in watch.names]
    for step, found in enumerate(norms):
        assert found is not None
        assert found.change == pytest.approx(distances(history[step + 1], history[step]), rel=1e-4, abs=1e-12)
        assert found.drift == pytest.approx(distances(history[step + 1], history[0]), rel=1e-4, abs=1e-12)
        assert [drift > 0 for drift in found.drift] == watch.trained
    final = watch.final()
    assert final.norm == pytest.approx([np.linalg.norm(values) for values in history[0].values()], rel=1e-5)
    for index, name in enumerate(watch.names):
        if name in matched and target != "attn.qkv":
            assert 1 <= final.stable_rank[index] <= 2 + 1e-6


def test_measuring_changes_neither_the_weights_nor_the_random_state() -> None:
    plain, _ = start("gpt2", "train: [attn.q]", ["attn"])
    watched, watch = start("gpt2", "train: [attn.q]", ["attn"])
    state = torch.get_rng_state()
    run(watched, watch, 2)
    watch.final()
    assert torch.equal(torch.get_rng_state(), state)
    for step in range(2):
        plain.step(step)
    for name, values in plain.values().items():
        assert np.array_equal(values, watched.values()[name])


def test_names_layers_and_roles_have_one_order_and_embeddings_lie_in_no_layer() -> None:
    _, watch = start("gpt2", "train: all", ["attn.k", "embed"])
    assert set(watch.roles) == {"attn.k", "embed"}
    for name, layer, role in zip(watch.names, watch.layers, watch.roles, strict=True):
        assert (f".h.{layer}." in name) if role == "attn.k" else layer == -1


def test_what_never_moves_is_not_copied_a_second_time() -> None:
    training, watch = start("llama", "train: [attn.q@1]", ["attn.q"])
    run(training, watch, 2)
    one = training.plain.get_parameter("model.layers.1.self_attn.q_proj.weight").numel()
    assert watch.copied_bytes == 2 * 4 * one


@pytest.mark.parametrize("family", [*FUSED, "llama"])
@pytest.mark.parametrize("plan", ["train: all", "train: [attn.q@50%:]"])
def test_the_weights_before_training_are_read_from_the_base_and_not_copied(family: str, plan: str) -> None:
    copying, copied = start(family, plan, ["attn"])
    reading, _ = start(family, plan, ["attn"])
    watch = WeightWatch(reading.applied, ["attn"], base=reading.plain)
    assert watch.copied_bytes == copied.copied_bytes / 2
    history, norms = run(reading, watch, 3)
    _, expected = run(copying, copied, 3)
    assert norms == expected
    assert watch.final() == copied.final()
    assert WeightWatch(reading.applied, ["attn"], every=0, base=reading.plain).copied_bytes == 0
    last = norms[-1]
    assert last is not None
    assert last.drift == pytest.approx(distances(history[-1], history[0]), rel=1e-4, abs=1e-12)


def test_of_an_adapter_that_begins_at_nothing_only_the_step_before_is_kept() -> None:
    _, watch = start("llama", "lora: rank 2, alpha 4, targets [attn.q]", ["attn.q"])
    values = sum(portion.values for portion in watch._portions)
    assert watch.copied_bytes == pytest.approx(4 * values, abs=4 * len(watch.names))


def test_a_selector_that_matches_nothing_is_refused() -> None:
    with pytest.raises(PlanError):
        start("llama", "train: all", ["attn.z"])
