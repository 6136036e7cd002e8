"""What exactly is claimed, and how is it tested? Each claim's statistic, null hypothesis, margin and source.

`docs/claims.md` explains them; a test keeps page and code together. A claim about many runs is decided over
replicates; a claim about what happens inside a run is decided within the runs at hand, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from frostline.stats.significance import MINIMUM_REPLICATES

SHARE_MARGIN = 0.05
"""C4: five tokens of a hundred; three standard errors of a share over the study's 1,000 sampled tokens."""
SAVING_BOUNDS = (0.15, 0.35)
"""C7: what counts as 'about 25 %'."""
FALL_FACTOR = 1.25
"""C5: 'falls sharply' means by a fifth at least."""
INDEX_MARGIN = 0.02
"""C9: text indices nearer than this are practically the same."""
SAME_SIZE = 0.1
"""C11: largest relative difference of what two arms train, for one to be the other's control."""
STUDY = "The study that Frostline grows from: GPT-Neo-125M on Moby-Dick, one run."
WITHIN = "within runs"
OVER = "over replicates"


@dataclass(frozen=True)
class Definition:
    """One claim and its operational test."""

    id: str
    claim: str
    statistic: str
    null: str
    margin: str
    source: str
    decided: str
    """`over replicates` or `within runs`."""


_SIGN_FLIP = f"exact sign-flip test over replicates, Holm over arms, {MINIMUM_REPLICATES} replicates or more"
C1 = Definition(
    "C1",
    "The full arm's loss falls faster than the frozen arm's.",
    "Least-squares slope of the training loss over log2(1 + step), each doubling of the steps weighing alike, in nats "
    "per doubling; frozen arm minus full arm",
    f"The slopes do not differ ({_SIGN_FLIP})",
    "none",
    STUDY,
    OVER,
)
C2 = Definition(
    "C2",
    "In the scatter of the losses (frozen arm across, full arm up, one point a step) most points lie below y = x, the "
    "early ones on it.",
    "Share of steps whose point lies below y = x, points on the line counting half; mean distance from the line over "
    "the first twentieth of the steps",
    "Half of the points lie below (moving-block bootstrap over steps, Holm over arms)",
    "The early points lie on the line if their mean distance is within margin_nats of the recipe",
    STUDY,
    WITHIN,
)
C3 = Definition(
    "C3",
    "Both arms learn the style: the share of common tokens rises.",
    "delta p: share of the corpus's most frequent tokens in the continuations, after minus before training",
    f"delta p is 0 ({_SIGN_FLIP})",
    "none",
    STUDY,
    OVER,
)
C4 = Definition(
    "C4",
    "Where the frozen arm's share of common tokens exceeds the full arm's, sampling noise explains it.",
    "Difference of p after training, frozen arm minus full arm, the same prompts and sampling noise",
    "Refuted if the excess is more than noise (bootstrap over prompts, Holm over arms); supported if two one-sided "
    "tests place it within the margin",
    f"{SHARE_MARGIN:g}: three standard errors of a share over 1,000 tokens, what the study sampled",
    STUDY,
    WITHIN,
)
C5 = Definition(
    "C5",
    "The weight change is large at first, falls sharply, then creeps up.",
    "Mean weight change of the trained watched matrices per unit of learning rate: first fiftieth of the steps (two at "
    "least) over their second tenth, and relative growth per step over the second half",
    "No growth over the second half (moving-block bootstrap over steps, Holm over arms)",
    f"The fall is sharp if the change falls by a factor of {FALL_FACTOR:g} or more in every replicate",
    STUDY,
    WITHIN,
)
C6 = Definition(
    "C6",
    "The trainable matrices of the frozen arm change more per step than the same matrices in the full arm.",
    "Ratio of the weight changes per unit of learning rate, frozen arm over full arm, same matrices, same step; "
    "geometric mean over steps",
    "The ratio is 1 (moving-block bootstrap over steps, Holm over arms)",
    "none",
    STUDY,
    WITHIN,
)
C7 = Definition(
    "C7",
    "Freezing saves about 25 % of the time.",
    "r = (T_full - T_frozen) / T_full over timed steps, the arms interleaved in alternating order",
    "r is not about 25 % (95 % interval by moving-block bootstrap over pairs of steps, Bonferroni over arms)",
    f"'About 25 %' is {SAVING_BOUNDS[0]:.0%} to {SAVING_BOUNDS[1]:.0%}: supported if the whole interval lies within, "
    "refuted if it lies outside",
    f"{STUDY} It took 120 s in full and 89 s frozen.",
    WITHIN,
)
C7_GROWTH = Definition(
    "C7",
    "The saving grows with the size of the model.",
    "Slope of r over log2 of the parameters, over variants of different model size",
    "The slope is 0 (moving-block bootstrap over pairs of steps, Holm over arms)",
    "none",
    STUDY,
    WITHIN,
)
C8 = Definition(
    "C8",
    "Reversed: training everything but some late attention leaves the loss practically unchanged.",
    "Held-out loss after training, arm minus full arm",
    f"They differ by the margin or more (two one-sided t tests over replicates, Holm over arms, {MINIMUM_REPLICATES} "
    "replicates or more); refuted if the exact sign-flip test places the difference beyond the margin",
    "margin_nats of the recipe, 0.05 nats a token unless set",
    STUDY,
    OVER,
)
C9 = Definition(
    "C9",
    "A lower loss does not imply better text.",
    "Text index (mean of distinct-2, 1 - repetition, 1 - self-BLEU, 1 - copied share) of the arm with the lower "
    "held-out loss minus that of the other, where the losses differ",
    f"The arm with the lower loss writes better text by more than the margin (t interval over replicates; the losses "
    f"must differ by the {_SIGN_FLIP})",
    f"{INDEX_MARGIN:g} of an index from 0 to 1",
    STUDY,
    OVER,
)
C10 = Definition(
    "C10",
    "The frozen arm's loss varies less, early in training.",
    "Ratio of the variance of the loss about its neighbours (noise from step to step, without the trend) over the "
    "first quarter of the steps, eight at least; frozen arm over full arm",
    f"The ratio is 1 ({_SIGN_FLIP}, on its logarithm)",
    "none",
    STUDY,
    OVER,
)
C11 = Definition(
    "C11",
    "Which layers to freeze should be chosen by looking inside the model.",
    "Held-out loss after training, arm chosen by a signal minus the mean of those chosen at random that train as many "
    f"values, within {SAME_SIZE:.0%}",
    f"The losses do not differ ({_SIGN_FLIP})",
    "none",
    "The study's outlook.",
    OVER,
)
C12 = Definition(
    "C12",
    "Freezing pays most where data is scarce against parameters: the frozen arm overfits less, the more so the less "
    "data there is.",
    "Overfitting (held-out minus training loss) of the full arm minus that of the frozen arm: at the scarcest variant, "
    "and its slope over log2 of tokens per parameter",
    f"The gap is 0, and its slope is 0 ({_SIGN_FLIP}; both must be decided)",
    "none",
    STUDY,
    OVER,
)
DEFINITIONS = (C1, C2, C3, C4, C5, C6, C7, C7_GROWTH, C8, C9, C10, C11, C12)
