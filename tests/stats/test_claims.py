"""Claims on simulated experiments whose truth is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frostline.recipe import Recipe
from frostline.recipe.primary import PrimaryComparison
from frostline.stats.claims import DEFINITIONS, judge_claims
from frostline.stats.claims.choices import rank_p
from frostline.stats.claims.definitions import C11_LOOKING
from frostline.stats.claims.verdicts import over_replicates
from frostline.stats.comparisons import compare
from frostline.stats.runs import read_run
from frostline.stats.summary import ClaimResult
from tests.builders import simulated_run
from tests.builders.simulated_run import write_simulated_run
from tests.builders.simulated_truth import FULL, TRUTHS, ArmTruth, Floats, default_truth

SEVEN = tuple(range(7))
"""Replicates enough for two arms after Holm."""


def truth_with(**changes: object) -> Callable[[str, str], ArmTruth]:
    """The default truths with the frozen arm changed."""

    def truth(variant: str, arm: str) -> ArmTruth:
        found = default_truth(variant, arm)
        return replace(found, **changes) if arm == "freeze" else found  # type: ignore[arg-type]  # any field

    return truth


def like_full(**changes: object) -> Callable[[str, str], ArmTruth]:
    """A frozen arm that behaves as the full one does, apart from `changes`."""
    same = {name: getattr(FULL, name) for name in ("floor", "height", "decay", "change", "common_share", "seconds")}
    return truth_with(**(same | changes))


def claims_of(folder: Path, **settings: object) -> dict[tuple[str, str], ClaimResult]:
    """Claims of a simulated run by id and arm; the first of its id."""
    run = write_simulated_run(folder / "run", **settings)  # type: ignore[arg-type]  # passed on as they are
    found: dict[tuple[str, str], ClaimResult] = {}
    for claim in judge_claims(read_run(run)):
        found.setdefault((claim.id, claim.arm), claim)
    return found


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], ClaimResult]:
    """The study's three arms, seven replicates."""
    return claims_of(tmp_path_factory.mktemp("study"), seeds=SEVEN, steps=60)


def test_every_claim_has_a_row(study: dict[tuple[str, str], ClaimResult]) -> None:
    assert [claim.id for claim in study.values()] == sorted((id for id, _ in study), key=lambda id: int(id[1:]))
    assert {id for id, _ in study} == {f"C{number}" for number in range(1, 13)}


def test_undecided_claims_say_what_would_decide_them_and_others_do_not(
    study: dict[tuple[str, str], ClaimResult],
) -> None:
    for claim in study.values():
        assert bool(claim.decides) == (claim.verdict == "undecided"), claim
        assert claim.sentence.endswith(".")


def test_c1_is_supported_where_the_full_arm_falls_faster(study: dict[tuple[str, str], ClaimResult]) -> None:
    claim = study["C1", "freeze"]
    assert (claim.verdict, claim.p_value) == ("supported", 2 / 2**7)
    assert claim.effect.value is not None
    assert claim.effect.value > 0


def test_c1_is_refuted_where_the_frozen_arm_falls_faster(tmp_path: Path) -> None:
    claim = claims_of(tmp_path, seeds=SEVEN, truth=truth_with(floor=2.4, height=1.4, decay=6.0))["C1", "freeze"]
    assert claim.verdict == "refuted"


@pytest.mark.parametrize("replicates", [1, 3, 5])
def test_c1_is_undecided_with_fewer_than_six_replicates(tmp_path: Path, replicates: int) -> None:
    claim = claims_of(tmp_path, seeds=tuple(range(replicates)))["C1", "freeze"]
    assert claim.verdict == "undecided"
    assert "6 replicates" in claim.decides


def test_c2_is_supported_where_the_points_leave_the_line_slowly(tmp_path: Path) -> None:
    claim = claims_of(tmp_path, seeds=(0,), steps=120, truth=like_full(floor=2.75, height=1.05))["C2", "freeze"]
    assert (claim.verdict, claim.scope) == ("supported", "in these runs")
    assert "in this run" in claim.sentence


def test_c2_is_decided_over_replicates_where_there_are_seven(tmp_path: Path) -> None:
    claims = claims_of(tmp_path, seeds=SEVEN, steps=60, truth=like_full(floor=2.75, height=1.05))
    assert (claims["C2", "freeze"].verdict, claims["C2", "freeze"].scope) == ("supported", "over replicates")


def test_c2_is_refuted_where_the_points_lie_above(tmp_path: Path) -> None:
    claims = claims_of(tmp_path, seeds=SEVEN, steps=60, truth=like_full(floor=2.4, height=1.4))
    assert claims["C2", "freeze"].verdict == "refuted"


def test_c2_is_not_supported_where_the_far_points_are_the_early_ones(tmp_path: Path) -> None:
    slower = like_full(floor=2.605, height=1.195, decay=30.0)
    claim = claims_of(tmp_path, seeds=SEVEN, steps=200, truth=slower)["C2", "freeze"]
    assert "the nearer to it" in claim.sentence
    assert claim.verdict == "refuted"


def test_c3_is_supported_for_both_arms_where_the_share_moves_to_the_corpuss_own(
    study: dict[tuple[str, str], ClaimResult],
) -> None:
    assert study["C3", "full"].verdict == "supported"
    assert study["C3", "freeze"].verdict == "supported"


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_c3_is_refuted_where_the_share_leaves_the_corpuss_own_on_either_side(tmp_path: Path, share: float) -> None:
    """'The the the' has a share that rises, and learns no style by that."""
    claims = claims_of(tmp_path, seeds=tuple(range(8)), truth=truth_with(common_share=share))
    claim = claims["C3", "freeze"]
    assert claim.verdict == "refuted"
    assert "farther from the 47.0 % of the corpus" in claim.sentence
    one = claims_of(tmp_path / "one", seeds=(0,), truth=truth_with(common_share=share))["C3", "freeze"]
    assert (one.verdict, one.effect.n) == ("undecided", 8)
    assert one.effect.value is not None
    assert one.effect.value > 0


def test_c4_is_refuted_where_the_excess_is_more_than_noise(tmp_path: Path) -> None:
    claim = claims_of(tmp_path, truth=truth_with(common_share=0.7))["C4", "freeze"]
    assert claim.verdict == "refuted"


def test_c4_has_nothing_to_explain_without_an_excess(tmp_path: Path) -> None:
    claim = claims_of(tmp_path, truth=truth_with(common_share=0.3))["C4", "freeze"]
    assert claim.verdict == "undecided"
    assert "no excess" in claim.sentence


def test_c4_is_supported_only_where_the_excess_is_surely_small(tmp_path: Path) -> None:
    few = claims_of(tmp_path / "few", seeds=(0,), truth=truth_with(common_share=0.48))["C4", "freeze"]
    assert few.verdict == "undecided"
    assert "More prompts or draws" in few.decides
    many = claims_of(
        tmp_path / "many", seeds=tuple(range(30)), steps=12, rng_seed=1, truth=truth_with(common_share=0.45)
    )["C4", "freeze"]
    assert (many.verdict, many.effect.n) == ("supported", 30 * 8)
    assert many.effect.value is not None
    assert many.effect.value > 0


def test_c5_is_undecided_below_two_epochs(study: dict[tuple[str, str], ClaimResult]) -> None:
    assert study["C5", "full"].verdict == "undecided"
    assert "2 epochs or more, and 100 steps or more" in study["C5", "full"].decides


@pytest.mark.parametrize(("change", "verdict"), [(1.6, "supported"), (0.7, "refuted"), (1.05, "undecided")])
def test_c6_follows_the_ratio_of_the_weight_changes(tmp_path: Path, change: float, verdict: str) -> None:
    claim = claims_of(tmp_path, seeds=(0, 1), truth=truth_with(change=change))["C6", "freeze"]
    assert (claim.verdict, claim.scope) == (verdict, "in these runs")
    assert claim.effect.value == pytest.approx(change, rel=0.02)


@pytest.mark.parametrize(
    ("seconds", "saves", "quarter"),
    [(1.05, "supported", "supported"), (0.55, "supported", "supported"), (1.3, "supported", "refuted"),
     (1.6, "refuted", "refuted")],
)  # fmt: skip
def test_c7_says_whether_it_saves_time_and_whether_a_quarter(
    tmp_path: Path, seconds: float, saves: str, quarter: str
) -> None:
    run = write_simulated_run(tmp_path / "run", seeds=(0,), truth=truth_with(seconds=seconds))
    rows = [claim for claim in judge_claims(read_run(run)) if claim.id == "C7" and claim.arm == "freeze"]
    assert [row.verdict for row in rows] == [saves, quarter]
    assert rows[0].effect.value == pytest.approx(1 - seconds / 1.4, abs=0.02)
    assert {row.scope for row in rows} == {"in these runs"}
    assert "25.8 %" in rows[1].sentence


def test_c7_says_where_more_was_saved_than_the_arithmetic_allows(tmp_path: Path) -> None:
    claim = claims_of(tmp_path, seeds=(0,), truth=truth_with(seconds=0.2))["C7", "freeze"]
    assert "63.0 % from stored rows, so that other work was saved, such as the optimizer's" in claim.sentence


def test_c7_is_undecided_where_the_arms_ran_one_after_another(tmp_path: Path) -> None:
    claim = claims_of(tmp_path, schedule="one-by-one", truth=truth_with(seconds=1.05))["C7", "freeze"]
    assert claim.verdict == "undecided"
    assert "lock step" in claim.decides


@pytest.mark.parametrize(("seconds", "verdict"), [(0.7, "supported"), (1.3, "refuted")])
def test_c7_compares_savings_over_sizes_of_model(tmp_path: Path, seconds: float, verdict: str) -> None:
    def truth(variant: str, arm: str) -> ArmTruth:
        larger = variant == "model.source=large"
        return replace(default_truth(variant, arm), seconds=1.4 if arm != "freeze" else seconds if larger else 1.0)

    run = write_simulated_run(tmp_path / "run", variants=("model.source=tiny", "model.source=large"), truth=truth)
    growth = [claim for claim in judge_claims(read_run(run)) if claim.id == "C7" and "grows" in claim.claim]
    assert [(claim.arm, claim.verdict) for claim in growth] == [("freeze", verdict)]


def test_c8_is_supported_where_the_losses_are_equivalent(study: dict[tuple[str, str], ClaimResult]) -> None:
    assert study["C8", "reversed"].verdict == "supported"


def test_c8_is_refuted_where_the_loss_differs_by_more_than_the_margin(tmp_path: Path) -> None:
    def truth(variant: str, arm: str) -> ArmTruth:
        return replace(TRUTHS[arm], floor=2.8) if arm == "reversed" else TRUTHS[arm]

    assert claims_of(tmp_path, seeds=SEVEN, truth=truth)["C8", "reversed"].verdict == "refuted"


def test_c8_is_undecided_without_a_p_with_three_replicates_however_near_the_losses(tmp_path: Path) -> None:
    claim = claims_of(tmp_path)["C8", "reversed"]
    assert (claim.verdict, claim.p_value) == ("undecided", None)
    assert claim.detectable is not None


def test_c8_takes_a_twentieth_of_what_full_training_gains_as_its_margin(
    study: dict[tuple[str, str], ClaimResult],
) -> None:
    claim = study["C8", "reversed"]
    assert "5.0 % of what full training gained" in claim.sentence
    assert claim.share_of_gain is not None
    assert claim.share_of_gain.value is not None
    assert claim.effect.value is not None
    gained = claim.effect.value / claim.share_of_gain.value
    assert gained == pytest.approx(1.14, abs=0.02)  # the full arm's height less its gap, as good as done


def test_c8_is_undecided_where_the_curves_part_on_the_way(tmp_path: Path) -> None:
    def truth(variant: str, arm: str) -> ArmTruth:
        return replace(TRUTHS["reversed"], floor=2.6, height=1.2, decay=20.0) if arm == "reversed" else FULL

    arms = ("full", "reversed")
    claim = claims_of(tmp_path, seeds=SEVEN, steps=160, arms=arms, truth=truth, with_watch=False)["C8", "reversed"]
    assert claim.effect.value == pytest.approx(0.0, abs=0.01)
    assert claim.verdict == "undecided"


def test_c9_is_supported_where_the_text_of_the_lower_loss_is_no_nearer_to_the_held_out_text(tmp_path: Path) -> None:
    claim = claims_of(tmp_path, seeds=SEVEN, truth=truth_with(quality=0.0))["C9", "freeze"]
    assert claim.verdict == "supported"
    assert "full had the lower held-out loss" in claim.sentence


@pytest.mark.parametrize("quality", [-0.1, 0.1])
def test_c9_is_refuted_where_the_text_of_the_higher_loss_is_farther_on_either_side(
    tmp_path: Path, quality: float
) -> None:
    """More varied than the held-out text itself is as far from it as less varied."""
    claim = claims_of(tmp_path, seeds=SEVEN, truth=truth_with(quality=quality))["C9", "freeze"]
    assert claim.verdict == "refuted"
    assert claim.effect.value == pytest.approx(0.1 * 4 / 6, abs=0.015)
    assert "nearer to the held-out text" in claim.sentence


def test_c9_is_undecided_at_the_margin_and_without_a_true_continuation(tmp_path: Path) -> None:
    at_margin = claims_of(tmp_path / "at", seeds=SEVEN, truth=truth_with(quality=-0.036))["C9", "freeze"]
    assert at_margin.verdict == "undecided"
    run = write_simulated_run(tmp_path / "old", seeds=SEVEN)
    for path in (run / "journal").glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        kept = [line for line in lines if line["kind"] != "TrueContinuation"]
        numbered = [json.dumps({**line, "sequence": place}) + "\n" for place, line in enumerate(kept)]
        path.write_text("".join(numbered), encoding="utf-8")
    (old,) = [claim for claim in judge_claims(read_run(run)) if claim.id == "C9"]
    assert old.verdict == "undecided"
    assert "not recorded how the held-out text itself goes on" in old.sentence


@pytest.mark.parametrize(("noise", "verdict"), [(0.2, "supported"), (2.0, "refuted")])
def test_c10_follows_the_variance_of_the_early_loss(tmp_path: Path, noise: float, verdict: str) -> None:
    claims = claims_of(tmp_path, seeds=tuple(range(8)), steps=60, truth=truth_with(shared_noise=noise))
    assert claims["C10", "freeze"].verdict == verdict


CHOSEN = {
    "chosen": {"top:25% by fisher": ["attn.q@3"]},
    "fixed": {"top:25% by random-1": ["attn.q@1"]},
}


def chosen_claims(
    folder: Path, floors: dict[str, float], anew: tuple[str, ...] = ("chance", "luck"), **settings: object
) -> list[ClaimResult]:
    """C11 of arms by name as `CHOSEN` and `anew` have them, each with its floor of the loss."""

    def truth(variant: str, arm: str) -> ArmTruth:
        if arm not in floors:
            return default_truth(variant, arm)
        return replace(TRUTHS["freeze"], floor=floors[arm], spread=0.002, plan=f"train: [attn.q@{len(arm)}]")

    run = write_simulated_run(
        folder / "run", arms=("full", *floors), truth=truth, chosen=CHOSEN, anew=anew, steps=24, with_watch=False,
        with_sampling=False, **settings,  # type: ignore[arg-type]  # passed on as they are
    )  # fmt: skip
    return [claim for claim in judge_claims(read_run(run)) if claim.id == "C11"]


def test_c11_is_undecided_without_an_arm_chosen_by_a_signal(study: dict[tuple[str, str], ClaimResult]) -> None:
    claim = study["C11", ""]
    assert claim.verdict == "undecided"
    assert "No arm was chosen by a signal" in claim.sentence
    assert "drawn anew for each seed" in claim.decides


@pytest.mark.parametrize(("floor", "verdict"), [(2.6, "supported"), (2.8, "refuted"), (2.7, "undecided")])
def test_c11_compares_a_choice_with_the_average_plan_drawn_anew(tmp_path: Path, floor: float, verdict: str) -> None:
    floors = {"chosen": floor, "chance": 2.69, "luck": 2.71}
    choice, looking = chosen_claims(tmp_path, floors, seeds=tuple(range(6)), rng_seed=3)
    assert (choice.arm, choice.verdict) == ("chosen", verdict)
    assert choice.effect.value == pytest.approx((floor - 2.7) * (1 - np.exp(-2.4)), abs=0.01)
    assert "the mean of chance, luck, drawn at random for each seed" in choice.sentence
    assert (looking.claim, looking.verdict) == (C11_LOOKING.claim, "undecided")
    assert "19 random plans" in looking.decides


def test_c11_decides_nothing_by_one_random_plan_for_all_seeds(tmp_path: Path) -> None:
    choice, looking = chosen_claims(tmp_path, {"chosen": 2.6, "fixed": 2.7}, (), seeds=tuple(range(7)))
    assert (choice.verdict, choice.p_value, choice.effect.n) == ("undecided", None, 7)
    assert "the same in every seed" in choice.sentence
    assert "drawn anew" in choice.decides
    assert "of 1 of its size" in looking.sentence


def test_c11_is_undecided_with_five_replicates_and_without_chance(tmp_path: Path) -> None:
    few, _ = chosen_claims(tmp_path / "few", {"chosen": 2.6, "chance": 2.7}, seeds=tuple(range(5)))
    assert (few.verdict, few.effect.n) == ("undecided", 5)
    assert "6 replicates" in few.decides
    alone, _ = chosen_claims(tmp_path / "alone", {"chosen": 2.6}, seeds=tuple(range(6)))
    assert "No arm was chosen at random, of the size of chosen" in alone.sentence


@pytest.mark.parametrize(("floor", "verdict"), [(2.6, "supported"), (2.8, "undecided")])
def test_c11_says_that_looking_helps_where_the_choice_comes_before_19_random_plans(
    tmp_path: Path, floor: float, verdict: str
) -> None:
    floors = {"chosen": floor, "chance": 2.7, "luck": 2.7, "fortune": 2.7}
    _, looking = chosen_claims(tmp_path, floors, ("chance", "luck", "fortune"), seeds=tuple(range(7)))
    assert (looking.verdict, looking.effect.n) == (verdict, 21)
    assert looking.p_value == pytest.approx(1 / 22 if verdict == "supported" else 1.0)


@pytest.mark.parametrize(("floor", "verdict"), [(2.6, "supported"), (2.8, "refuted")])
def test_c11_takes_texts_as_units_and_those_with_one_choice_together(
    tmp_path: Path, floor: float, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = tuple(f"corpus.source=text-{number}.txt" for number in range(6))
    settings = {"variants": texts, "seeds": (0, 1), "with_retention": False, "with_memory": False}
    claims = chosen_claims(tmp_path / "alike", {"chosen": floor, "chance": 2.7}, ("chance",), **settings)
    (looking,) = [claim for claim in claims if claim.claim == C11_LOOKING.claim]
    assert (looking.verdict, looking.effect.n) == ("undecided", 1)
    assert "More texts" in looking.decides
    monkeypatch.setattr(
        simulated_run, "chosen_of", lambda own, variant: {**own, "chosen": {"top:25% by snr": [variant]}}
    )
    claims = chosen_claims(tmp_path / "apart", {"chosen": floor, "chance": 2.7}, ("chance",), **settings)
    (looking,) = [claim for claim in claims if claim.claim == C11_LOOKING.claim]
    assert (looking.verdict, looking.effect.n, looking.p_value) == (verdict, 6, 2 / 2**6)


@pytest.mark.parametrize("plan_effect", [0.0, 0.02])
@pytest.mark.parametrize("normal", [True, False], ids=["normal", "t3"])
def test_c11_errs_rarely_under_a_worthless_signal(plan_effect: float, normal: bool) -> None:
    """A worthless signal's choice is one more random plan: seven seeds, three random plans anew for each."""
    generator = np.random.default_rng(11)

    def draw(*shape: int) -> Floats:
        return generator.standard_normal(shape) if normal else generator.standard_t(3, shape)

    experiments = 2000
    chosen = plan_effect * draw(experiments, 1) + 0.01 * draw(experiments, 7)
    plans = plan_effect * draw(experiments, 7, 3) + 0.01 * draw(experiments, 7, 3)
    found = [rank_p((own - one[:, None]).ravel().tolist()) for own, one in zip(plans, chosen, strict=True)]
    assert np.mean([p is not None and p <= 0.05 for p in found]) <= 0.06
    # This choice itself does beat the average plan, or does not, by its own luck: the average one errs at its rate.
    average = 0.01 * draw(experiments, 7)
    wrong = [
        over_replicates([(one - own.mean(axis=1)).tolist()], -1)[0].verdict
        for own, one in zip(plans, average, strict=True)
    ]
    assert np.mean([verdict != "undecided" for verdict in wrong]) <= 0.06


SCARCITY = ("corpus.tokens=4000", "corpus.tokens=8000")


def scarcity_claim(folder: Path, scarce: float, plenty: float) -> ClaimResult:
    """C12 of a full arm that ends so much higher than the frozen one, nats."""

    def truth(variant: str, arm: str) -> ArmTruth:
        gap = scarce if variant == SCARCITY[0] else plenty
        return replace(FULL, plan=default_truth(variant, arm).plan, gap=gap if arm == "full" else 0.1,
                       trained_parameters=default_truth(variant, arm).trained_parameters)  # fmt: skip

    arms, settings = ("full", "freeze"), {"with_watch": False, "with_sampling": False, "steps": 60}
    return claims_of(folder, seeds=SEVEN, variants=SCARCITY, arms=arms, truth=truth, **settings)["C12", "freeze"]


def test_c12_is_undecided_at_given_rates_where_the_frozen_arm_ends_lower_the_scarcer_the_text(tmp_path: Path) -> None:
    claim = scarcity_claim(tmp_path, 0.4, 0.15)
    assert (claim.verdict, claim.at_rates) == ("undecided", "the given rates")
    assert "learning_rate: best" in claim.decides
    assert claim.p_value is not None
    assert claim.p_value < 0.05
    assert f"p = {claim.p_value:.3f}" in claim.sentence


def test_c12_is_supported_at_each_arms_best_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recipe, "learning_rate_of", lambda recipe, arm: "best")
    claim = scarcity_claim(tmp_path, 0.4, 0.15)
    assert (claim.verdict, claim.at_rates) == ("supported", "each arm's best")


def test_c12_is_refuted_where_the_frozen_arm_only_learns_less(tmp_path: Path) -> None:
    assert scarcity_claim(tmp_path, 0.0, 0.0).verdict == "refuted"


def test_c12_is_undecided_before_an_epoch_is_over(tmp_path: Path) -> None:
    variants = ("corpus.tokens=64000", "corpus.tokens=128000")
    claim = claims_of(tmp_path, variants=variants, arms=("full", "freeze"))["C12", ""]
    assert "An epoch or more" in claim.decides


def test_a_primary_claim_makes_the_others_exploratory(tmp_path: Path) -> None:
    run = write_simulated_run(tmp_path / "run", with_sampling=False)
    recorded = read_run(run)
    recipe = recorded.recipe.model_copy(update={"primary": "C8"})
    rows = judge_claims(replace(recorded, recipe=recipe))
    assert {row.id for row in rows if not row.exploratory} == {"C8"}
    assert not any(row.exploratory for row in judge_claims(recorded))


@pytest.mark.parametrize(
    ("primary", "named"),
    [
        (None, None),
        ("C8", set()),
        (PrimaryComparison(arm="freeze", measure="loss_last"), {("freeze", "loss_last")}),
    ],
)
def test_a_primary_question_makes_other_comparisons_exploratory(
    primary: str | PrimaryComparison | None, named: set[tuple[str, str]] | None, tmp_path: Path
) -> None:
    variant = read_run(write_simulated_run(tmp_path / "run", with_sampling=False)).variants[0]
    found = compare(replace(variant, recipe=variant.recipe.model_copy(update={"primary": primary})))
    confirmed = {(own.arm, own.measure) for own in found if not own.exploratory}
    assert confirmed == ({(own.arm, own.measure) for own in found} if named is None else named)


def test_an_undecided_claim_says_what_could_have_been_found(tmp_path: Path) -> None:
    claim = claims_of(tmp_path, arms=("full", "freeze"), truth=like_full(spread=0.05))["C1", "freeze"]
    assert claim.verdict == "undecided"
    assert claim.detectable is not None
    assert claim.decides.endswith("nats per doubling would be found four times in five.")
    assert "With 6 replicates at this spread" in claim.decides


def test_claims_about_frozen_arms_are_undecided_where_the_baseline_is_not_full(tmp_path: Path) -> None:
    claims = claims_of(tmp_path, arms=("freeze", "full"), seeds=SEVEN)
    for id in ("C1", "C2", "C6", "C7", "C8", "C10"):
        assert claims[id, ""].verdict == "undecided"
        assert "baseline" in claims[id, ""].sentence


def test_variants_get_rows_of_their_own(tmp_path: Path) -> None:
    run = write_simulated_run(tmp_path / "run", variants=("corpus.tokens=4000", "corpus.tokens=64000"))
    rows = [claim for claim in judge_claims(read_run(run)) if claim.id == "C1"]
    assert [claim.variant for claim in rows] == ["corpus.tokens=4000", "corpus.tokens=64000"]
    assert rows[0].sentence.startswith("corpus.tokens=4000: ")


def test_claims_over_replicates_err_rarely_where_the_arms_do_not_differ(tmp_path: Path) -> None:
    """Forty experiments of six replicates; a frozen arm with the full arm's own truth, noise of its own."""
    decided = 0
    for index in range(40):
        claims = claims_of(
            tmp_path / str(index), arms=("full", "freeze"), seeds=tuple(range(6)), steps=24, rng_seed=index,
            truth=like_full(gap=FULL.gap, forgetting=FULL.forgetting), with_watch=False, with_sampling=False,
        )  # fmt: skip
        decided += claims["C1", "freeze"].verdict != "undecided"
    # At a rate of 1/32, six or more of forty come up less than once in 400 times.
    assert decided <= 5


def test_the_page_about_claims_says_what_the_code_does() -> None:
    page = (Path(__file__).parents[2] / "docs/claims.md").read_text(encoding="utf-8")
    for one in DEFINITIONS:
        row = f"| {one.id} | {one.claim} | {one.statistic} | {one.null} | {one.margin} | {one.source} | {one.decided} |"
        assert row in page
    assert len({one.id for one in DEFINITIONS}) == 12
    assert np.all([f"### {one.id}" in page for one in DEFINITIONS])
