"""What does a plan mean for this model? Every mistake in a plan is found here, before anything is touched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from frostline.errors import PlanError, at
from frostline.plans.adapters import adapter_modules
from frostline.plans.fused import is_split
from frostline.plans.match import names_in, portions_of
from frostline.plans.roles import layout_of, map_model
from frostline.plans.token_rows import with_rows
from frostline.plans.types import Match, ModelMap, Phase, Portion, ResolvedPlan, Verb
from frostline.recipe import Selector, WrittenPlan, parse_selectors

_RESOLVE = "Resolve it for this model: plan.resolve(model)."


def resolve_plan(plan: WrittenPlan, model: PreTrainedModel, model_map: ModelMap | None = None) -> ResolvedPlan:
    """`plan` for `model`, which stays untouched; `model_map` is its own, made here if it is not given.

    Raises `PlanError` for a selector that matches nothing or is out of range, tied weights of which only one side is
    named, and a plan that at some step trains nothing; `ModelError` where the model has no decoder stack.
    """
    model_map = with_rows(map_untouched(model) if model_map is None else model_map, plan.selectors)
    if plan.lora is not None:
        matches = tuple(_match(selector, "target", 0, model_map) for selector in plan.targets)
        targets = _union(model_map, [match.portions for match in matches])
        with at("lora", "targets"):
            adapter_modules(model, targets)  # raises where a target cannot carry an adapter
        phase = Phase(0, frozenset(), prefix_depth(targets, model_map.layers))
        return ResolvedPlan(plan.text, model_map, matches, (phase,), plan.lora, targets)
    if plan.train is not None:
        matches = _match_all(plan.train, "train", 0, model_map)
        trained = _names(matches)
    else:
        matches = _match_all(plan.freeze or (), "freeze", 0, model_map)
        trained = {portion.name for portion in model_map.portions} - _names(matches)
    phases = [_phase(0, trained, model_map)]
    for change in plan.changes:
        changed = _match_all(change.selectors, change.verb, change.at, model_map)
        matches += changed
        trained = trained | _names(changed) if change.verb == "thaw" else trained - _names(changed)
        if phases[-1].at == change.at:
            phases.pop()
        phases.append(_phase(change.at, trained, model_map))
    for phase in phases:
        if not phase.trained:
            frozen = [change.selectors for change in plan.changes if change.at == phase.at][-1:] or [plan.freeze or ()]
            raise PlanError(
                f"'{plan.text}' trains nothing{f' from step {phase.at} on' if phase.at else ''}.",
                "Leave something out of 'freeze', such as the last layers: freeze: [attn, mlp@:-2].",
            ).at(*frozen[0][0].keys[:-1])
    return ResolvedPlan(plan.text, model_map, matches, tuple(phases))


def select(model: PreTrainedModel, selectors: Sequence[str]) -> list[Portion]:
    """The portions that any of `selectors` names, in the model's order. Raises `PlanError` as resolving does."""
    return select_from(map_untouched(model), selectors)


def select_from(model_map: ModelMap, selectors: Sequence[str]) -> list[Portion]:
    """As `select`, of a model that has been mapped before."""
    parsed = parse_selectors(selectors)
    model_map = with_rows(model_map, parsed)
    return list(_union(model_map, [portions_of(selector, model_map) for selector in parsed]))


def map_untouched(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None) -> ModelMap:
    """The map of a model to which no plan has been applied. Raises `PlanError` otherwise.

    `tokenizer` tells selectors of rows which tokens there are.
    """
    require_untouched(model)
    return replace(map_model(model), tokenizer=tokenizer)


def require_untouched(model: PreTrainedModel) -> None:
    """Raise `PlanError` where a plan has been applied to `model`."""
    if is_split(model) or any(hasattr(module, "lora_A") for module in model.modules()):
        raise PlanError(
            "a plan has been applied to this model already.",
            "Call release() on what apply() returned, or begin with a fresh copy of the model.",
        )


def require_resolved_for(plan: WrittenPlan, model: PreTrainedModel, resolved: ResolvedPlan) -> None:
    """Raise `PlanError` unless `resolved` is `plan`, for a model built as `model` is, to which no plan was applied."""
    require_untouched(model)
    if resolved.text != plan.text:
        raise PlanError(f"what was resolved is another plan: '{resolved.text}', not '{plan.text}'.", _RESOLVE)
    there = {portion.parameter: portion.shape for portion in resolved.portions}
    here = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    for name in dict.fromkeys((*here, *there)):
        if here.get(name) != there.get(name):
            only = "here" if name not in there else "there"
            both = name in here and name in there
            differs = f"{list(here[name])} here and {list(there[name])} there" if both else f"only {only}"
            raise PlanError(f"the plan was resolved for another model: '{name}' is {differs}.", _RESOLVE)
    if layout_of(model) != resolved.map.layout:
        raise PlanError(
            f"the plan was resolved for another model: this is {layout_of(model)}, not {resolved.map.layout}.", _RESOLVE
        )


def prefix_depth(trained: Iterable[Portion], layers: int) -> int:
    """Number of decoder layers below the lowest of `trained`: the backward pass never reaches them."""
    depth = layers
    for portion in trained:
        if portion.side == "below":
            return 0
        if portion.layer is not None:
            depth = min(depth, portion.layer)
    return depth


def _match(selector: Selector, verb: Verb, at: int, model_map: ModelMap) -> Match:
    return Match(selector.text, verb, at, portions_of(selector, model_map))


def _match_all(selectors: Sequence[Selector], verb: Verb, at: int, model_map: ModelMap) -> tuple[Match, ...]:
    matches = tuple(_match(selector, verb, at, model_map) for selector in selectors)
    for group in model_map.tied:
        _refuse_one_sided(selectors, verb, group, model_map)
    return matches


def _refuse_one_sided(selectors: Sequence[Selector], verb: Verb, group: Sequence[str], model_map: ModelMap) -> None:
    """Raise `PlanError` if `selectors` name some but not all names of one shared parameter."""
    named = {name: selector for selector in selectors for name in names_in(selector, group, model_map)}
    others = [name for name in group if name not in named]
    if not named or not others:
        return
    name, selector = next(iter(named.items()))
    does, other_does = ("freeze", "train") if verb == "freeze" else ("train", "freeze")
    both = "[embed, head]" if model_map.head_name in group else f"[{', '.join(f'name:{name}' for name in group)}]"
    raise PlanError(
        f"'{name}' and '{others[0]}' are tied: they share one weight, and '{selector.text}' would {does} "
        f"the one but {other_does} the other.",
        f"Name both, {verb}: {both}, or neither.",
    ).at(*selector.keys)


def _phase(at: int, trained: set[str], model_map: ModelMap) -> Phase:
    portions = [portion for portion in model_map.portions if portion.name in trained]
    return Phase(at, frozenset(trained), prefix_depth(portions, model_map.layers))


def _names(matches: Iterable[Match]) -> set[str]:
    return {portion.name for match in matches for portion in match.portions}


def _union(model_map: ModelMap, found: Iterable[Sequence[Portion]]) -> tuple[Portion, ...]:
    names = {portion.name for portions in found for portion in portions}
    return tuple(portion for portion in model_map.portions if portion.name in names)
