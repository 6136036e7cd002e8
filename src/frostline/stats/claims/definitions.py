"""What exactly is claimed, and how is it tested? Each claim's statistic, null hypothesis, margin and source.

`docs/claims.md` explains them; a test keeps page and code together. A claim is decided over replicates where there are
enough of them. Some speak of what happens inside a run, too: with fewer replicates they are decided in the runs at
hand, and say so.
"""

from __future__ import annotations

from dataclasses import dataclass

from frostline.stats.significance import MINIMUM_REPLICATES

SHARE_MARGIN = 0.05
"""C4: five tokens of a hundred; three standard errors of a share over the study's 1,000 sampled tokens."""
STUDYS_SAVING = (120 - 89) / 120
"""C7: what the study saved."""
LEAST_SAVING = 0.15
"""C7: what counts as 'about 25 %' or more."""
FALL_FACTOR = 1.25
"""C5: 'falls sharply' means by a fifth at least."""
CREEP = 1.05
"""C5: growth over the second half that counts as creeping up; as much less counts as shrinking."""
EPOCHS = 2
"""C5: 'after a few epochs', says the study."""
SETTLED_STEPS = 100
"""C5: steps after the warm-up, for a second half that says something."""
LOAD = 1.1
"""C6: 'more' means by a tenth at least."""
CALM = 0.9
"""C10: 'less' means by a tenth at least."""
SHARE_OF_GAIN = 0.05
"""C8: the margin, as a share of what full training gains in held-out loss."""
DISTANCE_MARGIN = 0.02
"""C9: distances to the held-out text that differ by less are practically the same."""
LEAST_PLANS = 19
"""C11: the fewest random plans among which coming first has a chance of 0.05."""
SAME_SIZE = 0.1
"""C11: largest relative difference of what two arms train, for one to be the other's control."""
STUDY = "The study that Frostline grows from: GPT-Neo-125M on Moby-Dick, one run."
WITHIN = "in these runs"
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
    """`over replicates`, or `in these runs` where fewer than six replicates can decide it, for those alone."""
    of_rate: bool = False
    """Whether the arms' learning rates decide it: it is supported fully only at each arm's best rate."""


_SIGN_FLIP = (
    f"exact sign-flip test over replicates, guarded against skew, Holm over arms, {MINIMUM_REPLICATES} replicates or "
    "more"
)
_OR_STEPS = (
    f"{_SIGN_FLIP}; with fewer replicates in these runs, by t over steps, fewer for their autocorrelation, ten "
    "independent ones or more"
)
_FEWER = (
    "fewer for their autocorrelation, which is taken at its upper limit where they are worth fewer than ten "
    "independent ones"
)
C1 = Definition(
    "C1",
    "The full arm's loss falls faster than the frozen arm's.",
    "Least-squares slope of the training loss over log2(1 + step), each doubling of the steps weighing alike, in nats "
    "per doubling; frozen arm minus full arm, on the same windows",
    f"The slopes do not differ ({_SIGN_FLIP})",
    "none",
    STUDY,
    OVER,
    of_rate=True,
)
C2 = Definition(
    "C2",
    "In the scatter of the losses (frozen arm across, full arm up, one point a step) most points lie below y = x, and "
    "those on the line are early ones.",
    "Share of steps whose point lies below y = x, points on the line counting half; rank correlation (Spearman) of a "
    "point's distance from the line with its step",
    f"Half of the points lie below, and distance and step are not correlated ({_OR_STEPS}; both must be decided)",
    "none",
    STUDY,
    WITHIN,
    of_rate=True,
)
C3 = Definition(
    "C3",
    "Both arms learn the style: the share of common tokens moves to the text's own.",
    "Distance of p, the share of the corpus's most frequent tokens in the continuations, to p of the corpus itself; "
    "after minus before training",
    f"The distance is what it was ({_SIGN_FLIP})",
    "none",
    STUDY,
    OVER,
)
C4 = Definition(
    "C4",
    "Where the frozen arm's share of common tokens exceeds the full arm's, sampling noise explains it.",
    "Difference of p after training, frozen arm minus full arm, the same prompts and sampling noise; all texts to a "
    "prompt (measures.sampling.draws) together",
    "Refuted if the excess is more than noise (bootstrap over prompts, Holm over arms); supported if two one-sided "
    "tests place it within the margin",
    f"{SHARE_MARGIN:g}: three standard errors of a share over 1,000 tokens, what the study sampled",
    STUDY,
    WITHIN,
)
C5 = Definition(
    "C5",
    "The weight change is large at first, falls sharply, then creeps up.",
    "Weight change of the trained watched matrices over the change that AdamW makes of gradients of pure noise at the "
    "same learning rate and step (1 means noise, more: gradients that agree): first fiftieth of the measurements (two "
    "at least) over the second tenth, and growth over the second half",
    f"Neither fall nor growth passes its margin ({_OR_STEPS}, of the growth; both must be decided)",
    f"A fall by a factor of {FALL_FACTOR:g} or more; growth, or shrinking, by a factor of {CREEP:g} or more. Nothing "
    f"is decided below {EPOCHS} epochs or {SETTLED_STEPS} steps after the warm-up, nor for adapters",
    STUDY,
    WITHIN,
)
C6 = Definition(
    "C6",
    "The trainable matrices of the frozen arm change more per step than the same matrices in the full arm.",
    "Ratio of the weight changes per unit of learning rate, frozen arm over full arm, same matrices, same step; "
    "geometric mean over steps",
    f"The ratio lies within the margin ({_SIGN_FLIP}; with fewer replicates in these runs, by t over steps, {_FEWER})",
    f"{LOAD:g} times as much, or {LOAD:g} times less",
    STUDY,
    WITHIN,
)
_OVER_TIMED = f"t over timed pairs of steps, {_FEWER}, Holm over arms"
C7 = Definition(
    "C7",
    "Freezing saves time.",
    "r = 1 - T_frozen / T_full, from the logarithm of the ratio of each timed pair of steps, the arms interleaved in "
    "alternating order; pairs farther from the median than five robust standard deviations (a pause of the machine) "
    "are left out",
    f"r is 0 ({_OVER_TIMED})",
    "none",
    STUDY,
    WITHIN,
)
C7_AMOUNT = Definition(
    "C7",
    f"It saves about a quarter of the time or more (the study: {STUDYS_SAVING:.1%}).",
    "The same r",
    f"r is {LEAST_SAVING:.0%} ({_OVER_TIMED})",
    f"'About a quarter' begins at {LEAST_SAVING:.0%}",
    f"{STUDY} It took 120 s in full and 89 s frozen.",
    WITHIN,
)
C7_GROWTH = Definition(
    "C7",
    "The saving grows with the size of the model.",
    "Slope of r over log2 of the parameters, over variants of different model size",
    "The slope is 0 in these models (t over timed pairs of steps, fewer for their autocorrelation, ten independent "
    "ones or more for each model, Holm over arms)",
    "none",
    STUDY,
    WITHIN,
)
C8 = Definition(
    "C8",
    "Reversed: training everything but some late attention leaves the loss practically unchanged.",
    "Held-out loss after training, arm minus full arm, and the same difference at every evaluation after the warm-up "
    "(below three of them, of the training loss in eight stretches)",
    f"They differ by the margin or more at the end, or anywhere on the curve ({_SIGN_FLIP}, at both ends of the "
    "margin); refuted if the difference at the end lies beyond the margin by the same test",
    f"{SHARE_OF_GAIN:.0%} of what full training gains in held-out loss, unless margin_nats of the recipe is set",
    STUDY,
    OVER,
    of_rate=True,
)
C9 = Definition(
    "C9",
    "A lower loss does not imply better text.",
    "Distance of the text to how the held-out text itself goes on (mean over distinct-1, distinct-2, repetition, "
    "self-BLEU, copied share and share of common tokens of how far each is from the held-out text's own, the same "
    "prompts and length), of the arm with the higher held-out loss minus that of the arm with the lower one",
    "Refuted if the arm with the lower loss is nearer by more than the margin, supported if it is not (exact sign-flip "
    f"test of the gain beyond the margin; the losses must differ, too: {_SIGN_FLIP})",
    f"{DISTANCE_MARGIN:g} of a distance from 0 to 1",
    STUDY,
    OVER,
)
C10 = Definition(
    "C10",
    "The frozen arm's loss varies less, early in training.",
    "Ratio of the variance of the loss about its neighbours (noise from step to step, without the trend) over the "
    "first quarter of the steps, eight at least; frozen arm over full arm",
    f"The ratio lies within the margin ({_SIGN_FLIP}, on its logarithm)",
    f"{CALM:g} times as much, or as much more",
    STUDY,
    OVER,
)
C11 = Definition(
    "C11",
    "The choice of this signal beats the average random plan of its size.",
    "Held-out loss after training, arm chosen by a signal minus the mean of those drawn at random, anew for each seed, "
    f"that train as many values, within {SAME_SIZE:.0%}",
    f"The losses do not differ ({_SIGN_FLIP})",
    "none",
    "The study's outlook.",
    OVER,
)
C11_LOOKING = Definition(
    "C11",
    "Which layers to freeze should be chosen by looking inside the model.",
    "Rank of the chosen plan among random ones of its size in held-out loss; over texts (vary: corpus.source), the "
    "chosen plan minus the average random one in each",
    f"The signal is worth no more than chance (rank test, one-sided, {LEAST_PLANS} random plans or more; over texts "
    f"the exact sign-flip test, texts with the same choice together, {MINIMUM_REPLICATES} or more; Holm over arms)",
    "none",
    "The study's outlook.",
    OVER,
)
C12 = Definition(
    "C12",
    "Freezing pays most where data is scarce against parameters: there the frozen arm ends at a lower held-out loss, "
    "the more so the less data there is.",
    "Held-out loss of the full arm minus that of the frozen arm, each at its best evaluation: at the scarcest variant, "
    "and its slope over log2 of tokens per parameter",
    f"The difference is 0, and its slope is 0 ({_SIGN_FLIP}; both must be decided)",
    "Only at each arm's best learning rate, and from one epoch on at the scarcest variant",
    STUDY,
    OVER,
    of_rate=True,
)
DEFINITIONS = (C1, C2, C3, C4, C5, C6, C7, C7_AMOUNT, C7_GROWTH, C8, C9, C10, C11, C11_LOOKING, C12)
