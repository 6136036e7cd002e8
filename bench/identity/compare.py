"""What differs between two recordings? Field by field, byte by byte; what is set aside is named."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import cast

import yaml

from bench.identity.files import RECORDED_FILE, Status, mapping, read_json, sha256_of, wanted

JOURNAL_ASIDE = frozenset(
    {
        "at", "seconds", "seconds_in_all", "peak_bytes", "environment", "fresh", "reused_from", "untimed",
        "checkpoint_steps", "expected_seconds", "expected_seconds_cached", "expected_peak_bytes",
    }
)  # fmt: skip
"""Fields of a line of the journal that are not compared: clock, memory, machine, and when a run was stopped."""
SUMMARY_ASIDE = frozenset(
    {
        "started_at", "seconds", "environment", "step_seconds", "total_seconds", "saving", "tokens_per_second",
        "peak_bytes", "reused_from",
    }
)  # fmt: skip
"""Keys of `summary.json` that are not compared, wherever they stand; nor is a comparison whose measure is one."""
TIMED_CLAIM = "C7"
"""The claim about time: of it id, arm, variant and wording are compared, not what was found."""
FOUND = frozenset({"verdict", "effect", "p_value", "sentence", "decides"})
TIMED_WORDS = (
    r"took [^\[,;]* (?:less|more) time a step(?: \[[^\]]*\])?",
    r"its memory peaked at [0-9.,]+ \w+ against [0-9.,]+ \w+",
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00",
)
"""Parts of a sentence that tell a time or a peak of memory: they are put out of the summary's sentences."""
ASIDE_FILES = ("report.html", "page.html", "advice.html", "sessions.jsonl", "failures/*", "figures/*")
"""Files of which only the name is compared, besides the journal and the summary, which are compared field by field."""


@dataclass(frozen=True)
class Difference:
    """One value that is not the same in both recordings; None where a side does not have it."""

    field: str
    """What it is called, whichever line, arm or layer it is of."""
    place: str
    before: str | None
    after: str | None


def compare(before: Path, after: Path, only: list[str]) -> int:
    """Print what differs in the runs that match `only`, run by run, and how often each field does; 1 if any does."""
    status = [cast("Status", mapping(read_json(folder / RECORDED_FILE))["status"]) for folder in (before, after)]
    _print_conditions(before, after)
    runs_by_field: dict[str, set[str]] = {}
    sides: dict[str, set[str]] = {}
    names = [name for name in {**status[0], **status[1]} if wanted(name, only)]
    for name in names:
        missing = [folder for folder, known in zip((before, after), status, strict=True) if name not in known]
        if missing:
            differences = [Difference("(whole run)", str(missing[0]), *(None if name not in s else "" for s in status))]
        else:
            differences = list(_differences(before / "runs" / name, after / "runs" / name))
            if status[0][name] != status[1][name]:
                differences.append(Difference("exit status", name, str(status[0][name]), str(status[1][name])))
        print(f"{name}: {'DIFFERS' if differences else 'equal'} ({_extent(before / 'runs' / name)})")
        by_field: dict[str, list[Difference]] = {}
        for difference in differences:
            by_field.setdefault(difference.field, []).append(difference)
        for field, found in by_field.items():
            runs_by_field.setdefault(field, set()).add(name)
            sides.setdefault(field, set()).update(_side(difference) for difference in found)
            old, new = _around_difference(found[0].before, found[0].after)
            print(f"    {field} in {len(found)} places, first {found[0].place}: {old} -> {new}")
    print(f"\nNot compared, of the journal: {', '.join(sorted(JOURNAL_ASIDE))}")
    print(
        f"Not compared, of the summary: {', '.join(sorted(SUMMARY_ASIDE))}, findings of {TIMED_CLAIM}, times in words"
    )
    if not names:
        print(f"No run matches {' '.join(only)}.")
        return 1
    if not runs_by_field:
        print(f"All {len(names)} runs are equal.")
        return 0
    print("\n| field | runs in which it differs | where it is |\n| --- | --- | --- |")
    for field, runs in sorted(runs_by_field.items(), key=lambda item: (-len(item[1]), item[0])):
        print(f"| {field} | {len(runs)} of {len(names)} | {', '.join(sorted(sides[field]))} |")
    return 1


def _side(difference: Difference) -> str:
    if difference.before is None:
        return "only after"
    return "only before" if difference.after is None else "both"


def _print_conditions(before: Path, after: Path) -> None:
    """Say what was not alike when the two were recorded: then a difference may have another cause than the code."""
    first, second = (
        cast("dict[str, str]", mapping(read_json(folder / RECORDED_FILE))["conditions"]) for folder in (before, after)
    )
    for name in sorted(first.keys() | second.keys()):
        if first.get(name) != second.get(name):
            print(f"Recorded under other conditions: {name} was {first.get(name)} and is {second.get(name)}")


def _differences(before: Path, after: Path) -> Iterator[Difference]:
    """Everything that differs between two folders of one run."""
    files_before, files_after = _files(before), _files(after)
    for name in sorted(files_before.keys() | files_after.keys()):
        old, new = files_before.get(name), files_after.get(name)
        kind = name if "/" not in name else f"{name.split('/')[0]}/*{Path(name).suffix}"
        if old is None or new is None:
            yield Difference(
                f"file {kind}", name, None if old is None else "is there", None if new is None else "is there"
            )
        elif fnmatch.fnmatch(name, "journal/*.jsonl"):
            yield from _journal_differences(name, old, new)
        elif name == "summary.json":
            yield from _value_differences("summary", name, _summary(old), _summary(new))
        elif old.read_bytes() != new.read_bytes() and not any(fnmatch.fnmatch(name, own) for own in ASIDE_FILES):
            told = []
            if name.endswith(".yaml"):
                values = [cast("object", yaml.safe_load(path.read_bytes())) for path in (old, new)]
                told = list(_value_differences(name, name, *values))
            yield from told or [Difference(f"file {kind}", name, sha256_of(old), sha256_of(new))]


def _files(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


def _journal_differences(name: str, before: Path, after: Path) -> Iterator[Difference]:
    sides = [path.read_text(encoding="utf-8").splitlines() for path in (before, after)]
    if len(sides[0]) != len(sides[1]):
        yield Difference("(number of lines)", name, str(len(sides[0])), str(len(sides[1])))
    for number, pair in enumerate(zip_longest(*sides), 1):
        place = f"{name}:{number}"
        lines = [{} if text is None else mapping(json.loads(text)) for text in pair]
        kinds = [line.get("kind") for line in lines]
        if kinds[0] != kinds[1]:
            # What follows is shifted: to compare it line by line would say nothing.
            yield Difference("(kind of line)", place, *(None if kind is None else str(kind) for kind in kinds))
            return
        kept = [{key: value for key, value in line.items() if key not in JOURNAL_ASIDE} for line in lines]
        differences = list(_value_differences(str(kinds[0]), place, *kept))
        written = [text == json.dumps(line, ensure_ascii=False) for text, line in zip(pair, lines, strict=True)]
        if not differences and written[0] != written[1]:
            differences = [Difference(f"{kinds[0]} (way of writing)", place, pair[0], pair[1])]
        aside = [set(line) & JOURNAL_ASIDE for line in lines]
        for key in sorted(aside[0] ^ aside[1]):
            held = ["there, not compared" if key in keys else None for keys in aside]
            differences.append(Difference(f"{kinds[0]}.{key}", place, held[0], held[1]))
        yield from differences


def _value_differences(root: str, place: str, before: object, after: object) -> Iterator[Difference]:
    old, new = dict(_leaves(before, "")), dict(_leaves(after, ""))
    for path in [*old, *(path for path in new if path not in old)]:
        if old.get(path) != new.get(path):
            field = re.sub(r"\[\d+\]", "[]", re.sub(r"\.arms\.[^.]+", ".arms.*", path))
            yield Difference(root + field, place + path, old.get(path), new.get(path))
    if old == new and list(old) != list(new):
        yield Difference(f"{root} (order of its fields)", place, ", ".join(old), ", ".join(new))


def _leaves(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Every single value and list of such in `value` as JSON, by its path."""
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from _leaves(below, f"{path}.{key}")
    elif isinstance(value, list) and any(isinstance(item, dict | str) for item in value):
        yield f"{path}(length)", str(len(value))
        for index, below in enumerate(value):
            yield from _leaves(below, f"{path}[{index}]")
    else:
        yield path, json.dumps(value)


def _summary(path: Path) -> object:
    return _without_times(read_json(path))


def _without_times(value: object) -> object:
    """A summary without what depends on the clock or on memory; that it was there stays."""
    if isinstance(value, dict):
        values = mapping(value)
        aside = set(FOUND) if values.get("id") == TIMED_CLAIM else set[str]()
        if values.get("measure") in SUMMARY_ASIDE:
            aside = values.keys() - {"arm", "measure"}
        return {
            key: "(not compared)" if key in SUMMARY_ASIDE | aside else _without_times(below)
            for key, below in values.items()
        }
    if isinstance(value, list):
        return [_without_times(item) for item in value]
    if isinstance(value, str):
        return re.sub("|".join(TIMED_WORDS), "(not compared)", value)
    return value


def _extent(folder: Path) -> str:
    """How much is compared of a run, so that nothing passes for equal because there was nothing."""
    lines = sum(path.read_bytes().count(b"\n") for path in (folder / "journal").glob("*.jsonl"))
    weights = sum(1 for _ in folder.rglob("*.safetensors"))
    return f"{lines} lines of the journal, {weights} files of weights"


def _around_difference(before: str | None, after: str | None) -> tuple[str, str]:
    """Both values, cut to where they begin to differ."""
    if before is None or after is None:
        return _shortened(before), _shortened(after)
    pairs = enumerate(zip_longest(before, after))
    same = next((place for place, (old, new) in pairs if old != new), 0)
    start = max(0, same - 20) if max(len(before), len(after)) > 80 else 0
    dots = "..." if start else ""
    return dots + _shortened(before[start:]), dots + _shortened(after[start:])


def _shortened(text: str | None) -> str:
    if text is None:
        return "(not there)"
    return text if len(text) <= 80 else f"{text[:77]}..."
