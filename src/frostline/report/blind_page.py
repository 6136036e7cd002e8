"""How does a person choose between two arms' texts without knowing whose they are? A page that keeps the secret.

It is one file that loads nothing. Its only script is named by its hash in the page's policy, so that no other can run;
texts stand in the page as text. Which arm wrote what stands there in a form that nobody reads by accident.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from frostline.report.write import page_style, template_of, write_file
from frostline.stats import BlindTest

BLIND_FILE = "blind.html"


def write_blind(test: BlindTest, target: Path) -> Path:
    """Write the page to the file `target` and return it. Raises `RunFolderError`."""
    write_file(target, render_blind(test).encode("utf-8"))
    return target


def render_blind(test: BlindTest) -> str:
    """The page as HTML text."""
    script = (files("frostline.report") / "templates" / "blind.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    # For each pair whether the first arm is A: a line of 0 and 1.
    key = "".join("1" if pair.arms == test.arms else "0" for pair in test.pairs)
    hidden = base64.b64encode(json.dumps([*test.arms, key]).encode("utf-8")).decode("ascii")
    data = {"page": test.sha256, "drawing": test.drawing, "arms": list(test.arms), "hidden": hidden}
    return (
        template_of("blind.html.j2").render(
            test=test,
            data=json.dumps(data),
            css=page_style(),
            script=Markup(script),  # ours, from the package; the policy lets no other run
            policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; "
            "base-uri 'none'; form-action 'none'",
        )
        + "\n"
    )
