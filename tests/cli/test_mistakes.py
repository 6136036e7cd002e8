"""What is mistyped in the plans of a recipe is told in one sentence, with file and line, before any model is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from frostline.cli import main

LAYERS = "Layers are a slice such as @6:, @:4, @-2:, @2:8, @50%:, or one layer such as @3."
SIGNALS = (
    "Signals: gradient-norm, gradient-weight, fisher, snr, ablation, block-influence, foreign; "
    "or random, random-1 and so on."
)
ONE_OF = "an arm names exactly one of 'train', 'freeze' and 'lora'; found"
ARM_KEYS = "Known keys: train, freeze, changes, lora, learning_rate, weight_decay."
WORD = "a selector is a word such as attn.qkv or mlp@50%:, found"
NO_SELECTOR = "it names no selector. Name some, such as attn.qkv, or leave the key out."

MISTAKES = {
    "a role": (
        "  freeze:\n    train:\n      - attn.q\n      - atn.qkv",
        "6, key 'arms.freeze.train': 'atn.qkv' is no role. Did you mean 'attn.qkv' or 'attn.v' or 'attn.q'?",
    ),
    "a role without a list": (
        "  freeze:\n    freeze: mpl",
        "4, key 'arms.freeze.freeze': 'mpl' is no role. Did you mean 'mlp'?",
    ),
    "a role that has no layers": (
        "  a: {train: [embed@3]}",
        "3, key 'arms.a.train': 'embed@3': 'embed' has no layers. Write 'embed' alone.",
    ),
    "a slice": (
        "  a: {train: [attn, attn@6-8]}",
        f"3, key 'arms.a.train': 'attn@6-8': '6-8' is no layer. {LAYERS}",
    ),
    "a slice without layers": (
        "  a: {train: [attn@8:2]}",
        f"3, key 'arms.a.train': 'attn@8:2': '8:2' is none of the layers of any model. {LAYERS}",
    ),
    "a glob": (
        "  a:\n    freeze:\n    - mlp\n    - name:*.layers.[0-9",
        "6, key 'arms.a.freeze': 'name:*.layers.[0-9' is no valid GLOB: a '[' is not closed. "
        "Example: name:*.q_proj.weight",
    ),
    "a regular expression as a glob": (
        "  a: {freeze: ['name:(q|k)_proj']}",
        "3, key 'arms.a.freeze': 'name:(q|k)_proj' is no valid GLOB: '(' means nothing in it. "
        "A GLOB has *, ? and [...]; a regular expression is written re:REGEX.",
    ),
    "a regular expression": (
        "  a: {freeze: ['re:(q|k_proj']}",
        "3, key 'arms.a.freeze': 're:(q|k_proj' is no valid REGEX: missing ) at position 9.",
    ),
    "a regular expression that repeats without end": (
        "  a: {freeze: ['re:(a{9999}){9999}']}",
        "3, key 'arms.a.freeze': 're:(a{9999}){9999}' is no valid REGEX: it repeats more than 1,000 times.",
    ),
    "a signal": (
        "  a:\n    train: [top:25% by gradient-nrm]",
        "4, key 'arms.a.train': 'by gradient-nrm': there is no signal 'gradient-nrm'. "
        f"Did you mean 'gradient-norm'? {SIGNALS}",
    ),
    "a signal that chooses nothing": (
        "  a: {train: [bottom:25% by cka]}",
        f"3, key 'arms.a.train': 'by cka': 'cka' tells nothing about where training pays. {SIGNALS}",
    ),
    "a share": (
        "  a: {train: [top:25 by snr]}",
        "3, key 'arms.a.train': 'top:25 by snr' is not understood. Example: top:25% by gradient-norm",
    ),
    "a seed": (
        "  a: {train: [top:25% by random-one]}",
        "3, key 'arms.a.train': 'top:25% by random-one': 'one' is no seed. Write 'by random' or 'by random-7'.",
    ),
    "what thaws": (
        "  a:\n    train: attn\n    changes:\n      - {at: 3, thaw: mlp}\n      - at: 8\n        thaw: [mpl.up]",
        "8, key 'arms.a.changes.1.thaw': 'mpl.up' is no role. Did you mean 'mlp.up' or 'mlp'?",
    ),
    "what carries an adapter": (
        "  a:\n    lora:\n      rank: 4\n      targets: [attn.qvk]",
        "6, key 'arms.a.lora.targets': 'attn.qvk' is no role. Did you mean 'attn.qkv' or 'attn.v' or 'attn.q'?",
    ),
    "what is watched": (
        "  a: {train: all}\nmeasures:\n  watch: [attn, headd]",
        "5, key 'measures.watch': 'headd' is no role. Did you mean 'head'?",
    ),
    "what is watched, computed": (
        "  a: {train: all}\nmeasures: {watch: ['top:5% by snr']}",
        "4, key 'measures.watch': 'top:5% by snr' is computed for arms alone. Name the matrices, such as attn.q.",
    ),
    "a mapping for a list of selectors": (
        "  a: {train: {attn: 50%}}",
        f"3, key 'arms.a.train': {WORD} {{attn: '50%'}}.",
    ),
    "a mapping for a list of changes": (
        "  a:\n    train: attn\n    changes: {at: 3, thaw: mlp}",
        "5, key 'arms.a.changes': a list belongs here, found {at: 3, thaw: 'mlp'}.",
    ),
    "a list for a mapping": (
        "  a: [attn]",
        f"3, key 'arms.a': a mapping of keys belongs here, found ['attn']. {ARM_KEYS}",
    ),
    "an arm without anything": (
        "  a:",
        f"3, key 'arms.a': a mapping of keys belongs here, found nothing. {ARM_KEYS}",
    ),
    "arms as a list": (
        "  - full",
        "2, key 'arms': a mapping of keys belongs here, found ['full'].",
    ),
    "a number for a selector": ("  a: {train: [attn, 3]}", f"3, key 'arms.a.train': {WORD} 3."),
    "a list in a list": ("  a: {train: [[attn]]}", f"3, key 'arms.a.train': {WORD} ['attn']."),
    "a long list in a list": (
        f"  a: {{train: [[{', '.join(['attn'] * 50)}]]}}",
        "3, key 'arms.a.train': a selector is a word such as attn.qkv or mlp@50%:.",
    ),
    "a word for a step": (
        "  a: {train: attn, changes: [{at: three, thaw: mlp}]}",
        "3, key 'arms.a.changes.0.at': a whole number belongs here, found 'three'.",
    ),
    "an empty list": ("  a: {train: []}", f"3, key 'arms.a.train': {NO_SELECTOR}"),
    "no targets": ("  a: {lora: {targets: []}}", f"3, key 'arms.a.lora.targets': {NO_SELECTOR}"),
    "nothing behind a key": ("  a: {train: }", f"3, key 'arms.a': {ONE_OF} none of them."),
    "two plans": ("  a:\n    train: attn\n    freeze: mlp", f"3, key 'arms.a': {ONE_OF} 'train' and 'freeze'."),
    "a key": ("  a: {trian: attn}", "3, key 'arms.a.trian': unknown key. Did you mean 'train'?"),
    "a key given twice": (
        "  a:\n    train: attn\n    train: mlp",
        "5: the key is given twice: 'train'. Rename or remove one of the two.",
    ),
    "a change at the start": (
        "  a:\n    train: attn\n    changes:\n      - at: 0\n        thaw: mlp",
        "6, key 'arms.a.changes.0.at': a change comes at step 1 or later; at step 0 the plan itself begins.",
    ),
    "a change after the end": (
        "  a:\n    train: attn\n    changes:\n      - {at: 3, thaw: norm}\n      - at: 30\n        thaw: mlp",
        "7, key 'arms.a.changes.1.at': a change at step 30 never happens in 30 steps. "
        "Steps are counted from 0: the last one is 29.",
    ),
    "a change of adapters": (
        "  a:\n    lora: {rank: 4}\n    changes: [{at: 3, thaw: mlp}]",
        "5, key 'arms.a.changes': 'changes' does not apply to an arm with 'lora'.",
    ),
    "an arm of an experiment that varies": (
        "  a: {train: [atn]}\nvary:\n  corpus.tokens: [500, 600]",
        "3, key 'arms.a.train': 'atn' is no role. Did you mean 'attn' or 'attn.v' or 'attn.q'?",
    ),
    "a value that varies": (
        "  a: {train: all}\nvary:\n  corpus.tokens:\n    - 500\n    - none",
        "7, key 'vary.corpus.tokens': 'none' does not work as corpus.tokens: a whole number belongs here, "
        "found 'none'.",
    ),
    "a baseline": (
        "  full: {train: all}\nbaseline: ful",
        "4, key 'baseline': there is no arm 'ful': the arms are full. Did you mean 'full'?",
    ),
}
"""What is wrong: the arms of a recipe, which begin in line 3, and the line and sentence that tell it."""

OVERRIDES = {
    "arms.a.train=[attn.qvk]": "arms.a.train, key 'arms.a.train': 'attn.qvk' is no role. "
    "Did you mean 'attn.qkv' or 'attn.v' or 'attn.q'?",
    "arms.b={freeze: attn@9-}": f"arms.b, key 'arms.b.freeze': 'attn@9-': '9-' is no layer. {LAYERS}",
    "arms.a.changes=[{at: 0, thaw: mlp}]": "arms.a.changes, key 'arms.a.changes.0.at': "
    "a change comes at step 1 or later; at step 0 the plan itself begins.",
    "measures.watch=norms": "measures.watch, key 'measures.watch': 'norms' is no role. Did you mean 'norm'?",
    "arms.b.train=[]": f"arms.b.train, key 'arms.b.train': {NO_SELECTOR}",
}


def write_recipe(folder: Path, arms: str) -> None:
    (folder / "bad.yaml").write_text(f"training: {{steps: 30}}\narms:\n{arms}\n", encoding="utf-8")


def error_of(*arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says is wrong; it ends with the code of a mistake."""
    monkeypatch.setattr(sys, "argv", ["frostline", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_plan_is_one_sentence_with_file_and_line(
    mistake: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arms, sentence = MISTAKES[mistake]
    write_recipe(folder, arms)
    error = error_of("run", "bad.yaml", monkeypatch=monkeypatch, capsys=capsys)
    assert error == f"error: bad.yaml:{sentence}\n"
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("override", OVERRIDES)
def test_a_mistake_in_an_override_names_the_override(
    override: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recipe(folder, "  a: {train: all}")
    error = error_of("run", "bad.yaml", "--set", override, monkeypatch=monkeypatch, capsys=capsys)
    assert error == f"error: --set {OVERRIDES[override]}\n"


@pytest.mark.parametrize("command", ["advise", "inspect"])
def test_a_signal_that_is_asked_for_is_checked_first(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = error_of(command, "bad.yaml", "--signal", "fishr", monkeypatch=monkeypatch, capsys=capsys)
    assert error.startswith("error: there is no signal 'fishr'. Did you mean 'fisher'? Signals: gradient-norm, ")


@pytest.mark.parametrize("command", ["run", "plan", "estimate", "time", "advise", "inspect"])
def test_no_command_imports_torch_before_its_recipe_is_right(command: str, folder: Path) -> None:
    write_recipe(folder, "  a: {train: [atn]}")
    script = (
        f"import sys\nsys.argv = ['frostline', {command!r}, 'bad.yaml']\nfrom frostline.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 2, end.code\n"
        "print(*{'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.startswith("error: bad.yaml:3, key 'arms.a.train': 'atn' is no role.")
    assert done.stdout.split() == []
