"""Which parameters train in this model? Roles, matching, resolving, applying, adapters, cost."""

from frostline.plans.adapters import (
    adapted_modules,
    adapter_delta,
    adapter_modules,
    adapter_scale,
    merge_adapters,
    merged_weight,
    require_peft,
)
from frostline.plans.apply import AppliedPlan, apply_plan
from frostline.plans.calls import record_calls, undisturbed
from frostline.plans.cost import PlanCost, ceiling_sentence, plan_cost
from frostline.plans.few_layers import Forward, answering, few_layers, is_place_in_stack, layer_kinds
from frostline.plans.fused import FROZEN_SCALE, UNPACKED, JoinedPortions, is_split, value_of
from frostline.plans.match import portions_of
from frostline.plans.order import places_of
from frostline.plans.plan import Plan
from frostline.plans.probe import PROBE_ERRORS, feature_dimension
from frostline.plans.resolve import map_untouched, resolve_plan, select, select_from
from frostline.plans.roles import map_model
from frostline.plans.stack import decoder_stack
from frostline.plans.still import keep_weights_still
from frostline.plans.token_rows import with_rows, without_rows
from frostline.plans.types import FrozenCheck, Match, ModelMap, Phase, PlanStep, Portion, ResolvedPlan, Shard

__all__ = [
    "FROZEN_SCALE",
    "PROBE_ERRORS",
    "UNPACKED",
    "AppliedPlan",
    "Forward",
    "FrozenCheck",
    "JoinedPortions",
    "Match",
    "ModelMap",
    "Phase",
    "Plan",
    "PlanCost",
    "PlanStep",
    "Portion",
    "ResolvedPlan",
    "Shard",
    "adapted_modules",
    "adapter_delta",
    "adapter_modules",
    "adapter_scale",
    "answering",
    "apply_plan",
    "ceiling_sentence",
    "decoder_stack",
    "feature_dimension",
    "few_layers",
    "is_place_in_stack",
    "is_split",
    "keep_weights_still",
    "layer_kinds",
    "map_model",
    "map_untouched",
    "merge_adapters",
    "merged_weight",
    "places_of",
    "plan_cost",
    "portions_of",
    "record_calls",
    "require_peft",
    "resolve_plan",
    "select",
    "select_from",
    "undisturbed",
    "value_of",
    "with_rows",
    "without_rows",
]
