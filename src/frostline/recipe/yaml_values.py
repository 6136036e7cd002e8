"""How is the YAML of a recipe read and written? So that every value is what a person reads there.

YAML 1.1, which PyYAML reads, makes 8 of `010`, 90 of `1:30`, true of `yes` and a date of `2024-01-01`. Here a number is
decimal, true and false are `true` and `false`, a key is a text, and whatever is none of these is a text. What other
readers of YAML would take for another number is refused, with its place.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import cast

import yaml

from frostline.errors import RecipeError

MAXIMUM_VALUES = 20_000
MAXIMUM_DEPTH = 20
MAXIMUM_DIGITS = 80
"""More than any number has that is meant as one; a SHA-256 has 64."""
_TAG = "tag:yaml.org,2002:"
_NULL, _BOOL = re.compile(r"(?:~|null|Null|NULL|)$"), re.compile(r"(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*|[1-9][0-9]{0,2}(?:_[0-9]{3})+)$")
_FLOAT = re.compile(
    r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))$"
    r"|\.(?:nan|NaN|NAN)$"
)
_DIGITS = "-+0123456789."
_RESOLVED = (
    ("null", _NULL, ["~", "n", "N", ""]),
    ("bool", _BOOL, list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list(_DIGITS)),
    ("merge", re.compile(r"<<$"), ["<"]),
)
_OF_SCALARS = ("str", *(name for name, _, _ in _RESOLVED))
_UNICODE_LINE_ENDS = re.compile("[\x85\u2028\u2029]")
_OTHER_NUMBER = re.compile(
    r"(?P<octal>[-+]?0[0-7_]*[0-9_])$"
    r"|(?P<based>[-+]?0(?:x[0-9a-fA-F_]+|o[0-7_]+|b[01_]+))$"
    r"|(?P<minutes>[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?)$"
    r"|(?P<grouped>[-+]?[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?)$"
)
"""What is a number to some readers of YAML, each to its own, or none."""


class _Loader(yaml.SafeLoader):
    """SafeLoader for which a plain value is what it looks like, and a key the text that stands there."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - as PyYAML declares it

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        self.flatten_mapping(node)
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                key.tag = f"{_TAG}str"
        values: dict[Hashable, object] = super().construct_mapping(node, deep=deep)
        return values


class _Dumper(yaml.SafeDumper):
    """SafeDumper that puts a text into quotes where this page would read it as something else."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML declares it
        first: list(resolvers) for first, resolvers in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }

    def represent_text(self, text: str) -> yaml.Node:
        """In double quotes where `text` has line ends of Unicode, which PyYAML would fold to blanks."""
        style = '"' if _UNICODE_LINE_ENDS.search(text) else None
        return cast("yaml.Node", self.represent_scalar(f"{_TAG}str", text, style=style))


_Dumper.add_representer(str, _Dumper.represent_text)
for _name, _pattern, _first in _RESOLVED:
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", _pattern, _first)
for _pattern in (_FLOAT, _OTHER_NUMBER):
    _Dumper.add_implicit_resolver(f"{_TAG}float", _pattern, list(_DIGITS))

Lines = dict[tuple[str | int, ...], int]


def read_yaml(text: str, where: str) -> tuple[dict[str, object], Lines]:
    """The mapping written in `text`, and the line of each of its keys and items. Raises `RecipeError`."""
    node = _compose(text, where)
    if node is None:
        raise RecipeError(f"{where}: nothing is written in this file.", "See 'frostline init'.")
    if not isinstance(node, yaml.MappingNode):
        raise RecipeError(f"{where}: a recipe is a mapping of keys, such as 'arms:'.", "See 'frostline init'.")
    lines: Lines = {}
    _record_lines(node, (), lines, where, depth=0)
    return cast("dict[str, object]", _construct(node, where)), lines


def read_yaml_value(text: str, where: str) -> object:
    """The value written in `text`; None where nothing is. Raises `RecipeError`, which begins with `where`."""
    node = _compose(text, where)
    if node is None:
        return None
    _record_lines(node, (), {}, where, depth=0, tell_lines=False)
    return _construct(node, where)


def write_yaml(values: object) -> str:
    """`values` as YAML that `read_yaml` reads back, keys in their order."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _compose(text: str, where: str) -> yaml.Node | None:
    try:
        return yaml.compose(text.removeprefix("\ufeff"), Loader=_Loader)
    except yaml.reader.ReaderError as error:
        line = "" if where.startswith("--set") else f":{len(text[: error.position].splitlines() or [''])}"
        found = f"U+{ord(error.character):04X}" if isinstance(error.character, str) else f"U+{error.character:04X}"
        raise RecipeError(f"{where}{line}: not valid YAML: {found} stands there.", "Save it as UTF-8 text.") from error
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise _not_yaml(where, error) from error


def _construct(node: yaml.Node, where: str) -> object:
    try:
        return cast("object", _Loader("").construct_document(node))
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise _not_yaml(where, error) from error


def _not_yaml(where: str, error: Exception) -> RecipeError:
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark is not None and not where.startswith("--set") else ""
    problem = str(getattr(error, "problem", None) or error).splitlines()[0]
    hint = "Put a selector that ends with ':' in brackets or quotes." if "mapping values" in problem else ""
    if hint:
        hint = f"{hint[:-1]}, and a blank after the ':' of a key."
    if isinstance(error, RecursionError):
        problem = f"nested more than {MAXIMUM_DEPTH} levels deep"
    elif isinstance(error, OverflowError):
        problem = "there is no such character"
    elif problem == "second occurrence":
        problem = "two anchors have one name"
    elif problem == "but found another document":
        problem, hint = "another document begins", "A recipe is one document: leave out all from '---' on."
    elif problem.endswith(" or ']', but got '['"):
        hint = 'In a list on one line a selector with brackets is quoted: ["embed[added]"].'
    if "'\\t'" in problem:
        problem, hint = "a tab stands where blanks belong", "Indent with blanks."
    return RecipeError(f"{where}{line}: not valid YAML: {problem}.", hint)


def _record_lines(
    node: yaml.Node, keys: tuple[str | int, ...], lines: Lines, where: str, depth: int, *, tell_lines: bool = True
) -> None:
    """Fill `lines`; raise `RecipeError` for what cannot be meant."""
    place = f"{where}:{node.start_mark.line + 1}" if tell_lines else where
    if depth > MAXIMUM_DEPTH:
        raise RecipeError(f"{place}: nested more than {MAXIMUM_DEPTH} levels deep.")
    if len(lines) > MAXIMUM_VALUES:  # aliases of aliases would grow without end
        raise RecipeError(f"{where}: a recipe has at most {MAXIMUM_VALUES} values; this one has more.")
    lines.setdefault(keys, node.start_mark.line + 1)
    if not isinstance(node, yaml.ScalarNode):
        _require_no_tag(node, ("map", "seq"), place)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            place = f"{where}:{line}" if tell_lines else where
            if not isinstance(key_node, yaml.ScalarNode):
                raise RecipeError(f"{place}: a key must be a word.")
            _require_no_tag(key_node, _OF_SCALARS, place)
            key = str(key_node.value)
            if key in seen:
                what = "two arms have one name" if keys == ("arms",) else "the key is given twice"
                raise RecipeError(f"{place}: {what}: '{key}'.", "Rename or remove one of the two.")
            seen.add(key)
            lines[(*keys, key)] = line
            _record_lines(value_node, (*keys, key), lines, where, depth + 1, tell_lines=tell_lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _record_lines(item, (*keys, index), lines, where, depth + 1, tell_lines=tell_lines)
    elif isinstance(node, yaml.ScalarNode):
        _require_plain(node, place)


def _require_plain(node: yaml.ScalarNode, place: str) -> None:
    """Raise `RecipeError` for a value that another reader takes for another one."""
    text = str(node.value)
    if node.tag.removeprefix(_TAG) != "str" and node.style is not None:
        raise RecipeError(f"{place}: tags such as {node.tag.replace(_TAG, '!!')} are not read.", "Leave the tag out.")
    _require_no_tag(node, _OF_SCALARS, place)
    if len(text) > MAXIMUM_DIGITS and node.tag == f"{_TAG}int":
        raise RecipeError(f"{place}: a number of {len(text):,} digits.", "Write it in quotes if it is a text.")
    if node.style is None and (other := _OTHER_NUMBER.match(text)):
        if _INT.match(text):  # grouped by thousands, as it is read
            return
        if len(text) > MAXIMUM_DIGITS // 2:
            raise RecipeError(f"{place}: '{text[:20]}...' could be read as a number.", "Write it in quotes.")
        raise RecipeError(f"{place}: {text} is one number or another, or none.", _way_out(text, other.lastgroup or ""))


def _require_no_tag(node: yaml.Node, usual: Sequence[str], place: str) -> None:
    if node.tag.removeprefix(_TAG) not in usual:
        raise RecipeError(
            f"{place}: tags such as {node.tag.replace(_TAG, '!!')[:80]} are not read.", "Leave the tag out."
        )


def _way_out(text: str, kind: str) -> str:
    bare = text.replace("_", "")
    if kind == "octal":
        return f"Write {int(bare)} without zeros before it, or '{text}' in quotes if it is a text."
    if kind == "based":
        return f"Write {int(bare, 0)}, or '{text}' in quotes if it is a text."
    if kind == "grouped":
        return f"Write {bare.strip('.')}, or '{text}' in quotes if it is a text."
    return f"Write a decimal number, or '{text}' in quotes if it is a text."
