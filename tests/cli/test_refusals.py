"""What each command says of a mistake, word for word, is what stands in tests/cli/snapshots/refusals.txt.

Mistakes in plans have a file of their own (`test_mistakes`); these are all the others that one makes by the way.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from frostline.cli import main
from tests.builders.experiments import write_experiment
from tests.cli.test_snapshots import COMMANDS, same_as_snapshot

REFUSED = (
    # What stands on the command line itself.
    "rnu recipe.yaml",
    "run",
    "run recipe.yaml --stesp 3",
    "run recipe.yaml --resume always",
    "time recipe.yaml --rounds none",
    "time recipe.yaml --rounds 0",
    "advise recipe.yaml --steps 2",
    "inspect model --length 1",
    # Recipes.
    "init dmeo",
    "init demo --to there",
    "init demo --to text.txt",
    "run demo",
    "run .",
    "plan empty.yaml",
    "plan list.yaml",
    "plan broken.yaml",
    "plan twice.yaml",
    "plan binary.yaml",
    "plan recipe.yaml --set training.steps",
    "plan recipe.yaml --set =3",
    "plan recipe.yaml --set training.steps.many=3",
    "plan recipe.yaml --set training.steps=[",
    "plan recipe.yaml --set trainin.steps=3",
    "plan recipe.yaml --set training.stepz=3",
    "plan recipe.yaml --set training.steps=many",
    "plan recipe.yaml --set training.steps=0",
    "plan recipe.yaml --set training.steps=2.5",
    "plan recipe.yaml --set training.learning_rate=nan",
    "plan recipe.yaml --set training.precision=fp16",
    "plan recipe.yaml --set seeds=[1,1]",
    "plan recipe.yaml --set baseline=ful",
    "plan recipe.yaml --set save=[frozen]",
    "plan recipe.yaml --set vary.training.steps=[1,2]",
    "plan recipe.yaml --set save=freeze",
    "plan recipe.yaml --set save.freeze=al",
    "plan recipe.yaml --set save.frezee=all",
    "run recipe.yaml --set windows.length=100000 --out new",
    "plan recipe.yaml --set windows.length=65",
    # Models.
    "plan recipe.yaml --set model.source=./modle",
    "plan recipe.yaml --set model.source=owner/no-such-model",
    "plan recipe.yaml --set model.source=text.txt",
    "plan recipe.yaml --set model.source=there",
    "estimate recipe.yaml --set model.source=./modle",
    "corpus recipe.yaml --first -1",
    "plan recipe.yaml --trust-remote-code sha256:0",
    "inspect ./modle",
    "inspect owner/no-such-model",
    # Corpora.
    "run recipe.yaml --set corpus.source=txt.text --out new",
    "run recipe.yaml --set corpus.source=http://example.org/text.txt --out new",
    "run recipe.yaml --set corpus.source=https://example.org/text.txt --out new",
    "run recipe.yaml --set corpus.source=lines.jsonl --set corpus.column=txt --out new",
    "run recipe.yaml --set corpus.source=questions.csv --out new",
    "run recipe.yaml --set corpus.source=empty.txt --out new",
    "run recipe.yaml --set corpus.tokens=40 --out new",
    "run recipe.yaml --set corpus.sha256=0 --out new",
    "inspect model",
    "inspect model --corpus txt.text --length 16",
    # Run folders.
    "run recipe.yaml --out there",
    "run recipe.yaml --out there --resume auto",
    "run recipe.yaml --out text.txt/run",
    "resume nowhere",
    "resume there",
    "resume text.txt",
    "report nowhere",
    "report there",
    "show nowhere",
    "show there",
    "show recipe.yaml",
    "report recipe.yaml",
    "verify recipe.yaml",
    "blind recipe.yaml",
    "track recipe.yaml --to tensorboard",
    "verify nowhere",
    "verify there",
    "blind nowhere",
    "blind there --arms full,freeze",
    "export nowhere --arm full",
    "export there --arm full",
    "export there",
    "export there --arm full --as gguf",
    "apply-patch model nowhere.safetensors",
    "apply-patch model text.txt",
    "apply-patch ./modle text.txt",
    "watch nowhere",
    "watch text.txt",
    "watch there --port 0",
    "track nowhere --to tensorboard",
    "track there --to tensorboard",
    "track there",
    "run recipe.yaml --out new --track tensorbord",
    "run recipe.yaml --out new --track aim",
    # Advice and inspection.
    "advise recipe.yaml --budget tim=40%",
    "advise recipe.yaml --budget time=40",
    "advise recipe.yaml --budget time=40% --budget time=50%",
    "advise recipe.yaml --budget time=0%",
    "advise recipe.yaml --signal fishr",
    "advise recipe.yaml --out there",
    "inspect model --signal fishr",
    "inspect model --arm full",
    "inspect recipe.yaml --corpus text.txt",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with all that it names, and things that are none."""
    folder = tmp_path_factory.mktemp("refusals")
    write_experiment(folder, seeds=[0])
    (folder / "there").mkdir()
    (folder / "there" / "demo.yaml").write_text("something else\n", encoding="utf-8")
    (folder / "empty.yaml").write_text("", encoding="utf-8")
    (folder / "list.yaml").write_text("- full\n- freeze\n", encoding="utf-8")
    (folder / "broken.yaml").write_text("arms:\n  full: {train: [all}\n", encoding="utf-8")
    (folder / "twice.yaml").write_text("arms:\n  full: {train: all}\n  full: {train: all}\n", encoding="utf-8")
    (folder / "binary.yaml").write_bytes(b"arms: \xff\xfe")
    (folder / "questions.csv").write_text("question,answer\nw1,w2\n", encoding="utf-8")
    (folder / "empty.txt").write_text("", encoding="utf-8")
    (folder / "lines.jsonl").write_text(json.dumps({"text": "w1 w2"}) + "\n", encoding="utf-8")
    return folder


def refused(arguments: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command prints, on a terminal of 100 columns without colours; it ends with the code of a mistake."""
    monkeypatch.setattr(sys, "argv", ["frostline", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    out, told = capsys.readouterr()
    assert ended.value.code == 2, (out, told)
    told = re.sub(r"(Usage: |Try ').*?frostline", r"\1frostline", told)  # the program is whatever runs the tests
    told = told.replace(f"{folder}{os.sep}", "").replace(str(folder), ".")
    return "\n".join(line.rstrip() for line in told.splitlines())


def test_what_is_said_of_each_mistake(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FROSTLINE_CACHE", str(folder / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name, value in (("COLUMNS", "100"), ("NO_COLOR", "1"), ("TERM", "dumb")):
        monkeypatch.setenv(name, value)
    before = {path for path in folder.rglob("*") if "cache" not in path.parts}
    told = [f"$ frostline {arguments}\n{refused(arguments, folder, monkeypatch, capsys)}\n" for arguments in REFUSED]
    same_as_snapshot("refusals", "\n".join(told))
    assert {path for path in folder.rglob("*") if "cache" not in path.parts} == before, "nothing half-written"


def test_every_command_that_can_be_wrong_is_here() -> None:
    assert {arguments.split()[0] for arguments in REFUSED} >= set(COMMANDS) - {"env"}
