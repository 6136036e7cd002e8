"""What does each key of `summary.json` mean? A page made from the attribute docstrings of its classes.

python -m frostline.stats.schema_doc > docs/summary.md
"""

from __future__ import annotations

import ast
from pathlib import Path

INTRODUCTION = """\
# summary.json

Every run folder holds a `summary.json`: every number that the report prints, for scripts. It follows from the journal
alone; `frostline report RUN` writes it anew and `frostline show RUN --json` prints it. `null` means that something
was not measured in this run. Intervals are 95 % intervals; [claims.md](claims.md) says how they are made.

```sh
jq '.claims[] | [.id, .arm, .verdict]' runs/demo/summary.json
jq '.variants[0].arms.freeze.saving' runs/demo/summary.json
```

The file is a `RunSummary`. This page is made from the code by `python -m frostline.stats.schema_doc`.
"""
ORDER = (
    "RunSummary", "VariantSummary", "ArmSummary", "RateCurve", "RateTrial", "AtEqualCost", "ToLoss", "SeedResult",
    "GainOfPart", "FrontPoint", "Estimate", "Comparison", "ClaimResult", "Checks",
)  # fmt: skip


def schema_page() -> str:
    """The page in Markdown."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(Path(__file__).parent.glob("*.py"))]
    classes = {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}
    return "\n".join([INTRODUCTION, *(_section(classes[name]) for name in ORDER)])


def _section(node: ast.ClassDef) -> str:
    rows = [f"## {node.name}", "", ast.get_docstring(node) or "", "", "| key | type | meaning |", "| --- | --- | --- |"]
    for field, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            kind = ast.unparse(field.annotation).replace("|", "\\|")
            rows.append(f"| `{field.target.id}` | `{kind}` | {_docstring(after)} |")
    return "\n".join(rows) + "\n"


def _docstring(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split()).replace("|", "\\|")
    return ""


if __name__ == "__main__":
    print(schema_page(), end="")
