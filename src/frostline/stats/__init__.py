"""What does it mean? Paired comparisons, intervals, claims: from the journal of a run to its summary."""

from frostline.stats.arm_run import ArmRun
from frostline.stats.arms import ArmSummary
from frostline.stats.blind import BlindPair, BlindResult, BlindTest, blind_test, read_choices, result_of
from frostline.stats.checks import check
from frostline.stats.claims import judge_claims
from frostline.stats.claims.definitions import SAME_SIZE
from frostline.stats.crossed import POPULATION, crossed_interval
from frostline.stats.estimate import Estimate
from frostline.stats.intervals import OVER_BLOCKS, bootstrap, ratio
from frostline.stats.per_seed import SeedResult
from frostline.stats.rates import RateCurve, at_rates
from frostline.stats.runs import RecordedRun, VariantRun, read_run
from frostline.stats.summarising import judged_by, read_summary, summarise, summary_in_its_time, write_summary
from frostline.stats.summary import RULES, ClaimResult, FrontPoint, RunSummary, VariantSummary
from frostline.stats.trade import SEEDS_SHOWN, AtEqualCost, ToLoss, seconds_spent
from frostline.stats.weight_noise import noise_change
from frostline.stats.who_gains import GainOfPart
from frostline.stats.wording import verdict_label, verdict_symbol

__all__ = [
    "OVER_BLOCKS",
    "POPULATION",
    "RULES",
    "SAME_SIZE",
    "SEEDS_SHOWN",
    "ArmRun",
    "ArmSummary",
    "AtEqualCost",
    "BlindPair",
    "BlindResult",
    "BlindTest",
    "ClaimResult",
    "Estimate",
    "FrontPoint",
    "GainOfPart",
    "RateCurve",
    "RecordedRun",
    "RunSummary",
    "SeedResult",
    "ToLoss",
    "VariantRun",
    "VariantSummary",
    "at_rates",
    "blind_test",
    "bootstrap",
    "check",
    "crossed_interval",
    "judge_claims",
    "judged_by",
    "noise_change",
    "ratio",
    "read_choices",
    "read_run",
    "read_summary",
    "result_of",
    "seconds_spent",
    "summarise",
    "summary_in_its_time",
    "verdict_label",
    "verdict_symbol",
    "write_summary",
]
