"""Where should training happen?"""

from frostline.advisor.advice import Advice, read_advice
from frostline.advisor.advising import RECOMMENDED_FILE, AdviceResult, advise
from frostline.advisor.budget import parse_budget
from frostline.advisor.candidates import FULL
from frostline.advisor.inspecting import inspect_model, inspect_run
from frostline.advisor.inspection import Inspection, Tuned
from frostline.advisor.race import RUNGS, standings
from frostline.advisor.recommendation import Recommendation, recommend
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
    "inspect_model",
    "inspect_run",
    "parse_budget",
    "read_advice",
    "recommend",
    "standings",
]
