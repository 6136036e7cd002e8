"""What does an inspection say to a reader? Where training acted, which signal knew it, what is inside the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from frostline.advisor import Effect, Inspection, Tuned
from frostline.report import numbers
from frostline.report.cards import Fact
from frostline.report.figures.inside import EFFECT_TITLES, layer_effects, patch_curve, role_effects
from frostline.report.inside import STYLE, signal_sections
from frostline.report.sections import PlainFigure, PlainPage, PlainSection
from frostline.report.table import Table
from frostline.report.write import write_page

NAMED = 3
"""Layers and roles that a sentence names."""
SCORES_CAPTION = (
    "Spearman's rank correlation of the signal, measured before training, with the share of the gain that the change "
    "alone brings; over the layers and roles that moved. Neighbouring layers are alike: no p-value would be honest."
)


def write_inspection(target: Path, found: Inspection) -> Path:
    """Write the page of `found` to `target` and return it. Raises `RunFolderError`."""
    return write_page(target, inspection_page(found))


def inspection_page(found: Inspection) -> PlainPage:
    """The page as data."""
    sections = []
    if found.tuned is not None:
        sections += [_where(found.tuned), _who_knew(found.tuned)]
    elif found.not_tuned:
        sections.append(PlainSection("Where training acted", (found.not_tuned,)))
    for claim in found.claims:
        told = [f"{claim.verdict.capitalize()}. {claim.sentence}"]
        if claim.decides:
            told.append(f"What would decide it: {claim.decides}")
        sections.append(PlainSection(f"{claim.id}: {claim.claim}", tuple(told)))
    sections += signal_sections(found.frame())
    facts = [Fact("model", found.model), Fact("corpus", found.corpus)]
    if found.tuned is not None:
        facts.append(Fact("trained", found.tuned.arm, f"seed {found.tuned.seed}"))
    return PlainPage(
        "Frostline · an inspection",
        found.name,
        "What is inside the model, and where does training act?",
        facts,
        sections,
    )


def sentences_of(tuned: Tuned) -> tuple[str, ...]:
    """Where the training of an arm has acted, in words."""
    acts = tuned.acts
    told = [
        f"Training {tuned.arm} has lowered the held-out loss from {acts.untouched_loss:.3f} to {acts.tuned_loss:.3f} "
        f"nats a token: a gain of {acts.gain:.3f}."
    ]
    layers = {f"layer {layer}": effect for layer, effect in acts.layers.items()}
    for what, effects in (("layers", layers), ("roles", acts.roles)):
        moved = {name: effect for name, effect in effects.items() if effect.moved}
        if len(moved) < 2:
            continue
        best = sorted(moved, key=lambda name: -moved[name].alone)[:NAMED]
        named = ", ".join(f"{name} ({numbers.share(moved[name].alone)})" for name in best)
        total = sum(effect.alone for effect in moved.values())
        told.append(
            f"Of the {what}, the learnt change of these alone brings most of the gain: {named}. All {len(moved)} that "
            f"moved, each alone, sum to {numbers.share(total)}: "
            + ("they overlap." if total > 1 else "the rest appears only where several change together.")
        )
    if not all(effect.moved for effect in (*acts.layers.values(), *acts.roles.values())):
        told.append(
            f"{tuned.arm} trains a part only: how much of a layer or role it trains has its share in this. Save an arm "
            "that trains everything to see where training acts when nothing holds it back."
        )
    return tuple(told)


def _where(tuned: Tuned) -> PlainSection:
    acts = tuned.acts
    patched = pl.DataFrame({"layer": list(acts.patched), "share": list(acts.patched.values())})
    figures = (
        PlainFigure(
            "layer-effects",
            "One layer's change",
            "What a single layer's learnt change brings when it is put onto the untouched model, and what is lost when "
            "it alone is taken from the trained one, as shares of the whole gain.",
            "Two lines over the layers: share of the gain brought, share lost.",
            layer_effects(_effects("layer", acts.layers), STYLE),
        ),
        PlainFigure(
            "role-effects",
            "One role's change, in all layers",
            "The same for the matrices of one role.",
            "Two dots for each role: share of the gain brought, share lost.",
            role_effects(_effects("role", acts.roles), STYLE),
        ),
        PlainFigure(
            "patched",
            "Trained below, untouched above",
            "The trained model computes up to a layer and hands its hidden state to the untouched one, which computes "
            "the rest (activation patching). Where the curve rises, what the layers write is what the gain is made of.",
            "A line over the layers: share of the gain that is there.",
            patch_curve(patched, STYLE),
        ),
    )
    return PlainSection("Where training acted", sentences_of(tuned), figures)


def _effects(column: str, effects: Mapping[int, Effect] | Mapping[str, Effect]) -> pl.DataFrame:
    rows = [
        (place, EFFECT_TITLES[kind], share)
        for place, effect in effects.items()
        if effect.moved
        for kind, share in (("alone", effect.alone), ("removed", effect.removed))
    ]
    return pl.DataFrame(rows, schema=[column, "kind", "share"], orient="row", infer_schema_length=None)


def _who_knew(tuned: Tuned) -> PlainSection:
    rows = [(f"by {score.signal}", _rho(score.layers), _rho(score.roles)) for score in tuned.scores]
    table = Table(("signal", "with the layers' gains", "with the roles'"), tuple(rows), SCORES_CAPTION)
    return PlainSection("Which signal knew", tables=(table,))


def _rho(value: float | None) -> str:
    return numbers.MISSING if value is None else f"{value:+.2f}"
