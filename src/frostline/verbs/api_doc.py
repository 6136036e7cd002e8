"""What can be called from Python? A page made from the signatures and docstrings of `frostline.__all__`.

python -m frostline.verbs.api_doc > docs/api.md
"""

from __future__ import annotations

import inspect
import re

import frostline

INTRODUCTION = """\
# From Python

What the commands do, `frostline.NAME` does, with the same errors (`FrostlineError`) and without a word unless
`progress` asks for it. Whatever is not on this page may change from one version to the next. This page is made from the
code by `python -m frostline.verbs.api_doc`.
"""
LONGEST_LINE = 100
NEWLINES = re.compile(r"\n{3,}")


def api_page() -> str:
    """The page in Markdown."""
    names = [name for name in frostline.__all__ if name != "__version__"]
    return NEWLINES.sub("\n\n", "\n".join([INTRODUCTION, *map(_section, sorted(names, key=str.lower))]).rstrip() + "\n")


def _section(name: str) -> str:
    what = getattr(frostline, name)
    parts = [f"## {name}", "", "```python", f"{name}{_signature(what)}", "```", "", inspect.getdoc(what) or "", ""]
    if inspect.isclass(what):
        for own, member in vars(what).items():
            function = member.__func__ if isinstance(member, staticmethod) else member
            if not own.startswith("_") and inspect.isfunction(function):
                parts += [f"- `{own}{_signature(function)}`: {_first_sentence(function)}"]
    return "\n".join(parts) + "\n"


def _signature(what: object) -> str:
    """Parameters and what comes back; on lines of their own where they are many."""
    if isinstance(what, type) and "__init__" not in vars(what):
        return ""
    assert callable(what)
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(what)))
    text = re.sub(r"(?:frostline|pathlib|collections\.abc)\.(?:\w+\.)*", "", text)
    text = text.replace("(self, ", "(").replace("(self)", "()")
    if len(text) <= LONGEST_LINE:
        return text
    parameters, back = text[1:].rsplit(")", 1)
    lines = "".join(f"    {parameter},\n" for parameter in re.split(r", (?=\*,|\w+:)", parameters))
    return f"(\n{lines}){back}"


def _first_sentence(what: object) -> str:
    return (inspect.getdoc(what) or "").split("\n\n")[0].replace("\n", " ")


if __name__ == "__main__":
    print(api_page(), end="")
