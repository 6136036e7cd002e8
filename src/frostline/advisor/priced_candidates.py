"""Which plans are raced? All that there are for this model, settled and priced; those that keep the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from frostline.advisor.budget import UNLIMITED, Budget, Needs
from frostline.advisor.candidates import (
    FULL,
    SHARES,
    USUAL_SHARE,
    Candidate,
    adapter_candidates,
    full_training,
    left_out,
    random_candidates,
    role_candidates,
    signal_candidates,
    spread_candidates,
    usual_candidates,
)
from frostline.advisor.prices import PriceModel, fit_prices, price_of, with_arms
from frostline.arms import Prepared, process_bytes
from frostline.errors import MissingExtraError, PlanError, RecipeError
from frostline.plans import ModelMap, Plan, ResolvedPlan, require_peft
from frostline.progress import RunProgress
from frostline.readable import percent
from frostline.recipe import ArmSettings, parse_selector
from frostline.run_folder import CandidateMade
from frostline.signals import (
    Draw,
    Place,
    Signal,
    SignalInputs,
    as_selectors,
    choose_places,
    matrices_of,
    resolve_arm_choices,
)
from frostline.stats import SAME_SIZE

NEARLY_ALL = 0.75
"""Share in common of what two signals choose from which on their losses would not be told apart."""


def priced_candidates(
    prepared: Prepared,
    inputs: SignalInputs,
    signals: Mapping[str, Signal],
    cache: Path,
    budget: Budget,
    progress: RunProgress,
) -> list[CandidateMade]:
    """All plans worth racing, priced. Raises `RecipeError` where none but full training keeps the budget."""
    base = process_bytes(prepared.recipe, cache) if prepared.device.type == "cpu" else 0
    prices = fit_prices(prepared, base, say=progress.say)
    progress.say(f"Prices fitted: within {percent(prices.misfit, 0)} of the measured steps")
    if without := left_out(inputs.map):
        progress.say(f"Left out, since the model has no such weights: {', '.join(without)}")
    fixed = [full_training(), *usual_candidates(inputs.map), *role_candidates(inputs.map), *_adapters(inputs.map)]
    made = _price(prepared, inputs, signals, prices, fixed, budget)
    full = made[0]
    choosing = [name for name, signal in signals.items() if signal.kind.chooses]
    largest: dict[str, CandidateMade] = {}
    shares = sorted(SHARES, reverse=True) if budget != UNLIMITED else [USUAL_SHARE]
    raced_share = shares[-1]
    for share in shares:
        left = [name for name in choosing if name not in largest or largest[name].exceeds]
        for own in _price(prepared, inputs, signals, prices, signal_candidates(share, left), budget, full):
            largest[own.candidate] = own
            if not own.exceeds:
                raced_share = max(raced_share, share)
    made += [largest[name] for name in choosing if name in largest]
    made += _price(prepared, inputs, signals, prices, spread_candidates(raced_share), budget, full)
    plans = [own for own in made if own.candidate != FULL]
    if all(own.exceeds for own in plans):
        needs = {own.candidate: _needs(own, full, inputs) for own in plans}
        nearest = min(needs, key=lambda name: budget.excess(needs[name]))
        raise RecipeError(
            f"--budget {budget.text}: no plan keeps it. The one that comes nearest is {nearest}: "
            f"{', '.join(needs[nearest].phrases)}.",
            "Allow at least that much.",
        )
    # Random choices are never advised, so they need not keep the budget. Few could: they often train lower layers than
    # the plans that they are compared with.
    controls = _price(prepared, inputs, signals, prices, random_candidates(raced_share), UNLIMITED, full)
    return _without_doubles(prepared, made + controls)


def control_for(
    prepared: Prepared, inputs: SignalInputs, pick: CandidateMade, name: str, number: int
) -> CandidateMade | None:
    """The random choice `number` of the size of `pick`; None where there is none: adapters, norms alone, all layers.

    It has as many values of each role, so that the two differ in depth alone; where it would be nearly the pick itself,
    which trains whole roles, it is drawn from all matrices. It is never advised, so that it has the pick's price.
    """
    settled = ArmSettings.model_validate(pick.settled)
    share = 100 * pick.trained_parameters / sum(matrices_of(inputs.map).values())
    if Plan.from_settings(settled).lora is not None or share > 100:
        return None
    own = with_arms(prepared, {name: settled}).arms[name].resolved
    wanted = [place for place in _places(own) if place in matrices_of(inputs.map)]
    for matched in (True, False) if wanted else (False,):
        asked = f"top:{share:.3f}% by random{'' if matched else f'-{number}'}"
        try:
            selectors = _drawn(inputs, asked, number, wanted)
        except PlanError:
            continue  # smaller than any one matrix, such as norms alone
        arm = ArmSettings(train=tuple(selectors))
        planned = with_arms(prepared, {name: arm}).arms[name]
        if matched and not _is_another(planned.resolved, own):
            continue
        return replace(
            pick,
            candidate=name,
            plan=planned.plan.text,
            asked=_as_written(ArmSettings(train=(asked,))),
            settled=_as_written(arm),
            origin="random",
            why=f"a random choice of the size of {pick.candidate}",
            trained_parameters=planned.resolved.trained_values,
            prefix_layers=planned.resolved.prefix_layers,
            ceiling=planned.cost.ceiling,
            layers=layers_trained(planned.resolved),
            like=pick.candidate if matched else "",
        )
    return None


def _drawn(inputs: SignalInputs, asked: str, number: int, like: Sequence[Place]) -> list[str]:
    """The selectors of a random choice, by role as `like` where it has no number. Raises `PlanError`."""
    choice = parse_selector(asked).choice
    assert choice is not None
    draw = Draw(number, "the control of the plan that was picked", {choice.share: like})
    return as_selectors(choose_places(choice, inputs.map, _no_signal, draw), inputs.map)


def _places(resolved: ResolvedPlan) -> list[Place]:
    return list(dict.fromkeys((portion.layer, portion.role) for portion in resolved.trained.values()))


def _is_another(control: ResolvedPlan, pick: ResolvedPlan) -> bool:
    """Whether a control is of the size of the pick, and differs enough for its loss to tell anything."""
    own, other = _trained(control), _trained(pick)
    same_size = abs(sum(own.values()) - sum(other.values())) <= SAME_SIZE * sum(other.values())
    return same_size and in_common(own, other) < NEARLY_ALL


def layers_trained(resolved: ResolvedPlan) -> int:
    """Decoder layers in which something trains, or carries an adapter."""
    portions = resolved.targets if resolved.lora is not None else resolved.trained.values()
    return len({portion.layer for portion in portions if portion.layer is not None})


def _no_signal(name: str) -> Signal:
    raise AssertionError(f"a random choice asks for no signal ({name})")


def _price(
    prepared: Prepared,
    inputs: SignalInputs,
    signals: Mapping[str, Signal],
    prices: PriceModel,
    candidates: Sequence[Candidate],
    budget: Budget,
    full: CandidateMade | None = None,
) -> list[CandidateMade]:
    arms: dict[str, ArmSettings] = {}
    for candidate in candidates:
        try:
            arms[candidate.name], _ = resolve_arm_choices(candidate.arm, inputs.map, signals.__getitem__)
        except PlanError:
            continue  # the share is less than any one of the places that its signal ranks
    others = with_arms(prepared, arms)
    found = []
    for candidate in (candidate for candidate in candidates if candidate.name in arms):
        planned = others.arms[candidate.name]
        resolved, price = planned.resolved, price_of(prices, others, planned)
        made = CandidateMade(
            candidate=candidate.name,
            plan=planned.plan.text,
            asked=_as_written(candidate.arm),
            settled=_as_written(arms[candidate.name]),
            origin=candidate.origin,
            why=candidate.why,
            trained_parameters=resolved.trained_values,
            prefix_layers=resolved.prefix_layers,
            ceiling=planned.cost.ceiling,
            expected_seconds=price.step_seconds,
            expected_seconds_cached=price.step_seconds_cached,
            expected_peak_bytes=price.peak_bytes,
            optimizer_bytes=price.optimizer_bytes,
            exceeds=[],
            layers=layers_trained(resolved),
        )
        full = made if full is None else full
        found.append(replace(made, exceeds=budget.exceeded(_needs(made, full, inputs))))
    return found


def _needs(made: CandidateMade, full: CandidateMade, inputs: SignalInputs) -> Needs:
    return Needs(
        time=made.expected_seconds / full.expected_seconds,
        memory_bytes=made.expected_peak_bytes,
        parameters=made.trained_parameters / inputs.map.values,
    )


def _as_written(arm: ArmSettings) -> dict[str, object]:
    return arm.model_dump(mode="json", exclude_defaults=True)


def _without_doubles(prepared: Prepared, made: Sequence[CandidateMade]) -> list[CandidateMade]:
    """One plan is raced once, and so is what two signals choose nearly alike: the first one tells of the others."""
    arms = {own.candidate: ArmSettings.model_validate(own.settled) for own in made}
    trained = {name: _trained(planned.resolved) for name, planned in with_arms(prepared, arms).arms.items()}
    kept: dict[str, CandidateMade] = {}
    for own in made:
        for other in kept.values():
            both_signals = own.origin == other.origin == "signal"
            least = NEARLY_ALL if both_signals else 1.0
            if in_common(trained[own.candidate], trained[other.candidate]) >= least:
                if both_signals:
                    kept[other.candidate] = replace(other, why=f"{other.why}, nearly those of {own.candidate}")
                break
        else:
            kept[own.candidate] = own
    return list(kept.values())


def _trained(resolved: ResolvedPlan) -> dict[str, int]:
    return {portion.name: portion.values for portion in resolved.trained.values()}


def in_common(first: Mapping[str, int], second: Mapping[str, int]) -> float:
    """Values that both train, as a share of those that either trains (Jaccard); their numbers by portion."""
    either = sum({**first, **second}.values())
    return sum(first[name] for name in first.keys() & second.keys()) / either if either else 0.0


def _adapters(model_map: ModelMap) -> list[Candidate]:
    try:
        require_peft()
    except MissingExtraError:
        return []
    return adapter_candidates(model_map)
