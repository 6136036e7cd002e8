"""The shape of `summary.json`: every number that the report prints, under documented keys.

Frozen dataclasses that turn into JSON with `dataclasses.asdict`. `None` means 'not measured in this run'.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FORMAT = 1
FIRST_RULES = "0.1.0"
"""The version whose rules judged a summary that names none."""
RULES = "0.2.0"
"""The version that began to judge by the rules that hold now."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval and the count behind it."""

    value: float | None
    """The estimate; None where it was not measured."""
    low: float | None
    """Lower end of the 95 % interval; None where n does not allow one."""
    high: float | None
    """Upper end."""
    n: int
    """Independent units behind the interval: replicates, or blocks of steps, or continuations."""
    unit: str
    """`nats`, `seconds`, `share`, `bytes`, ..."""
    method: str
    """How the interval was made, e.g. `t over replicates`, `moving-block bootstrap over steps`."""


NOT_MEASURED = Estimate(None, None, None, 0, "", "not measured")
"""What stands in a summary of an earlier Frostline that did not measure it."""


@dataclass(frozen=True)
class Comparison:
    """One arm against the baseline in one measure, over paired replicates (arm minus baseline)."""

    arm: str
    """Name of the arm."""
    measure: str
    """Key of the measure in `ArmSummary`, or in its `quality`."""
    difference: Estimate
    """Arm minus baseline."""
    p_value: float | None
    """Exact sign-flip test, two-sided, guarded against skew; None with fewer than 2 replicates."""
    p_holm: float | None
    """The p-value after Holm's correction over the arms of this measure."""
    verdict: str
    """`lower`, `higher` or `undecided`."""
    exploratory: bool = False
    """Whether the recipe names another comparison or claim as its primary one."""
    crossed: Estimate | None = None
    """Of the held-out loss: the difference with an interval over seeds and windows, which speaks of other seeds and
    other windows of this text; that of `difference` speaks of other seeds and these windows. Else None."""


@dataclass(frozen=True)
class ClaimResult:
    """A claim with its verdict on one arm of one variant."""

    id: str
    """C1 to C12."""
    claim: str
    """The claim in plain words."""
    arm: str
    """The arm that it was tested on; '' if it concerns the whole experiment."""
    verdict: str
    """`supported`, `refuted` or `undecided`."""
    effect: Estimate
    """The statistic, with its interval."""
    p_value: float | None
    """The p-value after Holm's correction over the arms; None where the test has none."""
    sentence: str
    """What was found, with numbers, for a reader."""
    statistic: str
    """What was computed."""
    null: str
    """The hypothesis that a verdict rejects."""
    margin: str
    """What counts as practically equal, or as large, where the claim needs that."""
    decides: str
    """What would decide it, where undecided; else ''."""
    variant: str = ""
    """The variant that it was tested on; '' where nothing varies, or if it concerns all variants together."""
    scope: str = "over replicates"
    """What the verdict speaks of: `over replicates`, `in these runs` (another seed could differ) or `over texts`."""
    exploratory: bool = False
    """Whether the recipe names another claim or comparison as its primary one."""
    share_of_gain: Estimate | None = None
    """The effect as a share of what the baseline gains (held-out loss before minus after); None where not in nats."""
    detectable: float | None = None
    """Where undecided: the effect that enough replicates of this spread would find with a power of 80 %."""
    at_rates: str = ""
    """`each arm's best` or `the given rates` where the claim depends on the learning rate, else ''."""


@dataclass(frozen=True)
class RateTrial:
    """One rate that an arm tried in its race."""

    learning_rate: float
    """Peak learning rate of the trial."""
    loss_nats: float | None
    """Loss on the windows of the race at its end; None where it diverged."""
    diverged: bool
    """Whether training diverged."""
    steps: int
    """Steps taken: fewer than the run's where it was stopped as diverged."""


@dataclass(frozen=True)
class RateCurve:
    """The race of learning rates that an arm held before the run, on windows that serve nothing else."""

    arm: str
    """Name of the arm."""
    trials: list[RateTrial]
    """The rates tried, ascending."""
    chosen: float | None
    """The rate that the arm trained at; None where every trial diverged, or the race did not end."""
    method: str
    """How that follows from the trials."""
    low: float | None
    """The next lower rate that was tried; the best one itself where there is none."""
    high: float | None
    """The next higher rate."""
    untouched: float | None
    """Loss of the untouched model on the same windows."""
    reused_from: str
    """The earlier run that the race was taken from, name and time; '' where it was this one."""


@dataclass(frozen=True)
class AtEqualCost:
    """An arm beside the baseline at a cost that both reached, read off between evaluations."""

    axis: str
    """`seconds` of the steps, untimed ones at the mean, or `flops` that the steps need by analysis."""
    shorter: str
    """The arm or the baseline, whichever cost less in all: what it cost is what both are compared at."""
    cost: float
    """The cost at which they are compared, mean over replicates."""
    loss: float
    """Held-out loss of the arm there, nats, mean over replicates."""
    baseline_loss: float
    """Held-out loss of the baseline there."""
    difference: Estimate
    """Arm minus baseline, paired; without an interval where there are three replicates or fewer."""
    least: float
    """The difference if the longer one's loss were that of the evaluation before or after, whichever is less."""
    most: float
    """The same, whichever is more: the truth lies between, if the loss goes from one to the other without a detour."""
    by_seed: list[float]
    """Difference of each replicate that has one, in the order of the seeds."""


@dataclass(frozen=True)
class ToLoss:
    """Time in which an arm and the baseline first reached a held-out loss that both reach."""

    loss: float
    """The worse of the two last held-out losses, nats, mean over replicates."""
    seconds: float
    """Seconds of steps until the arm was there, mean over replicates."""
    baseline_seconds: float
    """Until the baseline was."""
    difference: Estimate
    """Arm minus baseline, paired; without an interval where there are three replicates or fewer."""
    by_seed: list[float]
    """Difference of each replicate that has one, in the order of the seeds."""


@dataclass(frozen=True)
class SeedResult:
    """One arm of one replicate: the numbers behind the intervals. None where not measured."""

    seed: int
    """Seed of the replicate."""
    held_out_before: float | None
    """Held-out loss before training."""
    held_out_after: float | None
    """Held-out loss at the end."""
    difference: float | None
    """Held-out loss at the end minus the baseline's; None for the baseline."""
    share_of_gain_kept: float | None
    """Fall of the held-out loss over that of the baseline; None for the baseline."""
    training_seconds: float | None
    """Seconds of all steps, untimed ones at the mean."""
    clipped_share: float | None
    """Share of the steps whose gradient was clipped."""
    diverged: bool
    """Whether a loss was not finite, or the held-out loss ended above where it began."""


@dataclass(frozen=True)
class FrontPoint:
    """Where an arm stands in the trade of loss against a cost."""

    axis: str
    """`seconds` of all steps, or `bytes` of peak memory."""
    arm: str
    """Name of the arm."""
    cost: Estimate
    """What it cost."""
    loss: Estimate
    """Held-out loss at the end."""
    beaten_by: list[str]
    """Arms that end at a loss as low or lower and cost as little or less; empty on the front."""
    surely_beaten_by: list[str]
    """Those of them whose lead is more than chance, by the 95 % intervals of the paired differences."""


@dataclass(frozen=True)
class ArmSummary:
    """One arm over all replicates of one variant. Estimates run over replicates unless their `method` differs."""

    arm: str
    """Name of the arm."""
    plan: str
    """The plan in one line."""
    learning_rate: float
    """Peak learning rate."""
    replicates: int
    """Replicates that finished."""
    reused_from: list[str]
    """Earlier runs that replicates were taken from, name and time: not trained in this run."""
    failed: list[str]
    """One sentence for each replicate that failed."""
    parameters: int
    """Numbers in the model, adapters included."""
    trained_parameters: int
    """Numbers that train at step 0."""
    optimizer_bytes: int | None
    """Bytes of the optimizer's state at the end."""
    prefix_layers: int
    """Decoder layers below the lowest trainable parameter."""
    step_flops: float
    """Floating-point operations one step needs, by analysis."""
    ceiling: float
    """Largest saving that the needed operations allow, with a truncated backward."""
    ceiling_cached: float
    """Largest saving with the prefix's output stored."""
    loss_first: Estimate
    """Training loss of the first step."""
    loss_last: Estimate
    """Training loss, mean over the last tenth of the steps."""
    loss_slope: Estimate
    """Least-squares slope of the loss over steps, nats per step."""
    loss_variance_early: Estimate
    """Variance of the loss about its neighbours (noise from step to step) over the first quarter of the steps."""
    loss_variance: Estimate
    """Variance of the loss about its neighbours over all steps."""
    held_out_before: Estimate
    """Held-out loss before training."""
    held_out_after: Estimate
    """Held-out loss at the end."""
    overfitting: Estimate
    """Held-out minus training loss at the end."""
    retention_before: Estimate | None
    """Loss on the retention corpus before training."""
    retention_after: Estimate | None
    """Loss on the retention corpus at the end."""
    forgetting: Estimate | None
    """Change of the loss on the retention corpus."""
    common_share_before: Estimate | None
    """p before training: share of common tokens in the untouched model's continuations."""
    common_share_after: Estimate | None
    """p after training."""
    common_share_change: Estimate | None
    """delta p."""
    step_seconds: Estimate
    """Mean time of a timed step."""
    total_seconds: Estimate
    """T: sum of the timed steps."""
    saving: Estimate | None
    """r = (T_baseline - T) / T_baseline; None for the baseline."""
    tokens_per_second: Estimate
    """Tokens read over time, timed steps."""
    peak_bytes: int | None
    """Peak memory of the arm measured alone."""
    quality: dict[str, Estimate]
    """distinct_1, distinct_2, distinct_3, repetition, self_bleu, length, copied_share; distance to the held-out text's
    own values; from_untouched, the loss under the untouched model; judge_loss, that under a judge."""
    change_by_role: dict[str, Estimate]
    """Mean Frobenius norm of the weight change per step over the watched matrices of each role."""
    drift_by_role: dict[str, Estimate]
    """Frobenius norm of W_T - W_0, mean over the watched matrices of each role."""
    relative_drift_by_role: dict[str, Estimate]
    """Frobenius norm of W_T - W_0 over that of W_0, mean over the watched matrices of each role."""
    stable_rank_by_role: dict[str, Estimate]
    """Stable rank of W_T - W_0, mean over those watched matrices of each role that moved."""
    steps: int = 0
    """Optimizer steps, the most that a replicate took."""
    trained_before: Estimate | None = None
    """Loss on the fixed sample of training windows before training; None where less than an epoch was read."""
    trained_after: Estimate | None = None
    """Loss on the same training windows at the end."""
    held_out_by_overlap: dict[str, Estimate] = field(default_factory=dict)
    """Held-out loss of windows that hold a run of 16 tokens which also stands in the training text (`copied_before`,
    `copied_after`), and of the others (`new_before`, `new_after`); without what there are no windows of."""
    rate_chosen: str = ""
    """How its learning rate was found, such as `the best of 5 rates tried`; '' where the recipe gives it."""
    training_seconds: Estimate = NOT_MEASURED
    """Seconds of all steps of a replicate, untimed ones at the mean."""
    at_equal_time: AtEqualCost | None = None
    """Beside the baseline in the time of the one that took less; None where times do not compare."""
    at_equal_flops: AtEqualCost | None = None
    """Beside the baseline at the operations of the one that needed fewer."""
    seconds_to_loss: ToLoss | None = None
    """Time to a loss that arm and baseline both reach; None where times do not compare."""
    share_of_gain_kept: Estimate | None = None
    """Fall of the held-out loss over that of the baseline, after all steps of each; None for the baseline."""
    widest_gap: Estimate | None = None
    """How far apart the held-out curves of arm and baseline ever are, with the reach of their simultaneous band."""
    diverged: list[int] = field(default_factory=list)
    """Seeds whose loss was not finite, or whose held-out loss ended above where it began."""
    clipped_share: Estimate | None = None
    """Share of the steps whose gradient was clipped; None where the recipe clips none."""
    seed_spread: Estimate = NOT_MEASURED
    """Standard deviation over replicates of the held-out loss at the end."""
    by_seed: list[SeedResult] = field(default_factory=list)
    """The replicates one by one."""


@dataclass(frozen=True)
class Checks:
    """What the run proves about itself."""

    pairing_holds: bool
    """False if any hash of weights or windows differs between arms."""
    pairing: str
    """One sentence: what was compared and what was found."""
    frozen_holds: bool
    """False if any frozen weight moved."""
    frozen: str
    """One sentence: how much was compared and what was found."""
    failed: list[str]
    """One sentence for each arm and replicate that failed."""


@dataclass(frozen=True)
class VariantSummary:
    """The experiment at one value of what it varies."""

    variant: str
    """Label, such as `corpus.tokens=4000`; '' where nothing varies."""
    model: str
    """Source of the model."""
    parameters: int
    """Numbers in the model."""
    layers: int
    """Decoder layers."""
    corpus: str
    """What the corpus is."""
    corpus_sha256: str
    """Hash of its content."""
    corpus_tokens: int
    """Tokens in it."""
    corpus_rows: int
    """Rows met in it, those left out among them; 0 for plain text and in journals of 0.1.0."""
    corpus_left_out: dict[str, int]
    """Rows left out, by reason."""
    corpus_cut: int
    """Conversations of which a part is left out, as they are longer than a window; 0 in journals of 0.1.0."""
    template_date: str | None
    """Day that the chat template took for today, such as `2026-03-01`; null where it does not ask."""
    windows: int
    """Training windows of an epoch."""
    held_out_windows: int
    """Windows kept for evaluation."""
    beginning: str
    """What every window begins with, such as `<bos>`; '' where the model expects nothing before a text."""
    duplicates: int
    """Rows, or paragraphs of a plain text, that repeat an earlier one exactly."""
    held_out_overlap: float
    """Share of the held-out windows' runs of 16 tokens that stand in the training text too, from 0 to 1."""
    epochs: float
    """How often the run read the corpus."""
    precision: str
    """`fp32` or `bf16`."""
    device: str
    """Device on which it ran."""
    schedule: str
    """`lock-step` or `one-by-one`."""
    common_share_of_corpus: float
    """p of the corpus itself."""
    checks: Checks
    """What the run proves about itself."""
    quality_before: dict[str, Estimate]
    """Text quality of the untouched model's continuations."""
    arms: dict[str, ArmSummary]
    """Summary of each arm by name, the baseline among them."""
    comparisons: list[Comparison]
    """Every arm against the baseline, in every measure."""
    held_out_copied_windows: int | None = None
    """Held-out windows with a run of 16 tokens that also stands in the training text; None in journals of 0.1.0."""
    retention: str = ""
    """What forgetting was measured on; '' where it was not."""
    quality_reference: dict[str, Estimate] = field(default_factory=dict)
    """The same of how the held-out text itself goes on, with its `common_share`; empty for journals of 0.1.0."""
    judge: str = ""
    """The model that judges generated text; '' where there is none."""
    race_windows: int = 0
    """Windows set apart for races of learning rates; 0 where every rate is given."""
    rates: dict[str, RateCurve] = field(default_factory=dict)
    """The race of each arm that held one, by name: `learning_rate: best`."""
    bottom_line: list[str] = field(default_factory=list)
    """What freezing costs and saves, in sentences for who knows nothing of the experiment; the first says most."""
    cost_details: list[str] = field(default_factory=list)
    """Each arm beside the baseline at equal time, and down to an equal loss, one sentence each."""
    fronts: list[FrontPoint] = field(default_factory=list)
    """Every arm in the trade of loss against time and against memory."""


@dataclass(frozen=True)
class RunSummary:
    """The whole of `summary.json`."""

    format: int
    """Version of this shape."""
    name: str
    """Name of the experiment."""
    question: str
    """What the experiment asks."""
    answer: list[str]
    """The answer in plain words with numbers, one sentence each."""
    status: str
    """`finished` or `interrupted`."""
    frostline_version: str
    """That ran it."""
    recipe_sha256: str
    """Hash of the resolved recipe."""
    started_at: str
    """ISO 8601, UTC."""
    seconds: float | None
    """Duration of the whole run; None if its end is not recorded."""
    environment: dict[str, str]
    """Machine, versions, threads."""
    changes: list[str]
    """Conditions that were others after the run was resumed, as its user accepted; empty where none were."""
    baseline: str
    """The arm that others are compared with."""
    seeds: list[int]
    """One replicate each."""
    steps: int
    """Optimizer steps asked for."""
    batch: int
    """Windows of one forward pass."""
    accumulation: int
    """Forward and backward passes of a step."""
    window_length: int
    """Tokens of a window."""
    order: str
    """`epochs` or `random`."""
    claims: list[ClaimResult]
    """C1 to C12, for each arm that they speak of."""
    variants: list[VariantSummary]
    """One where nothing varies."""
    budget_seconds: float | None = None
    """Step time that every arm was given, from which its number of steps follows; None where the steps were named."""
    judged_by: str = FIRST_RULES
    """The version whose rules judged the claims and gave the answer."""
