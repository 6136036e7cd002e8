"""What is recommended after made-up trials, and what is said about chance and about seeds that chose nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from frostline.advisor.race import RUNGS
from frostline.advisor.recommendation import recommend
from frostline.advisor.retrained import RETRAINING
from frostline.run_folder import TrialFinished
from tests.advisor.test_race import made, trial


def last_rung(**losses: float) -> list[TrialFinished]:
    return [trial(name.replace("_", "-"), loss, rung=RUNGS - 1) for name, loss in losses.items()]


def test_the_best_within_the_budget_is_recommended_with_its_front() -> None:
    candidates = {
        "full": made("full", "full", seconds=1.0, size=1000, exceeds=("100 % of full training's time",)),
        "snr": made("snr", "signal", seconds=0.5),
        "small": made("small", seconds=0.2, size=10),
        "slow": made("slow", seconds=0.9, size=500),
        "random-1": made("random-1", "random", seconds=0.5),
        "upper-half": made("upper-half", seconds=0.6),
    }
    found = recommend(last_rung(full=1.0, snr=1.5, small=1.8, slow=1.9, random_1=1.7, upper_half=1.5), candidates)
    assert found is not None
    assert found.pick.candidate in ("snr", "upper-half")
    assert found.front[0] == "small"
    assert found.front[-1] == "full"
    assert "slow" not in found.front
    assert found.memory_front == ["full"]  # all take the same memory: the best one is alone
    assert found.control == "random-1"
    assert found.beats_control
    assert any("It beats a random choice of its size" in sentence for sentence in found.sentences)
    assert found.sentences[-1].endswith(
        "The recipe written beside this has the seeds of yours; run it with seven or more, such as by --set "
        "'seeds=[0,1,2,3,4,5,6]'."
    )
    assert any("worse than full training" in sentence for sentence in found.sentences)


def test_a_pick_that_chance_equals_says_so() -> None:
    candidates = {"full": made("full", "full"), "snr": made("snr", "signal"), "random-1": made("random-1", "random")}
    noisy = [trial("snr", 1.5, rung=2, wobble=0.3), trial("random-1", 1.51, rung=2, wobble=0.3)]
    trials = [trial("full", 1.0, rung=2), *noisy]
    found = recommend(trials, candidates)
    assert found is not None
    assert not found.beats_control
    assert any("does as well" in sentence and "not shown to matter" in sentence for sentence in found.sentences)


def test_a_pick_that_chance_beats_says_so() -> None:
    candidates = {"full": made("full", "full"), "snr": made("snr", "signal"), "random-1": made("random-1", "random")}
    lucky = trial("snr", 1.5, rung=2)  # on the windows that decide; on those that judge it is worse
    trials = [trial("full", 2.0, rung=2), replace(lucky, held_out_losses=trial("snr", 1.7, rung=2).held_out_losses)]
    found = recommend([*trials, trial("random-1", 1.55, rung=2)], candidates)
    assert found is not None
    assert found.pick.candidate == "snr"
    assert not found.beats_control
    difference = found.against["random-1"].mean
    assert difference == pytest.approx(0.15, abs=0.02)
    assert any(f"(random-1) is better: by {difference:.3f} [" in sentence for sentence in found.sentences)
    assert not any("does as well" in sentence for sentence in found.sentences)


def test_a_control_of_another_size_is_none() -> None:
    candidates = {
        "full": made("full", "full"), "mlp": made("mlp", size=1000), "random-1": made("random-1", "random", size=100),
    }  # fmt: skip
    found = recommend(last_rung(full=1.0, mlp=1.5, random_1=1.7), candidates)
    assert found is not None
    assert found.control is None
    assert any("No random choice of its size was raced" in sentence for sentence in found.sentences)


def test_nothing_is_recommended_where_every_trial_failed() -> None:
    candidates = {"full": made("full", "full"), "a": made("a")}
    assert recommend([trial("full", 1.0, rung=2), trial("a", 0.0, rung=2, failed=True)], candidates) is None


def again(name: str, *losses: float, wobble: float = 0.01) -> list[TrialFinished]:
    """Trials with new seeds, 1 and 2, that came to these losses."""
    return [
        replace(trial(name, loss, rung=RUNGS - 1, wobble=wobble), rung=RETRAINING, seed=seed, window_losses=[])
        for seed, loss in enumerate(losses, start=1)
    ]


CANDIDATES = {
    "full": made("full", "full"),
    "snr": made("snr", "signal"),
    "upper-half": made("upper-half"),
    "random-1": made("random-1", "random"),
}
RACED = last_rung(full=2.0, snr=1.5, upper_half=1.8, random_1=1.7)


def test_what_is_said_of_the_winner_comes_from_seeds_that_did_not_choose_it() -> None:
    trials = [*RACED, *again("snr", 1.60, 1.62), *again("random-1", 1.61, 1.60), *again("full", 1.9, 1.91)]
    race, found = recommend(RACED, CANDIDATES), recommend(trials, CANDIDATES)
    assert race is not None
    assert found is not None
    assert race.beats_control, "so said the trial that chose it"
    assert race.retrained is None
    assert "the very trial that chose it, which flatters it" in race.sentences[0]
    assert found.retrained is not None
    assert found.retrained.seeds == (1, 2)
    assert found.pick == race.pick
    assert not found.beats_control
    assert found.judged("random-1").mean == pytest.approx(1.61 - 1.605, abs=0.01)
    assert f"held-out loss {found.retrained.loss('snr'):.3f} nats" in found.sentences[0]
    assert "seeds that chose nothing (1, 2)" in found.sentences[0]
    assert any("(random-1) does as well: the difference is" in sentence for sentence in found.sentences)
    assert any(sentence.startswith("It is better than full training") for sentence in found.sentences)
    assert any(sentence.startswith("In the race it is better than training the upper") for sentence in found.sentences)


def test_where_the_control_failed_with_new_seeds_the_race_is_what_is_said_of_it() -> None:
    failed = [replace(own, held_out_losses=[], cause="broken") for own in again("random-1", 1.6, 1.6)]
    found = recommend([*RACED, *again("snr", 1.6, 1.6), *again("full", 1.9, 1.9), *failed], CANDIDATES)
    assert found is not None
    assert any(sentence.startswith("In the race it beats a random choice") for sentence in found.sentences)


def test_a_control_of_the_same_roles_is_taken_before_a_better_one() -> None:
    candidates = {**CANDIDATES, "random-as-snr": replace(made("random-as-snr", "random"), like="snr")}
    found = recommend([*RACED, trial("random-as-snr", 1.9, rung=RUNGS - 1)], candidates)
    assert found is not None
    assert found.control == "random-as-snr"
    assert any("beats a random choice of its size and roles (random-as-snr)" in own for own in found.sentences)


def test_the_winner_says_in_how_many_layers_it_trains() -> None:
    candidates = {name: replace(own, layers=12 if name == "full" else 5) for name, own in CANDIDATES.items()}
    found = recommend(RACED, candidates)
    assert found is not None
    assert "(snr), in 5 of 12 layers, at a learning rate" in found.sentences[0]
