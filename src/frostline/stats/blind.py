"""Which of two arms writes what a person likes better? Pairs of texts without names, and a sign test of the choices.

Two texts that two arms wrote to the same prompt, with the same dice, are shown as A and B; which arm is A is drawn anew
for each pair, and so is the order of the pairs. Nothing but the drawing's number decides it: pairs are made again from
the run when choices are read back, so that a file of choices names no arm's text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy import stats

from frostline.errors import FrostlineError, RunFolderError, nearest
from frostline.stats.runs import RecordedRun, VariantRun, read_run
from frostline.stats.wording import p_text

PLACES = ("A", "B")
SAME = "same"
"""Chosen where a person sees no difference."""
FORMAT = 1
LARGEST_BYTES = 1_000_000
PickedPlace = Literal["A", "B", "same"]


@dataclass(frozen=True)
class BlindPair:
    """Two texts to one prompt."""

    variant: str
    seed: int
    prompt_index: int
    prompt: str
    texts: tuple[str, str]
    """As they are shown: A and B."""
    arms: tuple[str, str]
    """Who wrote them."""


@dataclass(frozen=True)
class BlindTest:
    """All that is to be chosen from."""

    run: str
    """Name of the experiment."""
    arms: tuple[str, str]
    drawing: int
    """Number by which the order was drawn."""
    pairs: tuple[BlindPair, ...]
    identical: int
    """Pairs of two equal texts, left out."""

    @property
    def sha256(self) -> str:
        """By which a page and its choices are known again."""
        parts = [asdict(pair) for pair in self.pairs]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class BlindResult:
    """What a person has chosen."""

    arms: tuple[str, str]
    chosen: tuple[int, int]
    """How often each arm's text was."""
    same: int
    """Pairs in which no difference was seen; the test leaves them out."""
    left: int
    """Pairs of which nothing was said."""
    p_value: float | None
    """Two-sided exact sign test of both arms being chosen alike; None where neither ever was."""

    @property
    def sentence(self) -> str:
        """The result in words."""
        (first, second), (one, two) = self.arms, self.chosen
        p = "" if self.p_value is None else f" (exact sign test, {p_text(self.p_value)})"
        left = f"; {self.left} pairs were not looked at" if self.left else ""
        return f"{first} was chosen {one} times and {second} {two} times{p}; no difference in {self.same}{left}."


class _Choices(BaseModel):
    """The file that the page saves."""

    model_config = ConfigDict(extra="forbid", strict=True)
    format: Literal[1]
    page: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    arms: Annotated[list[str], Field(min_length=2, max_length=2)]
    drawing: Annotated[int, Field(ge=0)]
    choices: list[PickedPlace | None]


def blind_test(run_folder: Path, arms: Sequence[str] | None = None, drawing: int = 0) -> BlindTest:
    """The pairs of texts of two arms of a run: the baseline and the first other, unless named.

    Raises `RunFolderError` where there is no such arm, or no text of both.
    """
    run = read_run(run_folder)
    first, second = _two_arms(run, run_folder, arms)
    pairs: list[BlindPair] = []
    identical = 0
    for variant in run.variants:
        for seed in variant.seeds:
            found = _pairs_of(variant, seed, (first, second))
            pairs += [pair for pair in found if pair.texts[0] != pair.texts[1]]
            identical += sum(pair.texts[0] == pair.texts[1] for pair in found)
    if not pairs:
        why = f"the {identical} texts of both are equal" if identical else "no replicate has text of both"
        raise RunFolderError(
            f"{run_folder}: {first} and {second} cannot be compared: {why}.",
            "Name two arms that train differently and finished, in a run that samples text (measures.sampling).",
        )
    generator = np.random.Generator(np.random.Philox(drawing))
    shuffled = [pairs[place] for place in generator.permutation(len(pairs)).tolist()]
    turned = generator.integers(2, size=len(pairs)).tolist()
    shown = tuple(_turned(pair) if turn else pair for pair, turn in zip(shuffled, turned, strict=True))
    return BlindTest(run.recipe.name, (first, second), drawing, shown, identical)


def read_choices(run_folder: Path, path: Path) -> BlindResult:
    """What a person has chosen on a page of the run, from the file that the page saved. Raises `FrostlineError`."""
    way_out = "Give the file that the page saved."
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_BYTES:
            what = "too large for a file of choices" if path.is_file() else "there is no such file"
            raise FrostlineError(f"{path}: {what}.", way_out)
        found = _Choices.model_validate_json(path.read_bytes())
    except OSError as error:
        raise FrostlineError(
            f"{path}: cannot be read ({error.strerror}).", "Give the file that the page saved."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = (
            f" ('{place}' is not right)" if place else ": it is not JSON" if first["type"] == "json_invalid" else ""
        )
        raise FrostlineError(f"{path}: not a file of choices{reason}.", way_out) from error
    test = blind_test(run_folder, found.arms, found.drawing)
    if found.page != test.sha256 or len(found.choices) != len(test.pairs):
        raise FrostlineError(
            f"{path}: its choices are not of this run's texts.", "Give the run folder that the page was made of."
        )
    return result_of(test, found.choices)


def result_of(test: BlindTest, choices: Sequence[str | None]) -> BlindResult:
    """The sign test of `choices`, one for each pair: a place, `same`, or None where nothing was said."""
    counts = dict.fromkeys(test.arms, 0)
    for pair, choice in zip(test.pairs, choices, strict=True):
        if choice in PLACES:
            counts[pair.arms[PLACES.index(choice)]] += 1
    first, second = (counts[arm] for arm in test.arms)
    p = float(stats.binomtest(first, first + second).pvalue) if first + second else None
    same = sum(choice == SAME for choice in choices)
    return BlindResult(test.arms, (first, second), same, sum(choice is None for choice in choices), p)


def _two_arms(run: RecordedRun, run_folder: Path, arms: Sequence[str] | None) -> tuple[str, str]:
    known = list(run.recipe.arms)
    if arms is None:
        others = [arm for arm in known if arm != run.recipe.baseline_arm]
        if not others:
            raise RunFolderError(
                f"{run_folder}: it has one arm, and two are compared.", "Give a run with several arms."
            )
        return run.recipe.baseline_arm, others[0]
    if len(arms) != 2 or arms[0] == arms[1]:
        raise FrostlineError(f"'{','.join(arms)}' does not name two arms.", f"Arms of the run: {', '.join(known)}.")
    for arm in arms:
        if arm not in known:
            hint = nearest(arm, known) or f"Arms of the run: {', '.join(known)}."
            raise RunFolderError(f"{run_folder}: it has no arm '{arm}'.", hint)
    return arms[0], arms[1]


def _pairs_of(variant: VariantRun, seed: int, arms: tuple[str, str]) -> list[BlindPair]:
    runs = [variant.runs.get((seed, arm)) for arm in arms]
    texts = [{text.prompt_index: text for text in (() if run is None else run.text) if text.draw == 0} for run in runs]
    return [
        BlindPair(variant.label, seed, index, one.prompt, (one.text, texts[1][index].text), arms)
        for index, one in texts[0].items()
        if index in texts[1]
    ]


def _turned(pair: BlindPair) -> BlindPair:
    texts, arms = (pair.texts[1], pair.texts[0]), (pair.arms[1], pair.arms[0])
    return BlindPair(pair.variant, pair.seed, pair.prompt_index, pair.prompt, texts, arms)
