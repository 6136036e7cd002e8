"""Which parameters should train, and from which step on? A plan: read from text or a recipe, written back in one line.

    train: [attn.qkv@50%:]; at 20 thaw: [mlp]; at 30 freeze: [attn]

Parts stand on lines of their own or are separated by `;`. Selectors with commas, brackets or blanks in their patterns
may be quoted with double quotes. What a plan means for a model, `plans` finds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import ValidationError

from frostline.errors import PlanError, nearest
from frostline.recipe.arms import ArmSettings, LoraSettings
from frostline.recipe.explain import sentence_of
from frostline.recipe.selectors import Selector, parse_selector, parse_selectors

_HINT = "A plan is written 'train: [SELECTOR, ...]' or 'freeze: [SELECTOR, ...]'."
_PART = re.compile(r"(?P<head>train|freeze|lora|at\s+(?P<at>[0-9]{1,9})\s+(?P<verb>thaw|freeze))\s*:(?P<rest>.*)", re.S)
_LORA = re.compile(
    r"\s*rank\s+(?P<rank>[0-9]{1,6})\s*(,\s*alpha\s+(?P<alpha>[0-9.eE+-]{1,30})\s*)?,\s*targets\s+(?P<targets>\[.*)",
    re.S | re.ASCII,
)


@dataclass(frozen=True)
class PlanChange:
    """From step `at` on (counted from 0), `thaw` trains further selectors or `freeze` stops training some."""

    at: int
    verb: Literal["thaw", "freeze"]
    selectors: tuple[Selector, ...]

    @property
    def text(self) -> str:
        """As written in a plan."""
        return f"at {self.at} {self.verb}: {_list_text(self.selectors)}"


@dataclass(frozen=True)
class WrittenPlan:
    """Which parameters train, independent of any model: exactly one of `train`, `freeze` and `lora` is set."""

    train: tuple[Selector, ...] | None = None
    """What trains; everything else is frozen."""
    freeze: tuple[Selector, ...] | None = None
    """What is frozen; everything else trains."""
    changes: tuple[PlanChange, ...] = ()
    """Changes over time, in the order of their steps."""
    lora: LoraSettings | None = None
    """Adapters train, and nothing of the model itself."""

    def __post_init__(self) -> None:
        given = [name for name in ("train", "freeze", "lora") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise PlanError(f"a plan names one of 'train', 'freeze' and 'lora'; found {found}.", _HINT)
        for name, selectors in (("train", self.train), ("freeze", self.freeze)):
            if selectors == ():
                raise PlanError(f"'{name}:' names no selector.", _HINT)
        if self.lora is not None and self.changes:
            raise PlanError("changes over time do not apply to a plan with 'lora'.")
        # Sorting keeps the order of changes at one step.
        object.__setattr__(self, "changes", tuple(sorted(self.changes, key=lambda change: change.at)))
        for change in self.changes:
            if change.at < 1:
                raise PlanError("a change comes at step 1 or later; at step 0 the plan itself begins.")
            if not change.selectors:
                raise PlanError(f"'at {change.at} {change.verb}:' names no selector.")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a plan such as `train: [attn.qkv@50%:]`. Raises `PlanError` saying what is wrong."""
        parts: dict[str, tuple[Selector, ...]] = {}
        changes: list[PlanChange] = []
        lora: LoraSettings | None = None
        for part in _split(text, ";\n"):
            match = _PART.fullmatch(part.strip())
            if match is None:
                raise _not_understood(part.strip())
            if match["at"] is not None:
                verb: Literal["thaw", "freeze"] = "thaw" if match["verb"] == "thaw" else "freeze"
                changes.append(PlanChange(int(match["at"]), verb, _parse_list(match["rest"])))
            elif match["head"] == "lora":
                if lora is not None:
                    raise PlanError("'lora:' is given twice.")
                lora = _parse_lora(match["rest"])
            elif match["head"] in parts:
                raise PlanError(f"'{match['head']}:' is given twice.", "Put all selectors into one list.")
            else:
                parts[match["head"]] = _parse_list(match["rest"])
        return cls(parts.get("train"), parts.get("freeze"), tuple(changes), lora)

    @classmethod
    def from_settings(cls, arm: ArmSettings) -> Self:
        """The plan of a recipe's arm; its selectors know where in the arm they were written."""
        changes = []
        for index, change in enumerate(arm.changes):
            verb: Literal["thaw", "freeze"] = "thaw" if change.thaw else "freeze"
            selectors = parse_selectors(change.thaw or change.freeze, "changes", index, verb)
            changes.append(PlanChange(change.at, verb, selectors))
        return cls(
            None if arm.train is None else parse_selectors(arm.train, "train"),
            None if arm.freeze is None else parse_selectors(arm.freeze, "freeze"),
            tuple(changes),
            None if arm.lora is None else _canonical(arm.lora),
        )

    @property
    def targets(self) -> tuple[Selector, ...]:
        """What carries an adapter; empty without `lora`."""
        return () if self.lora is None else parse_selectors(self.lora.targets, "lora", "targets")

    @property
    def selectors(self) -> tuple[Selector, ...]:
        """Every selector, in the order in which they are written."""
        changed = [selector for change in self.changes for selector in change.selectors]
        return (*(self.train or ()), *(self.freeze or ()), *changed, *self.targets)

    @property
    def text(self) -> str:
        """Canonical form in one line; `Plan.parse(plan.text) == plan`."""
        if self.lora is not None:
            alpha = "" if self.lora.alpha is None else f", alpha {_number_text(self.lora.alpha)}"
            return f"lora: rank {self.lora.rank}{alpha}, targets {_list_text(self.targets)}"
        verb, selectors = ("train", self.train) if self.train is not None else ("freeze", self.freeze)
        return "; ".join([f"{verb}: {_list_text(selectors or ())}", *(change.text for change in self.changes)])


def _split(text: str, separators: str) -> Iterator[str]:
    """The parts of `text` between separators that stand outside brackets and double quotes; empty ones left out."""
    start, depth, place = 0, 0, 0
    quoted = False
    while place < len(text):
        character = text[place]
        if character == "\\":
            place += 2  # an escaped bracket of a regular expression, or an escaped quote
            continue
        if character == '"':
            quoted = not quoted
        elif not quoted:
            depth += (character in "[({") - (character in "])}")
            if character in separators and depth <= 0:
                if text[start:place].strip():
                    yield text[start:place]
                start = place + 1
        place += 1
    if text[start:].strip():
        yield text[start:]


def _parse_list(text: str) -> tuple[Selector, ...]:
    text = text.strip()
    if text.startswith("["):
        if not text.endswith("]") or len(text) < 2:
            raise PlanError(f"the list '{_shortened(text)}' has no closing bracket.", _HINT)
        text = text[1:-1]
    return tuple(parse_selector(_unquoted(item.strip())) for item in _split(text, ","))


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PlanError(
            f"{_shortened(text)} is not a quoted selector.", "Backslashes are doubled in quotes."
        ) from error
    assert isinstance(value, str)
    return value


def _parse_lora(text: str) -> LoraSettings:
    match = _LORA.fullmatch(text)
    if match is None:
        raise PlanError(
            f"'lora:{_shortened(text)}' is not understood.", "Example: lora: rank 8, alpha 16, targets [attn.qkv]"
        )
    targets = [selector.text for selector in _parse_list(match["targets"])]
    if not targets:
        raise PlanError("'lora:' names no targets.", "Name matrices such as 'attn.qkv'.")
    try:
        alpha = None if match["alpha"] is None else float(match["alpha"])
    except ValueError as error:
        raise PlanError(f"'lora:': alpha: '{match['alpha']}' is no number.") from error
    try:
        values = {"rank": int(match["rank"]), "alpha": alpha, "targets": targets}
        return _canonical(LoraSettings.model_validate(values))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        message, _ = sentence_of(problem, problem["loc"], LoraSettings)
        raise PlanError(f"'lora:': {problem['loc'][0]}: {message}") from error


def _canonical(lora: LoraSettings) -> LoraSettings:
    """The same settings with their selectors in canonical form."""
    targets = tuple(selector.text for selector in parse_selectors(lora.targets, "lora", "targets"))
    return lora.model_copy(update={"targets": targets})


def _list_text(selectors: Sequence[Selector]) -> str:
    return "[" + ", ".join(map(_selector_text, selectors)) + "]"


def _selector_text(selector: Selector) -> str:
    # Rows have brackets of their own, which a plan is not divided in.
    return selector.text if selector.rows is not None else _quoted(selector.text)


def _quoted(text: str) -> str:
    """In double quotes where a bare selector would be read otherwise."""
    return json.dumps(text, ensure_ascii=False) if re.search(r"[\s,;\[\](){}\"\\]", text) else text


def _number_text(number: float) -> str:
    return str(int(number)) if number.is_integer() and number < 1e15 else repr(number)


def _not_understood(part: str) -> PlanError:
    word = re.split(r"[\s:\[]", part)[0]
    return PlanError(
        f"'{_shortened(part)}' is not understood.", nearest(word, ["train", "freeze", "lora", "at"]) or _HINT
    )


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
