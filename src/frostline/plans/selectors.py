"""What does a selector name? `ROLE`, `ROLE@LAYERS`, `name:GLOB` or `re:REGEX`, read into a value and written back.

`top:SHARE% by SIGNAL` (or `bottom:`) names what a signal of the model ranks highest: it means nothing until `advise`
has measured the signal and put selectors of the other kinds in its place.

LAYERS is a Python slice over the decoder layers, counted (`@6:`, `@:4`, `@-2:`, `@2:8`, `@::2`), one layer (`@3`,
`@-1`) or in percent of them (`@50%:` begins at layer floor(50 * layers / 100)). `name:` compares a shell pattern with
the whole parameter name, `re:` searches a regular expression in it.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import regex

from frostline.errors import PlanError, nearest
from frostline.plans.roles import GROUP_ROLES, LAYERED_ROLES, ROLES
from frostline.plans.types import ModelMap, Portion

MAXIMUM_PATTERN = 200
"""Characters of a GLOB or REGEX at most: no parameter name needs more."""
MATCHING_SECONDS = 0.2
"""Longest time to match one name: some patterns would take for ever."""
_BOUND = re.compile(r"(?P<count>-?[0-9]{1,6})|(?P<percent>[0-9]{1,3}(\.[0-9]{1,6})?)%", re.ASCII)
_CHOICE = re.compile(r"(?P<share>[0-9]{1,3}(\.[0-9]{1,6})?)\s*%\s+by\s+(?P<signal>[a-z][a-z0-9-]{0,39})", re.ASCII)
_LAYERS_HINT = "Layers are a slice such as @6:, @:4, @-2:, @2:8, @50%:, or one layer such as @3."


@dataclass(frozen=True)
class Bound:
    """One end of a slice: a count of layers, or a percentage of them."""

    number: Decimal
    percent: bool = False

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

    @property
    def text(self) -> str:
        """Canonical form; `parse_selector(selector.text) == selector`."""
        if self.choice is not None:
            return self.choice.text
        if self.kind != "role":
            return f"{self.kind}:{self.pattern}"
        return self.pattern if self.layers is None else f"{self.pattern}@{self.layers.text}"

    def matches(self, model_map: ModelMap) -> tuple[Portion, ...]:
        """The portions selected, in the model's order. Raises `PlanError` where there is none."""
        if self.choice is not None:
            raise PlanError(
                f"'{self.text}' is computed from the corpus, and here there is none.",
                "In a recipe it is computed for you; in Python, frostline.advise.settle_plan does it.",
            )
        if self.kind == "role":
            found = self._by_role(model_map)
        else:
            found = tuple(
                portion
                for portion in model_map.portions
                if any(self._matches_name(name) for name in (portion.parameter, *portion.aliases))
            )
        if not found:
            raise PlanError(f"'{self.text}' matches nothing in the model.", self._nearest_hint(model_map))
        return found

    def names_in(self, group: Sequence[str], model_map: ModelMap) -> list[str]:
        """Those names of one tied parameter that the selector speaks of: `head` of one side, `embed` of the other."""
        if self.kind != "role":
            return [name for name in group if self._matches_name(name)]
        if group[0] not in {portion.parameter for portion in self._by_role(model_map)}:
            return []
        if self.pattern == "head":
            return [name for name in group if name == model_map.head_name]
        if self.pattern == "embed":
            return [name for name in group if name != model_map.head_name]
        return list(group)

    def _matches_name(self, name: str) -> bool:
        if self.kind == "name":
            return fnmatch.fnmatchcase(name, self.pattern)
        try:
            return regex.search(self.pattern, name, timeout=MATCHING_SECONDS) is not None
        except TimeoutError as error:
            raise PlanError(f"'{self.text}' takes too long to match '{name}'.", "Write a simpler REGEX.") from error

    def _by_role(self, model_map: ModelMap) -> tuple[Portion, ...]:
        leaves = GROUP_ROLES.get(self.pattern, (self.pattern,))
        layers = None if self.layers is None else self.layers.of(model_map.layers)
        found = [
            portion
            for portion in model_map.portions
            if portion.role in leaves and (layers is None or portion.layer in layers)
        ]
        if self.pattern == "head":
            # A tied head has no weight of its own: the selector means the shared one.
            found += [portion for portion in model_map.portions if model_map.head_name in portion.aliases]
        return tuple(found)

    def _nearest_hint(self, model_map: ModelMap) -> str:
        if self.kind == "role":
            present = {portion.role for portion in model_map.portions}
            roles = [role for role in ROLES if present & set(GROUP_ROLES.get(role, (role,)))]
            return f"{_sentence(nearest(self.pattern, roles))} This model has: {', '.join(roles)}.".strip()
        names = sorted({portion.parameter for portion in model_map.portions})
        close = nearest(self.pattern, names)
        return _sentence(close) or f"Its parameters have names such as '{names[0]}'."


def parse_selector(text: str) -> Selector:
    """Read one selector. Raises `PlanError` saying what is wrong with it."""
    text = text.strip()
    kind, colon, pattern = text.partition(":")
    if colon and kind in ("top", "bottom"):
        return _parse_choice("top" if kind == "top" else "bottom", pattern)
    if colon and kind in ("name", "re"):
        return _parse_pattern("name" if kind == "name" else "re", pattern)
    role, at, layers = text.partition("@")
    role = role.strip()
    if role not in ROLES:
        found = f"'{role}' is no role." if role else f"'{text}' names no role."
        hint = _sentence(nearest(role, ROLES)) or f"Roles: {', '.join(ROLES)}; or name:GLOB, re:REGEX."
        raise PlanError(found, hint)
    if not at:
        return Selector("role", role)
    if role not in LAYERED_ROLES:
        raise PlanError(f"'{text}': '{role}' has no layers.", f"Write '{role}' alone.")
    return Selector("role", role, _parse_layers(layers.strip(), text))


def parse_selectors(texts: Sequence[str]) -> tuple[Selector, ...]:
    """Read several selectors. Raises `PlanError` as `parse_selector` does."""
    return tuple(parse_selector(text) for text in texts)


def _parse_choice(end: Literal["top", "bottom"], text: str) -> Selector:
    match = _CHOICE.fullmatch(text.strip())
    if match is None:
        raise PlanError(f"'{end}:{text}' is not understood.", "Example: top:25% by gradient-norm")
    share = Decimal(match["share"]).normalize()
    if not 0 < share <= 100:
        raise PlanError(f"'{end}:{text}': the share is between 0 % and 100 %.", "Example: top:25% by gradient-norm")
    choice = Choice(end, share, match["signal"])
    return Selector("choice", choice.text, choice=choice)


def _parse_pattern(kind: Literal["name", "re"], pattern: str) -> Selector:
    what = "GLOB" if kind == "name" else "REGEX"
    pattern = pattern.strip()
    if not pattern or not pattern.isprintable():
        raise PlanError(f"'{kind}:' needs a {what} of printable characters behind it.", "Example: name:*.q_proj.weight")
    if len(pattern) > MAXIMUM_PATTERN:
        raise PlanError(f"'{kind}:{pattern[:20]}...' is longer than {MAXIMUM_PATTERN} characters.")
    if kind == "re":
        try:
            regex.compile(pattern)
        except (regex.error, RecursionError, OverflowError, MemoryError) as error:
            raise PlanError(f"'{kind}:{pattern}' is no valid {what}: {error}.") from error
    return Selector(kind, pattern)


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
    return LayerSlice(start, stop, step)


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


def _sentence(phrase: str) -> str:
    return phrase[:1].upper() + phrase[1:]
