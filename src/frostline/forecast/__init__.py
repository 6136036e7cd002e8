"""What will it take?"""

from frostline.forecast.estimate import RunEstimate, estimate_recipe
from frostline.forecast.timing import Timing, time_recipe

__all__ = ["RunEstimate", "Timing", "estimate_recipe", "time_recipe"]
