"""Which parameters train? Roles, selectors, resolving against a model, schedules, adapters, cost."""

from frostline.plans.adapters import (
    adapted_modules,
    adapter_delta,
    adapter_modules,
    adapter_scale,
    inject_adapters,
    merge_adapters,
    require_peft,
)
from frostline.plans.apply import AppliedPlan, apply_plan
from frostline.plans.calls import record_calls, undisturbed
from frostline.plans.cost import PlanCost, ceiling_sentence, plan_cost
from frostline.plans.fused import FROZEN_SCALE, JoinedPortions, is_split, value_of
from frostline.plans.order import places_of
from frostline.plans.plan import Plan, PlanChange
from frostline.plans.probe import feature_dimension
from frostline.plans.resolve import map_untouched, prefix_depth, resolve_plan, select
from frostline.plans.roles import GROUP_ROLES, LEAF_ROLES, ROLES, decoder_stack, map_model
from frostline.plans.selectors import Bound, Choice, LayerSlice, Selector, parse_selector, parse_selectors
from frostline.plans.types import FrozenCheck, Match, ModelMap, Phase, PlanStep, Portion, ResolvedPlan

__all__ = [
    "FROZEN_SCALE",
    "GROUP_ROLES",
    "LEAF_ROLES",
    "ROLES",
    "AppliedPlan",
    "Bound",
    "Choice",
    "FrozenCheck",
    "JoinedPortions",
    "LayerSlice",
    "Match",
    "ModelMap",
    "Phase",
    "Plan",
    "PlanChange",
    "PlanCost",
    "PlanStep",
    "Portion",
    "ResolvedPlan",
    "Selector",
    "adapted_modules",
    "adapter_delta",
    "adapter_modules",
    "adapter_scale",
    "apply_plan",
    "ceiling_sentence",
    "decoder_stack",
    "feature_dimension",
    "inject_adapters",
    "is_split",
    "map_model",
    "map_untouched",
    "merge_adapters",
    "parse_selector",
    "parse_selectors",
    "places_of",
    "plan_cost",
    "prefix_depth",
    "record_calls",
    "require_peft",
    "resolve_plan",
    "select",
    "undisturbed",
    "value_of",
]
