"""What can be called from Python, and what comes back? A page made from signatures and docstrings in the code.

python -m frostline.verbs.api_doc > docs/api.md
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from textwrap import dedent

import frostline

INTRODUCTION = """\
# From Python

What a command does, `frostline.NAME` does, with the same errors (`FrostlineError`), and prints nothing unless
`progress` asks for it. Whatever is not on this page may change from one version to the next. This page is made from the
code by `python -m frostline.verbs.api_doc`.

In signatures, a `GivenRecipe` is the path of a recipe file, a mapping of its keys, or a `Recipe`; `Overrides` are
values by key, such as `{"training.steps": 40}`, or texts as on the command line, `["training.steps=40"]`;
`ProgressWanted` is False for silence, True for what the command prints, or a `RunProgress`.
"""
RETURNED = (
    "verbs.RunOutcome",
    "report.Run",
    "report.RunPlots",
    "arms.ReadCorpora",
    "corpus.CorpusPreview",
    "corpus.ShownWindow",
    "corpus.Stretch",
    "forecast.PlannedVariant",
    "arms.PlannedArm",
    "forecast.RunEstimate",
    "forecast.ArmEstimate",
    "forecast.Timing",
    "forecast.ArmTiming",
    "advisor.AdviceResult",
    "advisor.Inspection",
    "experiment.Finding",
    "plans.AppliedPlan",
    "integrations.PrefixRows",
    "integrations.TrainerArm",
)
"""What verbs return, in the order in which one meets it, by the room whose door it stands behind."""
INSIDE = {"FrostlineError": {"at", "during"}, "Recipe": {"source", "written_in", "locating_errors", "varied"}}
"""Members that only Frostline's own code needs."""
LONGEST_LINE = 100


def api_page() -> str:
    """The page in Markdown."""
    names = sorted((name for name in frostline.__all__ if name != "__version__"), key=str.lower)
    functions = [name for name in names if not inspect.isclass(getattr(frostline, name))]
    classes = [name for name in names if name not in functions]
    returned = [getattr(import_module(f"frostline.{room}"), name) for room, name in map(_split, RETURNED)]
    return "\n".join(
        [
            INTRODUCTION,
            *(_of_function(name) for name in functions),
            *(_of_class(getattr(frostline, name), 2) for name in classes),
            "## What comes back\n\nWhat a summary holds is in [summary.md](summary.md).\n",
            *(_of_class(kind, 3) for kind in returned),
        ]
    )


def _split(place: str) -> tuple[str, str]:
    room, _, name = place.partition(".")
    return room, name


def _of_function(name: str) -> str:
    function = getattr(frostline, name)
    (node,) = ast.parse(inspect.getsource(function)).body
    assert isinstance(node, ast.FunctionDef)
    return f"## {name}\n\n```python\n{_signature(node)}\n```\n\n{inspect.getdoc(function)}\n"


def _of_class(kind: type, depth: int) -> str:
    """What it is, and its fields, properties and methods, those of its own bases among them."""
    hidden = INSIDE.get(kind.__name__, set())
    members = {name: text for base in reversed(_own_bases(kind)) for name, text in _members(base)}
    lines = [f"- {text}" for name, text in members.items() if not name.startswith("_") and name not in hidden]
    parts = [f"{'#' * depth} {kind.__name__}", inspect.getdoc(kind) or "", "\n".join(lines)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _own_bases(kind: type) -> list[type]:
    return [base for base in kind.__mro__ if base.__module__.startswith("frostline.")]


def _members(kind: type) -> Iterator[tuple[str, str]]:
    """Each member that has a docstring, as it stands in the code of `kind`, and the line that shows it."""
    (node,) = ast.parse(dedent(inspect.getsource(kind))).body
    assert isinstance(node, ast.ClassDef)
    for member, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            name = member.target.id
            yield name, f"`{name}: {_plain(ast.unparse(member.annotation))}`{_said(_text_of(after))}"
        elif isinstance(member, ast.FunctionDef) and ast.get_docstring(member):
            name, said = member.name, _said(ast.get_docstring(member) or "")
            if any(
                isinstance(by, ast.Name) and by.id in ("property", "cached_property") for by in member.decorator_list
            ):
                assert member.returns is not None
                yield name, f"`{name}: {ast.unparse(member.returns)}`{said}"
            else:
                yield name, f"`{_signature(member, longest=None)}`{said}"


def _text_of(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return ""


def _said(docstring: str) -> str:
    """Its first paragraph on one line, after a colon."""
    first = " ".join(docstring.split("\n\n")[0].split())
    return f": {first}" if first else ""


def _plain(annotation: str) -> str:
    """A type without the ways in which pydantic checks it."""
    found = re.fullmatch(r"Annotated\[(.+?), (?:Field|AfterValidator|BeforeValidator)\(.*\)\]", annotation)
    return found[1] if found else annotation


def _signature(function: ast.FunctionDef, longest: int | None = LONGEST_LINE) -> str:
    """Name, parameters as they are written, and what comes back; on lines of their own where one would be too long."""
    of, parameters = function.args, []
    positional = [parameter for parameter in of.args if parameter.arg not in ("self", "cls")]
    without = [None] * (len(positional) - len(of.defaults))
    parameters += [_parameter(*pair) for pair in zip(positional, [*without, *of.defaults], strict=True)]
    if of.kwonlyargs:
        parameters.append("*")
        parameters += [_parameter(*pair) for pair in zip(of.kwonlyargs, of.kw_defaults, strict=True)]
    assert function.returns is not None
    back = f" -> {ast.unparse(function.returns)}"
    line = f"{function.name}({', '.join(parameters)}){back}"
    if longest is None or len(line) <= longest:
        return line
    return f"{function.name}(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + f"){back}"


def _parameter(parameter: ast.arg, default: ast.expr | None) -> str:
    assert parameter.annotation is not None
    written = f"{parameter.arg}: {ast.unparse(parameter.annotation)}"
    return written if default is None else f"{written} = {ast.unparse(default)}"


if __name__ == "__main__":
    print(api_page(), end="")
