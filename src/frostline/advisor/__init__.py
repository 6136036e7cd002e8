"""Where should training happen?"""

from frostline.advisor.advice import Advice, read_advice
from frostline.advisor.advising import RECOMMENDED_FILE, AdviceResult, advise
from frostline.advisor.budget import parse_budget
from frostline.advisor.candidates import FULL
from frostline.advisor.equal_time import losses_at_equal_time
from frostline.advisor.inspecting import inspect_model, inspect_run
from frostline.advisor.inspection import Inspection, Tuned
from frostline.advisor.race import RUNGS, standings
from frostline.advisor.recommendation import Recommendation, recommend
from frostline.advisor.search_cost import search_cost
from frostline.advisor.spread import how_much_how_spread
from frostline.advisor.transplant import Effect

__all__ = [
    "FULL",
    "RECOMMENDED_FILE",
    "RUNGS",
    "Advice",
    "AdviceResult",
    "Effect",
    "Inspection",
    "Recommendation",
    "Tuned",
    "advise",
    "how_much_how_spread",
    "inspect_model",
    "inspect_run",
    "losses_at_equal_time",
    "parse_budget",
    "read_advice",
    "recommend",
    "search_cost",
    "standings",
]
