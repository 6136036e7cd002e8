"""What is the one question that the experiment is to decide? A claim, or an arm against the baseline in one measure.

Twelve claims times several arms find something by chance. What was named before the run is the finding; what was not is
a hint for the next one, and is shown as exploratory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Discriminator, Tag, WithJsonSchema

from frostline.errors import nearest
from frostline.recipe.base import Settings
from frostline.recipe.fields import mistake

CLAIMS = tuple(f"C{number}" for number in range(1, 13))
COMPARED = (
    "loss_last", "loss_slope", "loss_variance_early", "loss_variance", "held_out_after", "overfitting", "forgetting",
    "common_share_after", "step_seconds", "distinct_1", "distinct_2", "distinct_3", "repetition", "self_bleu", "length",
    "copied_share", "from_untouched", "judge_loss", "distance",
)  # fmt: skip
"""Measures in which arms are compared; `frostline.stats.comparisons` has the same."""


def _is_claim(name: str) -> str:
    if name not in CLAIMS:
        raise mistake(f"there is no claim '{name}': the claims are C1 to C12.", nearest(name, CLAIMS))
    return name


def _is_measure(name: str) -> str:
    if name not in COMPARED:
        raise mistake(f"arms are not compared in '{name}'.", nearest(name, COMPARED) or f"Use {', '.join(COMPARED)}.")
    return name


class PrimaryComparison(Settings):
    """An arm against the baseline in one measure, such as `{arm: freeze, measure: held_out_after}`."""

    arm: str
    """Name of the arm that is compared with the baseline."""
    measure: Annotated[str, AfterValidator(_is_measure), WithJsonSchema({"enum": list(COMPARED)})] = "held_out_after"
    """What the two are compared in."""


def _member(written: object) -> str:
    return "PrimaryComparison" if isinstance(written, Mapping | PrimaryComparison) else "PrimaryClaim"


Primary = Annotated[
    Annotated[str, AfterValidator(_is_claim), WithJsonSchema({"enum": list(CLAIMS)}), Tag("PrimaryClaim")]
    | Annotated[PrimaryComparison, Tag("PrimaryComparison")],
    Discriminator(_member),
]
