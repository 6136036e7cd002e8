"""What do an arm's lines in the journal become? Rows by step.

The row of step k holds the loss of the weights after k steps: on the batch that step k takes, and held out where that
was measured then. It is whole once the step was taken; the last one, after all steps, once the arm has finished.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from frostline.trackers.tracker import Row, Status

KINDS = frozenset({"ArmStarted", "PlanChanged", "StepTaken", "Evaluation", "Continuation", "ArmFinished", "ArmFailed"})
"""Records that say something to a tracker."""
CONFIG = (
    "plan", "learning_rate", "weight_decay", "parameters", "trained_parameters", "prefix_layers", "initial_sha256",
    "reused_from",
)  # fmt: skip
STEP_VALUES = {
    "loss_nats": "loss",
    "gradient_norm": "gradient_norm",
    "learning_rate": "learning_rate",
    "seconds": "step_seconds",
}


@dataclass
class ArmRows:
    """An arm of a replicate, as far as its file has been read."""

    variant: str
    seed: int
    arm: str
    config: dict[str, str | int | float]
    rows: list[Row] = field(default_factory=list)
    """Those that are whole and were not taken yet."""
    status: Status | None = None
    """How it ended; None while it goes on, or waits to."""
    _step: int = 0
    _values: dict[str, float] = field(default_factory=dict)
    _texts: dict[str, str] = field(default_factory=dict)
    _tokens: int = 0
    _seconds: float = 0.0

    def read(self, line: Mapping[str, object]) -> None:
        """Take the next line of the file."""
        kind = line["kind"]
        if kind == "StepTaken":
            self._read_step(line)
        elif kind == "PlanChanged":
            self._note("trained_parameters", line["trained_parameters"])
        elif kind == "Evaluation":
            self._step = _whole(line["step"])
            self._note(f"{line['corpus']}_loss", line["loss_nats"])
        elif kind == "Continuation" and line.get("draw", 0) == 0:
            self._texts[f"text_{line['prompt_index']}"] = _as_code(str(line["prompt"]), str(line["text"]))
        elif kind == "ArmFinished":
            self._end_row()
            self.status = "finished"
        elif kind == "ArmFailed":
            # Its last row is not whole, and will be if it is tried again.
            self.status = "failed"

    def taken(self) -> list[Row]:
        """The rows, which are forgotten."""
        rows, self.rows = self.rows, []
        return rows

    def _read_step(self, line: Mapping[str, object]) -> None:
        self._step = _whole(line["step"])
        for name, metric in STEP_VALUES.items():
            self._note(metric, line[name])
        self._tokens += _whole(line["tokens"])
        self._note("tokens", self._tokens)
        seconds = line["seconds"]
        self._seconds += seconds if isinstance(seconds, float) else 0.0
        self._end_row()

    def _note(self, metric: str, value: object) -> None:
        if isinstance(value, int | float):  # null stands for what is not finite
            self._values[metric] = float(value)

    def _end_row(self) -> None:
        if self._values or self._texts:
            self.rows.append(Row(self._step, self._seconds, self._values, self._texts))
        self._values, self._texts = {}, {}


def begun_arm(line: Mapping[str, object]) -> ArmRows:
    """The arm that an `ArmStarted` begins."""
    place = str(line["variant"]), _whole(line["seed"]), str(line["arm"])
    config: dict[str, str | int | float] = {"variant": place[0], "seed": place[1], "arm": place[2]}
    for name in CONFIG:
        value = line.get(name)
        if isinstance(value, str | int | float) and value != "":
            config[name] = value
    return ArmRows(*place, config)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _as_code(prompt: str, text: str) -> str:
    """A text that a model wrote, so that nothing in it is taken for markup."""
    quoted = (f"    {line}" for line in f"{prompt}⟶{text}".splitlines())
    return "\n".join(quoted)
