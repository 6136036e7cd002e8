"""The shape of `summary.json`: every number that the report prints, under documented keys.

Frozen dataclasses that turn into JSON with `dataclasses.asdict`. `None` means 'not measured in this run'.
"""

from __future__ import annotations

from dataclasses import dataclass

FORMAT = 1


@dataclass(frozen=True)
class Estimate:
    """A number with its interval and the count behind it."""

    value: float | None
    low: float | None
    """Lower end of the 95 % interval; None where n does not allow one."""
    high: float | None
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
    measure: str
    difference: Estimate
    p_value: float | None
    """Exact sign-flip test, two-sided; None with fewer than 2 replicates."""
    p_holm: float | None
    """After Holm's correction over the arms of this measure."""
    verdict: str
    """`lower`, `higher` or `undecided`."""


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
    p_value: float | None
    sentence: str
    """What was found, with numbers, for a reader."""
    statistic: str
    null: str
    margin: str
    decides: str
    """What would decide it, where undecided; else ''."""
    variant: str = ""
    """The variant that it was tested on; '' where nothing varies, or if it concerns all variants together."""


@dataclass(frozen=True)
class ArmSummary:
    """One arm over all replicates of one variant. Estimates run over replicates unless their `method` differs."""

    arm: str
    plan: str
    learning_rate: float
    replicates: int
    """Replicates that finished."""
    failed: list[str]
    """One sentence for each replicate that failed."""
    parameters: int
    trained_parameters: int
    optimizer_bytes: int | None
    prefix_layers: int
    step_flops: float
    ceiling: float
    ceiling_cached: float
    loss_first: Estimate
    """Training loss of the first step."""
    loss_last: Estimate
    """Training loss, mean over the last tenth of the steps."""
    loss_slope: Estimate
    """Least-squares slope of the loss over steps, nats per step."""
    loss_variance_early: Estimate
    """Variance of the detrended loss over the first quarter of the steps, nats squared."""
    loss_variance: Estimate
    """The same over all steps."""
    held_out_before: Estimate
    held_out_after: Estimate
    overfitting: Estimate
    """Held-out minus training loss at the end."""
    retention_before: Estimate | None
    retention_after: Estimate | None
    forgetting: Estimate | None
    """Change of the loss on the retention corpus."""
    common_share_before: Estimate | None
    common_share_after: Estimate | None
    common_share_change: Estimate | None
    """delta p."""
    step_seconds: Estimate
    total_seconds: Estimate
    """T: sum of the timed steps."""
    saving: Estimate | None
    """r = (T_baseline - T) / T_baseline; None for the baseline."""
    tokens_per_second: Estimate
    peak_bytes: int | None
    quality: dict[str, Estimate]
    """distinct_1, distinct_2, distinct_3, repetition, self_bleu, length, perplexity, copied_share."""
    change_by_role: dict[str, Estimate]
    """Mean Frobenius norm of the weight change per step over the watched matrices of each role."""
    drift_by_role: dict[str, Estimate]
    relative_drift_by_role: dict[str, Estimate]
    stable_rank_by_role: dict[str, Estimate]


@dataclass(frozen=True)
class Checks:
    """What the run proves about itself."""

    pairing_holds: bool
    pairing: str
    """One sentence: what was compared and what was found."""
    frozen_holds: bool
    frozen: str
    failed: list[str]


@dataclass(frozen=True)
class VariantSummary:
    variant: str
    model: str
    parameters: int
    layers: int
    corpus: str
    corpus_sha256: str
    corpus_tokens: int
    windows: int
    held_out_windows: int
    epochs: float
    """How often the run read the corpus."""
    precision: str
    device: str
    schedule: str
    common_share_of_corpus: float
    checks: Checks
    quality_before: dict[str, Estimate]
    """Text quality of the untouched model's continuations."""
    arms: dict[str, ArmSummary]
    comparisons: list[Comparison]


@dataclass(frozen=True)
class RunSummary:
    format: int
    name: str
    question: str
    answer: list[str]
    """The answer in plain words with numbers, one sentence each."""
    status: str
    """`finished` or `interrupted`."""
    frostline_version: str
    recipe_sha256: str
    started_at: str
    seconds: float | None
    environment: dict[str, str]
    baseline: str
    seeds: list[int]
    steps: int
    batch: int
    accumulation: int
    window_length: int
    order: str
    claims: list[ClaimResult]
    variants: list[VariantSummary]
