"""Which simulated experiments put a verdict to the test? For each claim some in which it errs, and one with an effect.

A null is an experiment in which no verdict, or not the one named, is right: nothing differs, or the effect lies on the
very margin. Replicates differ by noise of their own, and steps by AR(1) noise, both of the cell's kind. With fewer than
six replicates the verdict is about these runs, so that replicates have no effects of their own there.
"""

from bench.scenarios.cells import NOISES, Cell, Null, Scenario, Simulation, draw
from bench.scenarios.choices import CHOICES
from bench.scenarios.losses import LOSSES
from bench.scenarios.texts import TEXTS
from bench.scenarios.times import TIMES, saved_ratios
from bench.scenarios.weights import WEIGHTS
from bench.scenarios.wording import WORDING

SCENARIOS: tuple[Scenario, ...] = (
    *sorted((*LOSSES, *TEXTS, *WEIGHTS, *TIMES, *CHOICES), key=lambda one: int(one.claim.split()[0].removeprefix("C"))),
    *WORDING,
)

__all__ = ["NOISES", "SCENARIOS", "Cell", "Null", "Scenario", "Simulation", "draw", "saved_ratios"]
