"""How much to train, and how spread over the depth? What the race says of that, before it says which plan is best."""

from __future__ import annotations

from frostline.advisor.advice import Advice
from frostline.advisor.candidates import UPPER_HALF
from frostline.advisor.race import RUNGS, paired, standings
from frostline.run_folder import CandidateMade
from frostline.stats import SAME_SIZE

SPREAD = ("alternating", "random-1")
"""Plans that train something all over the depth, beside which contiguous ones of their size may stand."""


def how_much_how_spread(advice: Advice) -> list[str]:
    """Sentences on random choices of several sizes, and on spread plans beside contiguous ones of their size."""
    told = []
    first = min((trial.rung for trial in advice.trials), default=0)
    raced = {own.candidate: own for own in standings(advice.trials, first) if own.window_losses}
    random = [name for name in raced if name.startswith(("spread-", "random-1"))]
    if len(random) > 1:
        by_size = sorted(random, key=lambda name: advice.candidates[name].trained_parameters)
        shown = "; ".join(f"{advice.candidates[name].why}: {raced[name].loss:.3f} nats" for name in by_size)
        steps = raced[random[0]].steps
        told.append(f"How much: after {steps} steps, at the best of the rates tried so far, {shown}.")
    for spread in SPREAD:
        if (contiguous := _contiguous_beside(advice, spread)) is not None:
            told += _compared(advice, spread, contiguous)
    return told


def _contiguous_beside(advice: Advice, spread: str) -> str | None:
    """The usual plan of neighbouring layers that is of the size of `spread`."""
    own = advice.candidates.get(spread)
    for name, made in advice.candidates.items():
        is_block = name == UPPER_HALF or (made.origin == "usual" and name.startswith("last-"))
        if is_block and own is not None and _same_size(made, own):
            return name
    return None


def _same_size(first: CandidateMade, second: CandidateMade) -> bool:
    return abs(first.trained_parameters - second.trained_parameters) <= SAME_SIZE * first.trained_parameters


def _compared(advice: Advice, spread: str, contiguous: str) -> list[str]:
    """How they compare in the last of the rungs in which both raced."""
    for rung in reversed(range(RUNGS)):
        raced = {own.candidate: own for own in standings(advice.trials, rung) if own.window_losses}
        if spread in raced and contiguous in raced:
            found = paired(raced[spread].window_losses, raced[contiguous].window_losses)
            return [
                f"How spread: after {raced[spread].steps} steps, {_in_layers(advice, spread)} is {found.than} "
                f"{_in_layers(advice, contiguous)}, of its size: {found.mean:+.3f} [{found.low:+.3f}, "
                f"{found.high:+.3f}] nats on the windows that decide."
            ]
    return []


def _in_layers(advice: Advice, name: str) -> str:
    return f"{advice.candidates[name].why} ({advice.candidates[name].layers} layers)"
