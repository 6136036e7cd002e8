"""What happened? One frozen dataclass for each kind of line in the journal.

The journal is the truth of a run: the summary and the report follow from it alone. A record is written as one JSON
object with its `kind` and a `sequence` number that counts up within its file. Numbers that are not finite become
null. Fields in `WALL_CLOCK_FIELDS` depend on the machine's clock or memory, or on how a run was called and when it was
stopped; all others are a pure function of the recipe on one machine.

`variant` is the label of `Variant` ('' where nothing varies), `seed` names the replicate, `arm` the arm. `step` counts
from 0: record k describes the (k+1)-th optimizer step; evaluations count steps done, so 0 is before training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import TypeVar, get_args

from frostline.run_folder.advice_records import (
    AdviceEnded,
    AdviceStarted,
    CandidateMade,
    RungEnded,
    SignalMeasured,
    TrialFinished,
)
from frostline.run_folder.arm_place import ArmPlace, ArmRecord
from frostline.run_folder.rate_records import RateChosen, RateTried
from frostline.run_folder.text_records import Continuation, TrueContinuation

WALL_CLOCK_FIELDS = frozenset(
    {
        "at", "seconds", "seconds_in_all", "peak_bytes", "reserved_bytes", "environment", "fresh", "reused_from",
        "untimed", "checkpoint_steps", "seconds_per_step", "expected_seconds", "expected_seconds_cached",
        "expected_peak_bytes", "computed_windows", "computed_bytes",
        "fill_seconds", "processes",
    }
)  # fmt: skip


@dataclass(frozen=True)
class RunStarted:
    frostline_version: str
    recipe_sha256: str
    at: str
    """ISO 8601, UTC."""
    environment: dict[str, str]
    """Machine, versions, thread count: what `frostline env` prints."""
    fresh: bool = False
    """Whether arms that earlier runs trained are trained again."""


@dataclass(frozen=True)
class RunResumed:
    """The run went on under other conditions, which the user accepted. Going on under the same leaves no line."""

    at: str
    changes: list[str]
    """What had changed, in sentences."""


@dataclass(frozen=True)
class CorpusFacts:
    description: str
    sha256: str
    tokens: int
    distinct_tokens: int
    windows: int
    """Training windows of one epoch."""
    held_out_windows: int
    tokens_sha256: str = ""
    """Hash of the tokens that the content became; '' in journals of 0.1.0."""
    revision: str | None = None
    """Commit of a data set of the hub; None for what lies elsewhere."""
    rows: int = 0
    """Rows met in the source, those left out among them; 0 for plain text."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Rows left out, by reason."""
    beginning: list[int] = field(default_factory=list)
    """Token ids that every window begins with, as the model expects before a text; none in journals of 0.1.0."""
    beginning_text: str = ""
    """The same as text."""
    duplicates: int = 0
    """Rows of a table, or paragraphs of a plain text, that repeat an earlier one exactly."""
    held_out_overlap: float = 0.0
    """Share of the held-out windows' runs of 16 tokens that stand in the training text too, from 0 to 1."""
    cut: int = 0
    """Conversations of which a part is left out, as they are longer than a window."""
    held_out_window_overlap: list[float] = field(default_factory=list)
    """The same share for each held-out window, in their order; none in journals of 0.1.0."""
    own_text: list[list[int]] = field(default_factory=list)
    """Token ids of each window, where the untouched model wrote them itself; none for any other corpus."""
    race_windows: int = 0
    """Windows set apart for a race of learning rates, neither trained on nor held out."""
    template_date: str | None = None
    """The day that the chat template takes for today, on whatever day the run goes on; None where it does not ask."""
    held_out_files: list[str] = field(default_factory=list)
    """The file that each held-out window is from, in their order; none where the corpus is one file."""


@dataclass(frozen=True)
class VariantPrepared:
    variant: str
    model: str
    model_class: str
    model_sha256: str
    """Hash of every parameter and persistent buffer; in journals of 0.1.0 of the parameters alone, made otherwise."""
    parameters: int
    layers: int
    context_length: int | None
    corpus: CorpusFacts
    retention: CorpusFacts | None
    precision: str
    """`fp32` or `bf16`, after `auto` was settled."""
    device: str
    schedule: str
    common_tokens: list[str]
    """S as text, most frequent first."""
    common_share_of_corpus: float
    model_code: str | None = None
    """Pin of code that came with the model and was run; None where it needs none."""
    chosen: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """For each arm and each of its selectors that computed (`top:25% by snr`), the selectors that it became."""
    model_revision: str | None = None
    """Commit of a model of the hub; None for one that lies elsewhere."""
    configuration_sha256: str = ""
    """Hash of what decides the model's forward pass besides its weights; '' in journals of 0.1.0."""
    tokenizer_sha256: str = ""
    """Hash of what decides how text becomes tokens, and tokens text; '' in journals of 0.1.0."""
    judge: str = ""
    """The model that judges generated text, which is neither arm; '' where there is none."""
    judge_sha256: str = ""
    """Hash of what decides how the judge reads a text."""
    chosen_by_seed: dict[str, dict[str, dict[str, list[str]]]] = field(default_factory=dict)
    """For each seed, what selectors became that are drawn anew for it (`top:25% by random`), as in `chosen`."""


@dataclass(frozen=True)
class StepsSettled:
    """What a budget of time became for one arm, as it was timed once, before the run."""

    variant: str
    arm: str
    steps: int
    seconds_per_step: float


@dataclass(frozen=True)
class LayerFilled:
    """One frozen layer was run for all windows of a variant before training; its arms share what came of it."""

    variant: str
    layer: int
    """Counted from 0."""
    windows: int
    """Windows that will be read: of every step and seed, and those that losses are measured on."""
    computed_windows: int
    """Those whose hidden states were not there, from an earlier run or from before a kill."""
    computed_bytes: int
    """Size of these hidden states."""
    seconds: float
    """Seconds that this layer took; what a process did of it that was then killed is not among them."""


@dataclass(frozen=True)
class ArmStarted(ArmRecord):
    plan: str
    """The plan in one line, as `Plan.text` writes it."""
    learning_rate: float
    weight_decay: float
    parameters: int
    trained_parameters: int
    """Number of values that train at step 0; changes of the plan are in `PlanChanged`."""
    prefix_layers: int
    """Decoder layers below the lowest trainable parameter, 0 if embeddings train."""
    step_flops: float
    """Floating-point operations one step needs by analysis: forward, input gradients, weight gradients."""
    ceiling: float
    """Largest saving r against training everything that the needed operations allow, truncated backward."""
    ceiling_cached: float
    """Largest saving with the prefix's output stored instead of recomputed."""
    initial_sha256: str
    """Hash of every parameter and persistent buffer before this arm's first step."""
    reused_from: str = ""
    """The run that trained it, name and time, where its records were taken from there; '' where it was this run."""


@dataclass(frozen=True)
class PlanChanged(ArmRecord):
    step: int
    thawed: list[str]
    frozen: list[str]
    trained_parameters: int


@dataclass(frozen=True)
class StepTaken(ArmRecord):
    step: int
    loss_nats: float
    """Mean over the predicted tokens of this step."""
    gradient_norm: float
    """Before clipping."""
    learning_rate: float
    predictions: int
    """Tokens that the loss counts."""
    tokens: int
    """Tokens read."""
    windows_sha256: str
    """Hash of the window ids of this step."""
    untimed: bool
    """A warm-up step of the machine, left out of the timing: the first ones, and those after a resume."""
    seconds: float
    processes: int = 1
    """How many processes computed it together."""


@dataclass(frozen=True)
class Evaluation(ArmRecord):
    step: int
    corpus: str
    """`held_out`, `retention`, or `trained`: a fixed sample of training windows."""
    loss_nats: float
    predictions: int
    window_losses: list[float] = field(default_factory=list)
    """Mean loss of each window, in the order of the corpus's windows; none in journals of 0.1.0."""
    window_predictions: list[int] = field(default_factory=list)
    """Tokens that the loss counts in each."""


@dataclass(frozen=True)
class LossByFrequency(ArmRecord):
    """Held-out loss of common and rare tokens, before training and at its end."""

    step: int
    classes: list[str]
    """Classes of tokens, by the rank of their count in the training text."""
    loss_sums: list[list[float]]
    """For each held-out window, in order, the sum of the losses over the tokens of each class, nats."""
    predictions: list[list[int]]
    """For each held-out window, the tokens of each class that the loss counts."""


@dataclass(frozen=True)
class WatchedMatrices(ArmRecord):
    """The order of the lists in `WeightChange` and `FinalWeights`."""

    names: list[str]
    layers: list[int]
    roles: list[str]
    trained: list[bool]
    """Whether the plan trains the matrix at any step."""


@dataclass(frozen=True)
class WeightChange(ArmRecord):
    step: int
    change: list[float]
    """Frobenius norm of W_t - W_(t-1) of each watched matrix."""
    drift: list[float]
    """Frobenius norm of W_t - W_0."""


@dataclass(frozen=True)
class FinalNorms:
    """What training did to each watched matrix in all."""

    norm: list[float]
    """Frobenius norm of W_0."""
    drift: list[float]
    """Frobenius norm of W_T - W_0."""
    relative_drift: list[float]
    """drift / norm; 0 where nothing moved, infinite where something moved away from zero."""
    stable_rank: list[float]
    """Squared Frobenius norm over squared spectral norm of W_T - W_0; 0 where nothing moved."""


@dataclass(frozen=True)
class FinalWeights(FinalNorms, ArmRecord):
    """The norms of an arm; whose they are comes first, as in all records."""


@dataclass(frozen=True)
class PeakMemory:
    variant: str
    arm: str
    method: str
    """`process RSS` or `CUDA allocator`, measured with this arm alone in a process of its own."""
    peak_bytes: int
    model_bytes: int
    """Bytes of the model's weights, for scale."""
    reserved_bytes: int | None = None
    """On CUDA what the allocator held at most, `peak_bytes` of tensors included; null on a CPU."""


@dataclass(frozen=True)
class FrozenChecked(ArmRecord):
    checked_values: int
    """Numbers whose bytes were compared with the start."""
    moved: list[str]


@dataclass(frozen=True)
class ArmFinished(ArmRecord):
    steps: int
    optimizer_bytes: int
    final_sha256: str
    """Hash of every weight that the arm trained."""
    fill_seconds: float = 0.0
    """Its replicate's share of filling the rows that it starts from; 0 where none were filled."""


@dataclass(frozen=True)
class ArmFailed(ArmRecord):
    step: int
    cause: str
    checkpoint_steps: int = 0
    """Steps that its last good checkpoint holds, from which a retry goes on; 0 where there is none."""


@dataclass(frozen=True)
class RunEnded:
    status: str
    """`finished` or `interrupted`."""
    at: str
    seconds: float


Record = (
    RunStarted
    | RunResumed
    | VariantPrepared
    | StepsSettled
    | LayerFilled
    | RateTried
    | RateChosen
    | ArmStarted
    | PlanChanged
    | StepTaken
    | Evaluation
    | LossByFrequency
    | WatchedMatrices
    | WeightChange
    | FinalWeights
    | Continuation
    | TrueContinuation
    | PeakMemory
    | FrozenChecked
    | ArmFinished
    | ArmFailed
    | RunEnded
    | AdviceStarted
    | SignalMeasured
    | CandidateMade
    | TrialFinished
    | RungEnded
    | AdviceEnded
)
RECORD_KINDS: dict[str, type[Record]] = {kind.__name__: kind for kind in get_args(Record)}
AnyRecord = TypeVar("AnyRecord", bound=Record)


def record_of(kind: type[AnyRecord], place: ArmPlace, *sources: object, **values: object) -> AnyRecord:
    """The record of `kind` about `place`. Its other fields are `values`, else what the first source has by that name.

    Raises `TypeError` where a field is found nowhere and has no default.
    """
    found: dict[str, object] = {**place._asdict(), **values}
    for own in fields(kind):
        source = next((source for source in sources if hasattr(source, own.name)), None)
        if own.name not in found and source is not None:
            found[own.name] = getattr(source, own.name)
        elif own.name not in found and own.default is MISSING and own.default_factory is MISSING:
            names = ", ".join(type(source).__name__ for source in sources)
            raise TypeError(f"{kind.__name__}.{own.name}: given by none of {names}")
    make: Callable[..., AnyRecord] = kind
    return make(**found)
