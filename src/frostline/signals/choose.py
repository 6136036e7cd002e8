"""What does `top:25% by gradient-norm` mean for this model? The places that a signal ranks highest, as selectors.

Places are taken from the top of the ranking as long as they fit into the share; one that does not fit is passed over
for the next that does, so that plans of equal share have nearly equal size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from frostline.corpus import raw_numbers
from frostline.errors import PlanError, at
from frostline.plans import ModelMap, Plan
from frostline.recipe import GROUP_ROLES, Bound, Choice, LayerSlice, PlanChange, Selector, parse_selector
from frostline.signals.signal import WHOLE_LAYER, Place, Signal

MeasureSignal = Callable[[str], Signal]
"""The signal of this name. Raises `PlanError` where there is none."""


@dataclass(frozen=True)
class Draw:
    """For whom a random choice without a number is drawn: each seed, arm and text has one of its own."""

    seed: int
    purpose: str
    """The arm, and the text that it is trained on."""
    like: Mapping[Decimal, Sequence[Place]] = field(default_factory=dict)
    """By share, what a signal has chosen: as many values of each role are drawn. Other shares are drawn freely."""


@dataclass(frozen=True)
class ResolvedChoices:
    """A plan without selectors that compute."""

    plan: Plan
    chosen: dict[str, tuple[str, ...]]
    """For each selector that computed, the selectors that stand in its place."""


def resolve_choices(
    plan: Plan, model_map: ModelMap, measure: MeasureSignal, draw: Draw | None = None
) -> ResolvedChoices:
    """`plan` with every selector that computes replaced by what it chose. Raises `PlanError`.

    What is drawn anew for each seed stays as it is written without a `draw`.
    """
    chosen: dict[str, tuple[str, ...]] = {}

    def settle(selectors: Sequence[Selector]) -> tuple[Selector, ...]:
        settled: list[Selector] = []
        for selector in selectors:
            if selector.choice is None or (selector.choice.for_each_seed and draw is None):
                settled.append(selector)
                continue
            with at(*selector.keys):
                found = choose(selector.choice, model_map, measure, draw)
            chosen[selector.text] = tuple(own.text for own in found)
            settled += found
        return tuple(settled)

    changes = tuple(PlanChange(change.at, change.verb, settle(change.selectors)) for change in plan.changes)
    lora = plan.lora
    if lora is not None:
        targets = tuple(own.text for own in settle(plan.targets))
        lora = lora.model_copy(update={"targets": targets})
    settled = replace(
        plan,
        train=None if plan.train is None else settle(plan.train),
        freeze=None if plan.freeze is None else settle(plan.freeze),
        changes=changes,
        lora=lora,
    )
    return ResolvedChoices(settled, chosen)


def signals_asked_for(plan: Plan) -> tuple[str, ...]:
    """Names of the signals by which `plan` chooses, chance among them."""
    return tuple(dict.fromkeys(own.choice.signal for own in plan.selectors if own.choice is not None))


def drawn_for_each_seed(plan: Plan) -> bool:
    """Whether `plan` chooses at random, anew for each seed."""
    return any(own.choice is not None and own.choice.for_each_seed for own in plan.selectors)


def choose(
    choice: Choice, model_map: ModelMap, measure: MeasureSignal, draw: Draw | None = None
) -> tuple[Selector, ...]:
    """The selectors of the places chosen. Raises `PlanError` where the signal is unknown or the share too small."""
    places = choose_places(choice, model_map, measure, draw)
    return tuple(parse_selector(text) for text in as_selectors(places, model_map))


def choose_places(choice: Choice, model_map: ModelMap, measure: MeasureSignal, draw: Draw | None = None) -> list[Place]:
    """The places themselves, in the model's order."""
    sizes = matrices_of(model_map)
    if choice.for_each_seed and draw is not None:
        wanted = draw.like.get(choice.share, ())
        if any(role == WHOLE_LAYER for _, role in wanted):
            sizes = layers_of(model_map)
        drawn = _drawn(sizes, draw.seed, f"random choice of places for {draw.purpose}")
        return _fill_alike(drawn, sizes, wanted) if wanted else _fill(choice, drawn, sizes)
    if choice.at_random:
        return _fill(choice, _drawn(sizes, choice.random_number or 0, "random choice of places"), sizes)
    signal = measure(choice.signal)
    if signal.kind.places == "layers":
        sizes = layers_of(model_map)
    return _fill(choice, {place: value for place, value in signal.values.items() if place in sizes}, sizes)


def _drawn(sizes: Mapping[Place, int], key: int, purpose: str) -> dict[Place, float]:
    """A random number for each place."""
    draws = raw_numbers(key, purpose, 0, len(sizes)).astype(float).tolist()
    return dict(zip(sizes, draws, strict=True))


def matrices_of(model_map: ModelMap) -> dict[Place, int]:
    """Number of values of each place that a signal of matrices ranks: the matrices of the decoder layers."""
    sizes: dict[Place, int] = {}
    for portion in model_map.portions:
        named_alone = portion.role not in GROUP_ROLES or portion.whole
        if portion.layer is not None and portion.role not in ("norm", "bias") and named_alone:
            place = (portion.layer, portion.role)
            sizes[place] = sizes.get(place, 0) + portion.values
    return sizes


def layers_of(model_map: ModelMap) -> dict[Place, int]:
    """Number of values of each whole decoder layer."""
    sizes: dict[Place, int] = {(layer, WHOLE_LAYER): 0 for layer in range(model_map.layers)}
    for portion in model_map.portions:
        if portion.layer is not None:
            sizes[(portion.layer, WHOLE_LAYER)] += portion.values
    return sizes


def as_selectors(places: Sequence[Place], model_map: ModelMap) -> list[str]:
    """As few selectors as name exactly `places`: one for each role and run of layers.

    What no finer role fits (`attn` or `mlp` alone, such as a router) is named by its parameter.
    """
    by_role: dict[str, list[int]] = {}
    selectors = []
    for layer, role in places:
        assert layer is not None
        if role in GROUP_ROLES:
            own = [portion for portion in model_map.portions if (portion.layer, portion.role) == (layer, role)]
            selectors += [f"name:{portion.parameter}" for portion in own]
        else:
            by_role.setdefault("all" if role == WHOLE_LAYER else role, []).append(layer)
    for role, layers in by_role.items():
        selectors += [f"{role}@{_slice(*run, model_map.layers).text}" for run in _runs(sorted(layers))]
    return selectors


def _fill(choice: Choice, values: dict[Place, float], sizes: dict[Place, int]) -> list[Place]:
    sign = -1 if choice.end == "top" else 1
    ranked = sorted(values, key=lambda place: sign * values[place])  # stable: the model's order among equals
    room = Decimal(sum(sizes.values())) * choice.share / 100
    taken = set()
    for place in ranked:
        if sizes[place] <= room:
            taken.add(place)
            room -= sizes[place]
    if not taken:
        smallest = min(sizes.values())
        least = Decimal(100 * smallest) / sum(sizes.values())
        raise PlanError(
            f"'{choice.text}' is less than any one of the {len(sizes)} places that it chooses from.",
            f"The smallest is {least:.2g} % of them.",
        )
    return [place for place in sizes if place in taken]


def _fill_alike(values: Mapping[Place, float], sizes: Mapping[Place, int], like: Sequence[Place]) -> list[Place]:
    """Places, highest first, that hold as many values of each role as those of `like`; no more, where they differ."""
    room: dict[str, int] = {}
    for place in like:
        room[place[1]] = room.get(place[1], 0) + sizes[place]
    taken = set()
    for place in sorted(values, key=lambda place: -values[place]):
        if sizes[place] <= room.get(place[1], 0):
            taken.add(place)
            room[place[1]] -= sizes[place]
    return [place for place in sizes if place in taken]


def _runs(layers: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of each run of consecutive layers."""
    runs: list[tuple[int, int]] = []
    for layer in layers:
        if runs and layer == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], layer)
        else:
            runs.append((layer, layer))
    return runs


def _slice(first: int, last: int, layers: int) -> LayerSlice:
    start = Bound(Decimal(first))
    if first == last:
        return LayerSlice(start, single=True)
    return LayerSlice(start if first else None, None if last == layers - 1 else Bound(Decimal(last + 1)))
