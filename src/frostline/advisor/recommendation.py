"""What is recommended, and how sure is that? Judged by trials with seeds that chose nothing, where there are some."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from frostline.advisor.candidates import FULL, UPPER_HALF
from frostline.advisor.race import RUNGS, Paired, Standing, paired, standings
from frostline.advisor.retrained import Retrained, retrained
from frostline.readable import percent
from frostline.run_folder import CandidateMade, TrialFinished
from frostline.stats import SAME_SIZE

SEVEN_SEEDS = "seeds=[0,1,2,3,4,5,6]"
"""The fewest with which a test over two arms can reach p < 0.05."""


@dataclass(frozen=True)
class Recommendation:
    """What the race ends with."""

    pick: Standing
    candidate: CandidateMade
    front: list[str]
    """Candidates that no other beats in both held-out loss and time, cheapest first."""
    memory_front: list[str]
    """Candidates that no other beats in both held-out loss and memory, smallest first."""
    against: dict[str, Paired]
    """The pick against whatever else was in the last rung."""
    control: str | None
    """The random choice of the same size that it is compared with."""
    beats_control: bool
    retrained: Retrained | None
    """What it, its control and full training came to with new seeds; None where it was not trained again."""
    sentences: list[str]

    def judged(self, name: str) -> Paired:
        """The pick against `name`: with new seeds where both were trained again, else in the last rung."""
        return (self.retrained.against if self.retrained else {}).get(name) or self.against[name]


def recommend(trials: Sequence[TrialFinished], candidates: Mapping[str, CandidateMade]) -> Recommendation | None:
    """The best of the last rung that keeps the budget, and how sure that is; None where every trial failed."""
    found = [standing for standing in standings(trials, RUNGS - 1) if standing.held_out_losses]
    racing = [standing for standing in found if _may_be_picked(candidates[standing.candidate])]
    if not racing:
        return None
    pick = racing[0]
    others = [standing for standing in found if standing is not pick]
    against = {other.candidate: paired(pick.held_out_losses, other.held_out_losses) for other in others}
    control = _control_of(candidates[pick.candidate], others, candidates)
    again = retrained(trials, pick.candidate)
    recommendation = Recommendation(
        pick=pick,
        candidate=candidates[pick.candidate],
        front=_front(found, {name: made.expected_seconds for name, made in candidates.items()}),
        memory_front=_front(found, {name: made.expected_peak_bytes for name, made in candidates.items()}),
        against=against,
        control=control,
        beats_control=False,
        retrained=again,
        sentences=[],
    )
    return replace(
        recommendation,
        beats_control=control is not None and recommendation.judged(control).better,
        sentences=_sentences(recommendation, candidates, len(racing)),
    )


def _control_of(pick: CandidateMade, others: Sequence[Standing], candidates: Mapping[str, CandidateMade]) -> str | None:
    """The random choice that is matched with `pick`, by role; else the best one of its size."""
    for other in sorted(others, key=lambda own: candidates[own.candidate].like != pick.candidate):  # stable
        made = candidates[other.candidate]
        difference = abs(made.trained_parameters - pick.trained_parameters)
        if made.origin == "random" and difference <= SAME_SIZE * pick.trained_parameters:
            return other.candidate
    return None


def _may_be_picked(candidate: CandidateMade) -> bool:
    return candidate.origin not in ("full", "random") and not candidate.exceeds


def _front(found: Sequence[Standing], costs: Mapping[str, float]) -> list[str]:
    """Sorted by cost, each one must be better than all that are cheaper."""
    front: list[str] = []
    best = math.inf
    for standing in sorted(found, key=lambda own: (costs[own.candidate], own.held_out_loss)):
        if standing.held_out_loss < best:
            front.append(standing.candidate)
            best = standing.held_out_loss
    return front


def _sentences(found: Recommendation, candidates: Mapping[str, CandidateMade], finalists: int) -> list[str]:
    candidate, full = found.candidate, candidates[FULL]
    told = [_plan_sentence(found, full.layers, finalists), _chance_sentence(found, candidates)]
    for name, what in ((UPPER_HALF, "training the upper half of the layers"), (FULL, "full training")):
        if name in found.against:
            difference = found.judged(name)
            told.append(f"{_it(found, name)} is {difference.than} {what}: {_interval(difference)} nats.")
    time, cached, memory = (
        percent(share, 0)
        for share in (
            candidate.expected_seconds / full.expected_seconds,
            candidate.expected_seconds_cached / full.expected_seconds,
            candidate.expected_peak_bytes / full.expected_peak_bytes,
        )
    )
    told.append(
        f"A step is expected to take {time} of full training's time ({cached} once its prefix is stored) and {memory} "
        "of its memory."
    )
    windows = f"{len(found.pick.held_out_losses)} held-out windows"
    over = (
        f"one seed and {windows}, which say nothing about other seeds"
        if found.retrained is None
        else f"{windows} and {len(found.retrained.seeds)} seeds (those of the race: one seed), which tell large "
        "differences alone"
    )
    told.append(
        f"Intervals are 95 %, over {over}. The recipe written beside this has the seeds of yours; run it with seven or "
        f"more, such as by --set '{SEVEN_SEEDS}'."
    )
    return told


def _plan_sentence(found: Recommendation, layers: int, finalists: int) -> str:
    """What to train, where, at which rate, and what that came to."""
    pick, candidate, again = found.pick, found.candidate, found.retrained
    where = f", in {candidate.layers} of {layers} layers," if layers else ""
    plan = f"Train {candidate.why} ({pick.candidate}){where} at a learning rate of {pick.learning_rate:.2g}: "
    if again is None:
        return (
            f"{plan}held-out loss {pick.held_out_loss:.3f} nats a token after {pick.steps} steps, chosen from the "
            f"{finalists} plans left. That is the very trial that chose it, which flatters it: none with another seed "
            "ended."
        )
    return (
        f"{plan}held-out loss {again.loss(pick.candidate):.3f} nats a token after {pick.steps} steps, trained again "
        f"with seeds that chose nothing ({', '.join(map(str, again.seeds))}); chosen from the {finalists} plans left, "
        f"with {pick.held_out_loss:.3f}."
    )


def _chance_sentence(found: Recommendation, candidates: Mapping[str, CandidateMade]) -> str:
    """Whether choosing where to train was any help."""
    control = found.control
    if control is None:
        return "No random choice of its size was raced, so that nothing says whether choosing matters here."
    difference = found.judged(control)
    matched = candidates[control].like == found.pick.candidate
    random = f"random choice of its size{' and roles' if matched else ''} ({control})"
    race = " in the race" if _by_race_alone(found, control) else ""
    if difference.better:
        return f"{_it(found, control)} beats a {random} by {_interval(difference, -1)} nats."
    if difference.worse:
        return (
            f"A {random} is better{race}: by {_interval(difference)} nats. Choosing where to train was no help here; "
            "how much to train may matter."
        )
    return (
        f"A {random} does as well{race}: the difference is {_interval(difference)} nats. Where to train was not shown "
        "to matter here; how much may."
    )


def _by_race_alone(found: Recommendation, name: str) -> bool:
    """Whether the pick was trained again, and `name` was not."""
    return found.retrained is not None and name not in found.retrained.against


def _it(found: Recommendation, name: str) -> str:
    """The subject of a sentence that compares the pick with `name`."""
    return "In the race it" if _by_race_alone(found, name) else "It"


def _interval(found: Paired, sign: int = 1) -> str:
    low, high = sorted((sign * found.low, sign * found.high))
    return f"{sign * found.mean:.3f} [{low:.3f}, {high:.3f}]"
