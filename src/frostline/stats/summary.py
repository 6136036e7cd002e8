"""The shape of `summary.json`: every number that the report prints, under documented keys.

Frozen dataclasses that turn into JSON with `dataclasses.asdict`. `None` means 'not measured in this run'.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FORMAT = 1


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
