"""The shape of `summary.json`: every number that the report prints, under documented keys.

Frozen dataclasses that turn into JSON with `dataclasses.asdict`. `None` means 'not measured in this run'.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from frostline.stats.arms import ArmSummary
from frostline.stats.checks import Checks
from frostline.stats.comparisons import Comparison
from frostline.stats.estimate import Estimate
from frostline.stats.rates import RateCurve

FORMAT = 1
FIRST_RULES = "0.1.0"
"""The version whose rules judged a summary that names none."""
RULES = "0.2.0"
"""The version that began to judge by the rules that hold now."""


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
    """Those of them whose lead is more than chance, in loss and in time: the test of the claims, Holm over arms."""


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
    inexact: list[str] = field(default_factory=list)
    """What of the training is inexact for all arms alike, such as `frozen matrices in nf4`; empty where nothing is."""


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
