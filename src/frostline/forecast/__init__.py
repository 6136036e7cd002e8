"""What will it take?"""

from frostline.forecast.estimate import ArmEstimate, RunEstimate, estimate_recipe
from frostline.forecast.planned import PlannedVariant, plan_recipe
from frostline.forecast.timing import ArmTiming, MeanSeconds, Timing, time_recipe
from frostline.forecast.unit_memory import UnitBytes, unit_bytes

__all__ = [
    "ArmEstimate",
    "ArmTiming",
    "MeanSeconds",
    "PlannedVariant",
    "RunEstimate",
    "Timing",
    "UnitBytes",
    "estimate_recipe",
    "plan_recipe",
    "time_recipe",
    "unit_bytes",
]
