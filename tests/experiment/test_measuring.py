"""Arms are evaluated from stored rows of what they freeze, and that changes no number beyond rounding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from torch import nn

from frostline.arms import forget_other_windows, make_arm, prepare, shared_parts
from frostline.arms.make import evaluations_of, keeps_evaluated
from frostline.arms.prepared import Prepared
from frostline.engine import FastForward, PrefixTrial
from frostline.experiment.measuring import UntouchedLosses, evaluate_everywhere
from frostline.measures import LossMeasure
from frostline.plans import decoder_stack
from frostline.recipe import load_recipe, variants_of
from frostline.run_folder import Evaluation, records_of
from tests.builders.experiments import journal_without_clock, run_tiny, write_experiment

ALWAYS = "training.prefix_cache.use=always"


def prepared_from(folder: Path, *overrides: str) -> Prepared:
    (variant,) = variants_of(load_recipe(write_experiment(folder), overrides))
    return prepare(variant, folder / "cache", say=lambda sentence: None)


@contextmanager
def calls_of(layer: nn.Module) -> Iterator[list[int]]:
    """How many windows each pass that computes `layer` reads, seen at its MLP: a stand-in calls none."""
    seen: list[int] = []
    handle = layer.get_submodule("mlp").register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    yield seen
    handle.remove()


def flat(measured: dict[str, LossMeasure]) -> list[float]:
    return [loss for own in measured.values() for loss in (own.loss_nats, *own.window_losses)]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("use", ["always", "never"])
def test_stored_rows_give_the_losses_of_the_plain_model_but_for_rounding(
    tmp_path: Path, precision: str, use: str
) -> None:
    settings = (f"training.prefix_cache.use={use}", f"training.precision={precision}")
    with shared_parts(prepared_from(tmp_path, *settings), None) as prepared:
        arm = make_arm(prepared, prepared.arms["freeze"], 0)
        plain = evaluate_everywhere(prepared, arm.model, trained=True)
        short = evaluate_everywhere(prepared, arm.model, trained=True, beginning=arm.forward.beginning(0))
        assert short.keys() == {"held_out", "retention", "trained"}
        assert flat(short) == pytest.approx(flat(plain), rel=1e-6 if precision == "fp32" else 1e-3)
        assert arm.forward.beginning(0) is not None


def test_a_row_that_is_found_and_one_that_is_computed_give_the_same_bits_and_the_first_spares_the_bottom(
    tmp_path: Path,
) -> None:
    with shared_parts(prepared_from(tmp_path, ALWAYS), None) as prepared:
        arm = make_arm(prepared, prepared.arms["freeze"], 0)
        _, layers = decoder_stack(arm.model)
        with calls_of(layers[0]) as bottom, calls_of(layers[3]) as top:
            computed = evaluate_everywhere(prepared, arm.model, beginning=arm.forward.beginning(0))
            windows = sum(len(own.window_losses) for own in computed.values())
            assert (set(bottom), len(bottom), sum(top)) == ({1}, windows, windows)
            assert evaluate_everywhere(prepared, arm.model, beginning=arm.forward.beginning(5)) == computed
            assert (len(bottom), sum(top)) == (windows, 2 * windows)


def test_what_was_evaluated_is_trained_on_and_the_other_way_round(tmp_path: Path) -> None:
    with shared_parts(prepared_from(tmp_path, ALWAYS), None) as prepared:
        arm = make_arm(prepared, prepared.arms["freeze"], 0)
        assert isinstance(arm.forward, FastForward)
        evaluate_everywhere(prepared, arm.model, trained=True, beginning=arm.forward.beginning(0))
        arm.take_step(prepared.corpus.batch(0, 0, prepared.corpus.windows), 0)
        assert arm.forward.prefix.counts.found > 0


def test_an_arm_that_trains_nothing_ends_at_exactly_the_loss_of_its_beginning(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path)
    still = ("training.learning_rate=1e-30", "training.weight_decay=0", "seeds=[0]", "measures.evaluate_every=2")
    run_folder = run_tiny(recipe, tmp_path / "run", still).run_folder
    for name, lines in journal_without_clock(run_folder).items():
        held_out = [own for own in records_of(lines, Evaluation) if own.corpus == "held_out"]
        if held_out:
            assert len(held_out) > 2, name
            assert {tuple(own.window_losses) for own in held_out} == {tuple(held_out[0].window_losses)}, name


def test_the_untouched_model_is_measured_once_for_arms_that_are_measured_alike(tmp_path: Path) -> None:
    prepared = prepared_from(tmp_path, ALWAYS, "arms.again={train: ['attn.qkv@50%:']}")
    with shared_parts(prepared, None) as sharing:
        untouched = UntouchedLosses(sharing)
        full, freeze, again = (
            untouched.of(make_arm(sharing, sharing.arms[name], 0)) for name in ("full", "freeze", "again")
        )
    assert freeze is again
    assert freeze is not full
    assert flat(freeze) == pytest.approx(flat(full), rel=1e-6)


def test_rows_of_weights_held_in_int8_are_none_of_the_untouched_model(tmp_path: Path) -> None:
    with shared_parts(prepared_from(tmp_path, ALWAYS, "training.frozen_weights=int8"), None) as prepared:
        forward = make_arm(prepared, prepared.arms["freeze"], 0).forward
        assert forward.untouched_beginning(prepared.model) is None


def test_with_random_offsets_rows_of_evaluated_windows_stay_when_those_of_a_step_go(tmp_path: Path) -> None:
    with shared_parts(prepared_from(tmp_path, ALWAYS, "windows.order=random"), None) as prepared:
        arm = make_arm(prepared, prepared.arms["freeze"], 0)
        first = evaluate_everywhere(prepared, arm.model, beginning=arm.forward.beginning(0))
        forget_other_windows(prepared, prepared.corpus.batch(0, 0, 2))
        _, layers = decoder_stack(arm.model)
        with calls_of(layers[0]) as bottom:
            assert evaluate_everywhere(prepared, arm.model, beginning=arm.forward.beginning(0)) == first
        assert bottom == []


@pytest.mark.parametrize(
    ("every", "steps", "evaluations"), [(0, 10, 1), (10, 10, 1), (10, 11, 2), (3, 10, 4), (1, 4, 4)]
)
def test_an_arm_is_evaluated_after_every_so_many_steps_and_at_its_end(every: int, steps: int, evaluations: int) -> None:
    due = [step for step in range(1, steps) if every and step % every == 0]
    assert evaluations_of(every, steps) == len(due) + 1 == evaluations


def test_windows_that_are_evaluated_are_stored_where_they_are_read_more_than_once(tmp_path: Path) -> None:
    slow = PrefixTrial(None, 10.0, 1000)
    once = ("training.steps=1", "seeds=[0]", "measures.evaluate_every=0")
    prepared = prepared_from(tmp_path, *once)
    assert keeps_evaluated(prepared, prepared.arms["freeze"], slow, 10**9)  # before and after training
    assert not keeps_evaluated(prepared, prepared.arms["freeze"], PrefixTrial(None, 1e-9, 1000), 10**9)
    assert not keeps_evaluated(prepared, prepared.arms["freeze"], slow, 0)
