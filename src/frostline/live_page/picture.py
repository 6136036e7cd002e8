"""What does a person want to see of a run while it goes on? One picture of it, kept up to date from its journal.

It is of bounded size whatever the run's length: series are thinned (`series`), of samples and messages the newest are
kept. Several pages look at one picture: each is sent what has changed since it was last sent something. Nothing here
judges: there is no verdict, interval or test before a run has ended, since whoever looks often enough finds one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from threading import Lock

from frostline.errors import FrostlineError
from frostline.live_page.arm_picture import ArmPicture, number, shown, whole
from frostline.live_page.sentences import sentence_of
from frostline.live_page.standing import has_report, standing_of
from frostline.recipe import Recipe, load_recipe
from frostline.run_folder import RECIPE_FILE, RUN_FILE, ArmPlace, CutBack, JournalFollower, JournalLine

KINDS = frozenset(
    {
        "RunStarted", "RunResumed", "VariantPrepared", "StepsSettled", "LayerFilled", "RateTried", "RateChosen",
        "ArmStarted", "PlanChanged", "StepTaken", "Evaluation", "WatchedMatrices", "Continuation", "PeakMemory",
        "FrozenChecked", "ArmFinished", "ArmFailed", "RunEnded",
    }
)  # fmt: skip
"""Records that are looked at; of the others, lines are counted and not read."""
MOST_MESSAGES, MOST_SAMPLES, LONGEST_TEXT = 100, 24, 2000
LOOK_SECONDS = 0.1
"""After so long a look leaves the rest to the next one, so that nobody waits for a picture of a long journal."""
REMEMBERED = 128
"""Looks that a page which was cut off for a while can go on from."""


@dataclass
class Sent:
    """What a page has been sent: parts up to a version, and of each series so many points."""

    version: int = -1
    series: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """By series: its arm's epoch, its stride, its number of points."""


class RunPicture:
    """The picture of the run in `folder`, which may not be there yet. Any thread may look and ask for news."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = Lock()
        self._version = 0
        self._epochs = 0
        self._history: deque[tuple[str, Sent]] = deque(maxlen=REMEMBERED)
        self.looked = False
        """Whether there is anything to see yet."""
        self._begin()

    def _begin(self) -> None:
        """Nothing is known yet, or not any more."""
        self._follower = JournalFollower(self.folder, kinds=KINDS)
        self._recipe: Recipe | None = None
        self._parts: dict[str, tuple[int, object]] = {}
        self._arms: dict[ArmPlace, ArmPicture] = {}
        self._files: dict[str, ArmPlace] = {}
        self._messages: dict[tuple[str, int], dict[str, str]] = {}
        self._samples: dict[str, list[dict[str, object]]] = {}
        self._steps: dict[tuple[str, str], int] = {}
        self._prepared: dict[str, dict[str, object]] = {}
        self._memory: dict[str, float | None] = {}
        self._began = self._ended = ""
        self._took: float | None = None
        self._newest = self._trouble = ""
        self._version += 1
        self._first_version = self._version

    @property
    def newest(self) -> str:
        """The newest line that was read: its file and its number."""
        return self._newest

    def look(self) -> bool:
        """Read what is new in the journal; whether there may be more, as a look does not take long."""
        with self._lock:
            more, until = False, time.monotonic() + LOOK_SECONDS
            try:
                for change in self._follower.read_new():
                    if isinstance(change, CutBack):
                        self._go_back(change)
                        return True  # what was cut is read anew
                    self._take(change)
                    if more := time.monotonic() > until:
                        break
                self._trouble = ""
            except (FrostlineError, OSError) as error:
                self._trouble = shown(error, 400)
            self._draw(settled=not more)
            self.looked = True
            if not self._history or self._history[-1][0] != self._newest:
                known = {
                    _key(place, kind): (own.epoch, own.series[kind].stride, len(own.series[kind]))
                    for place, own in self._arms.items()
                    for kind in own.series
                }
                self._history.append((self._newest, Sent(self._version, known)))
            return more

    def sent_until(self, newest: str | None) -> Sent:
        """What a page was sent that has seen the line `newest`; nothing where that is not known any more."""
        with self._lock:
            found = next((sent for line, sent in self._history if newest and line == newest), Sent())
            return Sent(found.version, dict(found.series))

    def news(self, sent: Sent) -> dict[str, object] | None:
        """What has changed since `sent`, which is brought up to date; None where nothing has."""
        if sent.version == self._version:
            return None
        with self._lock:
            all_anew = sent.version < self._first_version
            if all_anew:
                sent.version, sent.series = -1, {}
            parts = {name: value for name, (version, value) in self._parts.items() if version > sent.version}
            series = [points for place, own in self._arms.items() for points in _new_points(place, own, sent)]
            sent.version = self._version
            return {"whole": all_anew, "parts": parts, "series": series} if all_anew or parts or series else None

    def files_of(self, variant: str, seed: int) -> dict[str, str]:
        """The journal's file about each arm of one replicate, by the arm's name as it is shown."""
        with self._lock:
            return {
                shown(own.arm): file
                for file, own in self._files.items()
                if own.arm and (shown(own.variant), own.seed) == (variant, seed)
            }

    def _go_back(self, cut: CutBack) -> None:
        """The run was stopped, and goes on from an earlier place: that file is read anew."""
        if cut.file == RUN_FILE:
            self._begin()
            return
        self._follower.read_anew(cut.file)
        place = self._files.pop(cut.file, None)
        self._messages = {key: own for key, own in self._messages.items() if key[0] != cut.file}
        if place is not None:
            self._arms.pop(place, None)
            # Pages are told of an arm that is not there any more by being sent everything.
            self._first_version = self._version = self._version + 1

    def _take(self, line: JournalLine) -> None:
        values, kind = line.values, line.values["kind"]
        self._version += 1
        self._newest = f"{line.file}:{line.sequence}"
        news = sentence_of(values)
        if news is not None:
            self._messages[line.file, line.sequence] = {"text": shown(news[0], 500), "tone": news[1]}
            while len(self._messages) > MOST_MESSAGES:
                del self._messages[next(iter(self._messages))]
        if line.file == RUN_FILE:
            self._take_of_run(values)
        elif kind == "Continuation":
            self._take_text(values)
        else:
            place = ArmPlace(str(values.get("variant")), whole(values.get("seed")), str(values.get("arm")))
            if line.file not in self._files:
                self._epochs += 1
                self._files[line.file] = place
                self._arms[place] = ArmPicture(place, self._epochs)
            self._arms[self._files[line.file]].take(values, self._version)

    def _take_of_run(self, values: Mapping[str, object]) -> None:
        kind, variant = values["kind"], str(values.get("variant", ""))
        if kind == "RunStarted":
            self._began = shown(values.get("at"))
        elif kind == "VariantPrepared":
            corpus = values.get("corpus")
            text = corpus.get("description", "") if isinstance(corpus, dict) else ""
            self._prepared[variant] = {
                "variant": shown(variant),
                "model": shown(values.get("model")),
                "corpus": shown(text, 400),
                "layers": whole(values.get("layers")),
                "device": shown(values.get("device")),
                "precision": shown(values.get("precision")),
            }
        elif kind == "StepsSettled":
            self._steps[variant, str(values.get("arm"))] = whole(values.get("steps"))
        elif kind == "PeakMemory":
            self._memory[shown(values.get("arm"))] = number(values.get("peak_bytes"))
        elif kind == "RunEnded":
            self._ended, self._took = shown(values.get("status")), number(values.get("seconds"))
        if kind != "RunEnded":
            self._ended, self._took = "", None

    def _take_text(self, values: Mapping[str, object]) -> None:
        """Of each arm the texts of its newest replicate stay."""
        if values.get("draw"):
            return
        key, seed = f"{values.get('variant')} {values.get('arm')}", whole(values.get("seed"))
        kept = [own for own in self._samples.get(key, []) if own["seed"] == seed]
        prompt = whole(values.get("prompt_index"))
        if prompt < MOST_SAMPLES:
            text = shown(values.get("text"), LONGEST_TEXT)
            own = {"seed": seed, "index": prompt, "prompt": shown(values.get("prompt"), LONGEST_TEXT), "text": text}
            named = {"variant": shown(values.get("variant")), "arm": shown(values.get("arm"))}
            kept = [*(other for other in kept if other["index"] != prompt), named | own]
        self._samples[key] = kept

    def _draw(self, *, settled: bool) -> None:
        """Set the parts of the picture; `settled`: all that the journal has was read."""
        recipe_file = self.folder / RECIPE_FILE
        if self._recipe is None and recipe_file.is_file() and not recipe_file.is_symlink():
            with suppress(FrostlineError):
                self._recipe = load_recipe(recipe_file)
        self._set("run", self._run(settled))
        self._set("messages", list(self._messages.values()))
        self._set("variants", list(self._prepared.values()))
        for key, texts in self._samples.items():
            self._set(f"samples {key}", texts)
        for place, own in self._arms.items():
            name = _key(place, "arm")
            self._set(name, own.shown(self._steps_of(place)))
            if own.status == "training" or f"plan {name}" not in self._parts:
                layers = whole(self._prepared.get(place.variant, {}).get("layers"))
                drawn = own.grid(layers) if layers else None
                named = {"variant": shown(place.variant), "seed": place.seed, "arm": shown(place.arm)}
                self._set(f"plan {name}", named | {"grid": drawn})

    def _run(self, settled: bool) -> dict[str, object]:
        standing = standing_of(self.folder, self._ended)
        recipe = self._recipe
        # What has begun is shown, even where the recipe cannot be read.
        arms = list(dict.fromkeys([*(() if recipe is None else recipe.arms), *(place.arm for place in self._arms)]))
        seeds = list(dict.fromkeys([*(() if recipe is None else recipe.seeds), *(place.seed for place in self._arms)]))
        variants = 1 if recipe is None else prod(len(values) for values in recipe.vary.values())
        ended = {place[:2]: 0 for place in self._arms}
        for place, own in self._arms.items():
            ended[place[:2]] += own.status != "training"
        of = {arm: self._steps_of(ArmPlace("", 0, arm)) or 0 for arm in arms}
        return {
            "name": shown(self.folder.name if recipe is None else recipe.name),
            "folder": shown(self.folder.name),
            "question": "" if recipe is None else shown(recipe.question, 600),
            "arms": [shown(arm) for arm in arms],
            "baseline": "" if recipe is None else shown(recipe.baseline_arm),
            "seeds": seeds,
            "steps": max(of.values(), default=0),
            "status": standing.status,
            "reading": not settled,
            "now": standing.now,
            "seconds_left": None if standing.seconds_left is None else round(standing.seconds_left),
            "memory": None if standing.memory is None else round(standing.memory, -7),
            "peaks": self._memory.copy(),
            "stops": standing.writer is not None and standing.writer.stops and standing.status == "going on",
            "report": has_report(self.folder),
            "began": self._began,
            "took": self._took,
            "replicates": [sum(count >= len(arms) > 0 for count in ended.values()), len(seeds) * variants],
            "steps_done": [sum(own.steps for own in self._arms.values()), sum(of.values()) * len(seeds) * variants],
            "trouble": self._trouble,
        }

    def _steps_of(self, place: ArmPlace) -> int | None:
        """Steps that an arm is to take."""
        settled = [steps for (variant, arm), steps in self._steps.items() if arm == place.arm]
        own = self._steps.get((place.variant, place.arm), max(settled, default=None))
        return own if own is not None or self._recipe is None else self._recipe.training.steps

    def _set(self, name: str, value: object) -> None:
        """A part of the picture; it is sent again where it is another."""
        if name not in self._parts or self._parts[name][1] != value:
            self._version += 1
            self._parts[name] = (self._version, value)


def _key(place: ArmPlace, kind: str) -> str:
    return f"{kind} {place.seed} {place.arm} {place.variant}"


def _new_points(place: ArmPlace, own: ArmPicture, sent: Sent) -> Iterator[dict[str, object]]:
    """What a page does not have of an arm's series yet."""
    for kind, series in own.series.items():
        key = _key(place, kind)
        epoch, stride, known = sent.series.get(key, (-1, 0, 0))
        going_on = (epoch, stride) == (own.epoch, series.stride)
        if going_on and own.points_at[kind] <= sent.version:
            continue
        first = max(0, known - 1) if going_on else 0  # the last one may have grown
        sent.series[key] = (own.epoch, series.stride, len(series))
        named = {"variant": shown(place.variant), "seed": place.seed, "arm": shown(place.arm), "kind": kind}
        yield {**named, "stride": series.stride, "first": first, "points": list(series.points(first))}
