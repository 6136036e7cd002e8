"""What does a selector name? `ROLE`, `ROLE@LAYERS`, `name:GLOB` or `re:REGEX`, read into a value and written back.

`embed[TOKENS]` and `head[TOKENS]` name rows of the vocabulary (`token_rows`).

`top:SHARE% by SIGNAL` (or `bottom:`) names what a signal of the model ranks highest: it means nothing until `signals`
has measured the signal and put selectors of the other kinds in its place.

What is wrong whatever the model is, is found here, without one: `plans` then finds what a selector matches.

LAYERS is a Python slice over the decoder layers, counted (`@6:`, `@:4`, `@-2:`, `@2:8`, `@::2`), one layer (`@3`,
`@-1`) or in percent of them (`@50%:` begins at layer floor(50 * layers / 100)). `name:` compares a shell pattern with
the whole parameter name, `re:` searches a regular expression in it.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from math import prod
from typing import Literal

import regex

from frostline.errors import Key, PlanError, at, nearest
from frostline.recipe.roles import LAYERED_ROLES, ROLES
from frostline.recipe.signal_names import RANDOM, require_choosing_signal
from frostline.recipe.token_rows import TokenRows, parse_rows, speaks_of_rows

MAXIMUM_LENGTH = 250
"""Characters of a selector at most: no GLOB or REGEX of a parameter name needs more."""
MAXIMUM_REPEATS = 1_000
"""Largest product of the counts of a REGEX, as in `(a{9}){9}`: reading one that repeats more takes all memory."""
_BOUND = re.compile(r"(?P<count>-?[0-9]{1,6})|(?P<percent>[0-9]{1,3}(\.[0-9]{1,6})?)%", re.ASCII)
_CHOICE = re.compile(r"(?P<share>[0-9]{1,3}(\.[0-9]{1,6})?)\s*%\s+by\s+(?P<signal>[a-z][a-z0-9-]{0,39})", re.ASCII)
_REPEATS = re.compile(r"\{\s*([0-9]+)\s*(?:,[\s0-9]*)?\}", re.ASCII)
_SET = re.compile(r"\[!?+\]?+[^\]]*\]")
"""A set of a GLOB, such as `[0-9]` or `[!a]`, as `fnmatch` reads it."""
_NOTHING = "(?!)"
"""What `fnmatch` makes of a set that no character is in."""
_NO_GLOB = re.compile(r"[\\^$|(){}\]]")
"""Means nothing in a GLOB and stands in no parameter name: a regular expression is meant."""
_CHOICE_HINT = "Example: top:25% by gradient-norm"
_GLOB_HINT = "Example: name:*.q_proj.weight"
_LAYERS_HINT = "Layers are a slice such as @6:, @:4, @-2:, @2:8, @50%:, or one layer such as @3."


@dataclass(frozen=True)
class Bound:
    """One end of a slice: a count of layers, or a percentage of them."""

    number: Decimal
    percent: bool = False

    @property
    def kind(self) -> Literal["percent", "from the first", "from the last"]:
        """What is counted."""
        return "percent" if self.percent else "from the first" if self.number >= 0 else "from the last"

    @property
    def text(self) -> str:
        """As written in a selector."""
        if not self.percent:
            return str(int(self.number))
        digits = format(self.number, "f")
        return (digits.rstrip("0").rstrip(".") if "." in digits else digits) + "%"

    def place(self, layers: int) -> int:
        """The bound as Python's slices understand it, of a model of `layers` layers."""
        return int(self.number * layers // 100) if self.percent else int(self.number)


@dataclass(frozen=True)
class LayerSlice:
    """Which decoder layers: a slice, or the single layer `start`."""

    start: Bound | None = None
    stop: Bound | None = None
    step: int = 1
    single: bool = False

    @property
    def empty(self) -> bool:
        """Whether it is no layer of any model, as `@8:2` or `@:0`."""
        if self.single:
            return False
        if self.stop is not None and self.stop.number == 0:
            return True
        if self.start is None:
            return False
        if self.start.percent and self.start.number == 100:
            return True
        # Ends of two kinds, such as @50%:8 or @-3:8, depend on the number of layers.
        alike = self.stop is not None and self.start.kind == self.stop.kind
        return alike and self.stop is not None and self.start.number >= self.stop.number

    @property
    def text(self) -> str:
        """As written behind the `@` of a selector."""
        start = "" if self.start is None else self.start.text
        if self.single:
            return start
        stop = "" if self.stop is None else self.stop.text
        return f"{start}:{stop}" + (f":{self.step}" if self.step != 1 else "")

    def of(self, layers: int) -> range:
        """The layers meant, in a model of `layers` layers. Raises `PlanError` where they are out of range or none."""
        for bound, last in ((self.start, layers - 1), (self.stop, layers)):
            if bound is not None and not bound.percent and not -layers <= bound.number <= last:
                raise PlanError(
                    f"'@{self.text}': layer {bound.text} is out of range: the model has {layers} layers.",
                    f"They are counted from 0 to {layers - 1}.",
                )
        start = None if self.start is None else self.start.place(layers)
        stop = None if self.stop is None else self.stop.place(layers)
        if self.single:
            assert start is not None
            return range(layers)[start : start + 1 or None]
        found = range(layers)[start : stop : self.step]
        if not found:
            raise PlanError(f"'@{self.text}' is none of the model's {layers} layers.", _LAYERS_HINT)
        return found


@dataclass(frozen=True)
class Choice:
    """What a selector that computes asks for."""

    end: Literal["top", "bottom"]
    share: Decimal
    """Percent of the values of what the signal ranks."""
    signal: str
    """Name of the signal; `random` draws instead, anew for each seed, and `random-NUMBER` the same for all."""

    @property
    def at_random(self) -> bool:
        """Whether it draws, and no signal chooses."""
        return self.signal.partition("-")[0] == RANDOM

    @property
    def for_each_seed(self) -> bool:
        """Whether it is drawn anew for each replicate."""
        return self.signal == RANDOM

    @property
    def random_number(self) -> int | None:
        """The number that a random choice is drawn by; None where a signal chooses, or each seed draws anew."""
        _, _, number = self.signal.partition("-")
        return int(number or 0) if self.at_random and not self.for_each_seed else None

    @property
    def text(self) -> str:
        """As written in a selector."""
        return f"{self.end}:{Bound(self.share, percent=True).text} by {self.signal}"


@dataclass(frozen=True)
class Selector:
    """A choice of parameters, independent of any model."""

    kind: Literal["role", "name", "re", "choice"]
    pattern: str
    """The role, the GLOB or the REGEX."""
    layers: LayerSlice | None = None
    choice: Choice | None = None
    """What is to be computed, where `kind` is `choice`."""
    rows: TokenRows | None = None
    """Which rows of the role's matrix; None for all of it."""
    keys: tuple[Key, ...] = field(default=(), compare=False, repr=False)
    """Where it was written in the settings that it was read from, such as `train`, 0; empty where from a text alone."""

    @property
    def text(self) -> str:
        """Canonical form; `parse_selector(selector.text) == selector`."""
        if self.choice is not None:
            return self.choice.text
        if self.kind != "role":
            return f"{self.kind}:{self.pattern}"
        if self.rows is not None:
            return f"{self.pattern}[{self.rows.text}]"
        return self.pattern if self.layers is None else f"{self.pattern}@{self.layers.text}"


def parse_selector(text: str) -> Selector:
    """Read one selector. Raises `PlanError` saying what is wrong with it."""
    text = text.strip()
    if speaks_of_rows(text):
        role, rows = parse_rows(text)
        return Selector("role", role, rows=rows)
    if len(text) > MAXIMUM_LENGTH:
        raise PlanError(f"'{text[:30]}...' is longer than {MAXIMUM_LENGTH} characters.")
    kind, colon, pattern = text.partition(":")
    if colon and kind in ("top", "bottom"):
        return _parse_choice("top" if kind == "top" else "bottom", pattern)
    if colon and kind in ("name", "re"):
        return _parse_pattern("name" if kind == "name" else "re", pattern)
    role, at, layers = text.partition("@")
    role = role.strip()
    if role not in ROLES:
        found = f"'{role}' is no role." if role else f"'{text}' names no role."
        hint = nearest(role, ROLES) or f"Roles: {', '.join(ROLES)}; or name:GLOB, re:REGEX."
        raise PlanError(found, hint)
    if not at:
        return Selector("role", role)
    if role not in LAYERED_ROLES:
        raise PlanError(f"'{text}': '{role}' has no layers.", f"Write '{role}' alone.")
    return Selector("role", role, _parse_layers(layers.strip(), text))


def parse_selectors(texts: Sequence[str], *keys: Key) -> tuple[Selector, ...]:
    """Read several selectors, the values of `keys`. Raises `PlanError` at the one that cannot be read."""
    selectors = []
    for index, text in enumerate(texts):
        with at(*keys, index):
            selectors.append(replace(parse_selector(text), keys=(*keys, index)))
    return tuple(selectors)


def _parse_choice(end: Literal["top", "bottom"], text: str) -> Selector:
    match = _CHOICE.fullmatch(text.strip())
    if match is None:
        raise PlanError(f"'{end}:{text}' is not understood.", _CHOICE_HINT)
    share = Decimal(match["share"]).normalize()
    if not 0 < share <= 100:
        raise PlanError(f"'{end}:{text}': the share is between 0 % and 100 %.", _CHOICE_HINT)
    choice = Choice(end, share, match["signal"])
    word, _, number = choice.signal.partition("-")
    if word != RANDOM:
        require_choosing_signal(choice.signal)
    elif number and not number.isdigit():
        raise PlanError(f"'{choice.text}': '{number}' is no seed.", "Write 'by random' or 'by random-7'.")
    return Selector("choice", choice.text, choice=choice)


def _parse_pattern(kind: Literal["name", "re"], pattern: str) -> Selector:
    what = "GLOB" if kind == "name" else "REGEX"
    pattern = pattern.strip()
    if not pattern or not pattern.isprintable():
        raise PlanError(f"'{kind}:' needs a {what} of printable characters behind it.", _GLOB_HINT)
    if kind == "name":
        _require_glob(pattern)
    else:
        _require_regex(pattern)
    return Selector(kind, pattern)


def _require_glob(pattern: str) -> None:
    """Raise `PlanError` for what `fnmatch` takes, but only to match no parameter name."""
    outside = _SET.sub("", pattern)
    if "[" in outside:
        raise PlanError(f"'name:{pattern}' is no valid GLOB: a '[' is not closed.", _GLOB_HINT)
    if _NOTHING in fnmatch.translate(pattern):
        raise PlanError(f"'name:{pattern}' is no valid GLOB: a range in '[...]' runs backwards.", _GLOB_HINT)
    foreign = _NO_GLOB.search(outside)
    if foreign is not None:
        raise PlanError(
            f"'name:{pattern}' is no valid GLOB: '{foreign.group()}' means nothing in it.",
            "A GLOB has *, ? and [...]; a regular expression is written re:REGEX.",
        )


def _require_regex(pattern: str) -> None:
    if prod(max(1, int(count)) for count in _REPEATS.findall(pattern)) > MAXIMUM_REPEATS:
        raise PlanError(f"'re:{pattern}' is no valid REGEX: it repeats more than {MAXIMUM_REPEATS:,} times.")
    try:
        regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError, MemoryError) as error:
        raise PlanError(f"'re:{pattern}' is no valid REGEX: {error}.") from error


def _parse_layers(text: str, selector: str) -> LayerSlice:
    parts = [part.strip() for part in text.split(":")]
    if len(parts) > 3 or text == "":
        raise PlanError(f"'{selector}': '{text}' is no slice of layers.", _LAYERS_HINT)
    start = _parse_bound(parts[0], selector)
    if len(parts) == 1:
        if start is None or start.percent:
            raise PlanError(f"'{selector}': '{text}' is no single layer.", f"Write '@{text}:' for a slice.")
        return LayerSlice(start, single=True)
    stop = _parse_bound(parts[1], selector)
    step = 1
    if len(parts) == 3 and parts[2]:
        if not re.fullmatch(r"[0-9]{1,6}", parts[2], re.ASCII) or int(parts[2]) == 0:
            raise PlanError(f"'{selector}': '{parts[2]}' is no step from layer to layer.", "Example: @::2")
        step = int(parts[2])
    layers = LayerSlice(start, stop, step)
    if layers.empty:
        raise PlanError(f"'{selector}': '{text}' is none of the layers of any model.", _LAYERS_HINT)
    return layers


def _parse_bound(text: str, selector: str) -> Bound | None:
    if not text:
        return None
    match = _BOUND.fullmatch(text)
    if match is None:
        raise PlanError(f"'{selector}': '{text}' is no layer.", _LAYERS_HINT)
    if match["count"] is not None:
        return Bound(Decimal(int(match["count"])))
    percent = Decimal(match["percent"]).normalize()
    if percent > 100:
        raise PlanError(f"'{selector}': '{text}' is more than all layers.", "Use 0% to 100%.")
    return Bound(percent, percent=True)
