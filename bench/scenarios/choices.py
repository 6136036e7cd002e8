"""Simulated choices of a signal beside random plans: C11."""

from __future__ import annotations

from numpy.random import Generator

from bench.scenarios.cells import Cell, Null, Scenario, Simulation, draw
from frostline.stats.claims.choices import rank_p, rank_verdict
from frostline.stats.claims.definitions import C11, C11_LOOKING
from frostline.stats.claims.verdicts import over_replicates


def beats(effect: float) -> Simulation:
    """C11: this choice is lower than the average random plan by `effect` standard deviations of such plans."""

    def simulate(generator: Generator, cell: Cell) -> str:
        chosen = -effect + draw(generator, cell.noise, cell.replicates)
        random = draw(generator, cell.noise, cell.replicates) + draw(generator, cell.noise, cell.replicates)
        return over_replicates([chosen - random], -1)[0].verdict

    return simulate


def looking(effect: float) -> Simulation:
    """C11: a signal's choice is a random plan, lower by `effect` standard deviations; seven random arms anew a seed."""

    def simulate(generator: Generator, cell: Cell) -> str:
        plan = draw(generator, cell.noise, 1) - effect + draw(generator, cell.noise, cell.replicates) / 2
        others = draw(generator, cell.noise, cell.replicates, 7) + draw(generator, cell.noise, cell.replicates, 7) / 2
        differences = (others - plan[:, None]).ravel().tolist()
        return rank_verdict(differences, rank_p(differences)).verdict

    return simulate


def over_texts(effect: float) -> Simulation:
    """C11: in each text a plan of its own, lower by `effect` standard deviations of plans, beside three random ones."""

    def simulate(generator: Generator, cell: Cell) -> str:
        chosen = draw(generator, cell.noise, cell.replicates) - effect
        random = draw(generator, cell.noise, cell.replicates, 3)
        noise = draw(generator, cell.noise, cell.replicates, 4) / 2
        return over_replicates([chosen + noise[:, 0] - (random + noise[:, 1:]).mean(axis=1)], -1)[0].verdict

    return simulate


CHOICES = (
    Scenario(
        f"{C11.id} this choice",
        (Null("an average choice", beats(0.0)),),
        "three standard deviations of random plans",
        beats(3.0),
        over_steps=False,
    ),
    Scenario(
        f"{C11_LOOKING.id} looking inside, by rank",
        (Null("a worthless signal", looking(0.0)),),
        "three standard deviations of random plans",
        looking(3.0),
        over_steps=False,
    ),
    Scenario(
        f"{C11_LOOKING.id} looking inside, over texts",
        (Null("a worthless signal", over_texts(0.0)),),
        "two standard deviations of random plans",
        over_texts(2.0),
        over_steps=False,
        note="Here n are texts.",
    ),
)
