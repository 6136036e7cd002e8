"""Claims on simulated experiments whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frostline.recipe import Recipe
from frostline.stats.claims import DEFINITIONS, judge_claims
from frostline.stats.runs import read_run
from frostline.stats.summary import ClaimResult
from tests.builders.simulated_run import write_simulated_run
from tests.builders.simulated_truth import FULL, TRUTHS, ArmTruth, default_truth

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


def test_c3_is_supported_for_both_arms_where_the_share_rises(study: dict[tuple[str, str], ClaimResult]) -> None:
    assert study["C3", "full"].verdict == "supported"
    assert study["C3", "freeze"].verdict == "supported"


def test_c3_is_refuted_where_the_share_falls(tmp_path: Path) -> None:
    claims = claims_of(tmp_path, seeds=tuple(range(8)), truth=truth_with(common_share=0.2))
    assert claims["C3", "freeze"].verdict == "refuted"


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
    assert "More continuations" in few.decides
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
    assert "allows at most 63.0 %, so that something else than freezing made them differ, too" in claim.sentence


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


def test_c9_is_supported_where_the_lower_loss_comes_with_worse_text(tmp_path: Path) -> None:
    claims = claims_of(tmp_path, seeds=SEVEN, truth=truth_with(quality=0.06))
    assert claims["C9", "freeze"].verdict == "supported"


def test_c9_is_refuted_where_the_lower_loss_comes_with_better_text(tmp_path: Path) -> None:
    claims = claims_of(tmp_path, seeds=SEVEN, truth=truth_with(quality=-0.1))
    assert claims["C9", "freeze"].verdict == "refuted"


@pytest.mark.parametrize(("noise", "verdict"), [(0.2, "supported"), (2.0, "refuted")])
def test_c10_follows_the_variance_of_the_early_loss(tmp_path: Path, noise: float, verdict: str) -> None:
    claims = claims_of(tmp_path, seeds=tuple(range(8)), steps=60, truth=truth_with(shared_noise=noise))
    assert claims["C10", "freeze"].verdict == verdict


CHOSEN = {
    "chosen": {"top:25% by fisher": ["attn.q@3"]},
    "chance": {"top:25% by random-1": ["attn.q@1"]},
    "luck": {"top:25% by random-2": ["attn.q@0"]},
}


def chosen_claims(folder: Path, floors: dict[str, float], **settings: object) -> dict[tuple[str, str], ClaimResult]:
    """Arms by name as `CHOSEN` has them, each with its floor of the loss."""

    def truth(variant: str, arm: str) -> ArmTruth:
        if arm not in floors:
            return default_truth(variant, arm)
        return replace(TRUTHS["freeze"], floor=floors[arm], spread=0.002, plan=f"train: [attn.q@{len(arm)}]")

    return claims_of(folder, arms=("full", *floors), truth=truth, chosen=CHOSEN, steps=24, **settings)


def test_c11_is_undecided_without_an_arm_chosen_by_a_signal(study: dict[tuple[str, str], ClaimResult]) -> None:
    claim = study["C11", ""]
    assert claim.verdict == "undecided"
    assert "No arm was chosen by a signal" in claim.sentence
    assert "frostline advise" in claim.decides


@pytest.mark.parametrize(("floor", "verdict"), [(2.6, "supported"), (2.8, "refuted"), (2.7, "undecided")])
def test_c11_compares_a_signals_choice_with_the_mean_of_random_ones(tmp_path: Path, floor: float, verdict: str) -> None:
    floors = {"chosen": floor, "chance": 2.69, "luck": 2.71}
    claim = chosen_claims(tmp_path, floors, seeds=tuple(range(6)), rng_seed=3)["C11", "chosen"]
    assert claim.verdict == verdict
    assert claim.effect.value == pytest.approx((floor - 2.7) * (1 - np.exp(-2.4)), abs=0.01)
    assert "the mean of chance, luck" in claim.sentence


def test_c11_is_undecided_with_five_replicates_and_without_chance(tmp_path: Path) -> None:
    few = chosen_claims(tmp_path / "few", {"chosen": 2.6, "chance": 2.7}, seeds=tuple(range(5)))["C11", "chosen"]
    assert (few.verdict, few.effect.n) == ("undecided", 5)
    assert "6 replicates" in few.decides
    alone = chosen_claims(tmp_path / "alone", {"chosen": 2.6}, seeds=tuple(range(6)))["C11", ""]
    assert "No arm was chosen at random, of the size of chosen" in alone.sentence


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
