"""Where should training happen?"""

from frostline.advisor.advice import Advice, read_advice
from frostline.advisor.advising import RECOMMENDED_FILE, AdviceResult, advise
from frostline.advisor.budget import Budget, parse_budget
from frostline.advisor.candidates import FULL
from frostline.advisor.equal_time import losses_at_equal_time
from frostline.advisor.inspecting import inspect_model, inspect_run
from frostline.advisor.inspection import Inspection, Tuned
from frostline.advisor.prices import with_arms
from frostline.advisor.race import RUNGS, standings
from frostline.advisor.recommendation import Recommendation, recommend
from frostline.advisor.search_cost import search_cost
from frostline.advisor.spread import how_much_how_spread
from frostline.advisor.transplant import Effect
from frostline.advisor.trials import (
    Advised,
    Compute,
    Course,
    Elsewhere,
    TrialAsked,
    Trials,
    compute_trial,
    prepare_elsewhere,
)

__all__ = [
    "FULL",
    "RECOMMENDED_FILE",
    "RUNGS",
    "Advice",
    "AdviceResult",
    "Advised",
    "Budget",
    "Compute",
    "Course",
    "Effect",
    "Elsewhere",
    "Inspection",
    "Recommendation",
    "TrialAsked",
    "Trials",
    "Tuned",
    "advise",
    "compute_trial",
    "how_much_how_spread",
    "inspect_model",
    "inspect_run",
    "losses_at_equal_time",
    "parse_budget",
    "prepare_elsewhere",
    "read_advice",
    "recommend",
    "search_cost",
    "standings",
    "with_arms",
]
