"""Names that are not UTF-8, folders that are gone or cannot be written to: they work, or are told before any work."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from frostline import cache
from frostline.errors import CacheError, CorpusError, ModelError, RunFolderError
from frostline.recipe import load_recipe, require_corpus, require_model
from frostline.report import write_report
from frostline.run_folder import VariantPrepared, read_journal, records_of, require_can_be_made
from frostline.stats import read_summary, write_summary
from tests.builders.experiments import run_tiny, write_experiment

ODD = os.fsdecode(b"caf\xe9")
"""A name as Latin-1 has it."""
needs_any_bytes = pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there")


@needs_any_bytes
def test_a_corpus_whose_name_is_not_utf8_is_trained_on(tmp_path: Path) -> None:
    corpus = {"source": f"{ODD}.txt"}  # which YAML writes as "caf\\uDCE9.txt"
    recipe = write_experiment(tmp_path, layers=2, seeds=[0], arms={"full": {"train": "all"}}, corpus=corpus)
    (tmp_path / "text.txt").rename(tmp_path / f"{ODD}.txt")
    recipe = recipe.rename(tmp_path / f"{ODD}.yaml")
    run = tmp_path / "run"
    run_tiny(recipe, run)
    write_summary(run)
    write_report(run)
    assert read_summary(run).variants[0].corpus == f"{ODD}.txt"
    (facts,) = records_of(read_journal(run), VariantPrepared)
    assert facts.corpus.description == f"{ODD}.txt"
    assert "caf\u27e8U+DCE9\u27e9.txt" in (run / "report.html").read_text(encoding="utf-8")


@needs_any_bytes
def test_models_run_folders_and_caches_whose_names_are_not_utf8_are_told(tmp_path: Path) -> None:
    recipe = write_experiment(tmp_path / "project").parent.rename(tmp_path / ODD) / "recipe.yaml"
    with pytest.raises(ModelError, match=r"is not UTF-8, and no tokenizer is read there. Rename it"):
        require_model(load_recipe(recipe).model)
    with pytest.raises(RunFolderError, match=r"its name is not UTF-8, and no weights are saved there. Rename it"):
        require_can_be_made(tmp_path / ODD / "run")
    with pytest.raises(CacheError, match="is not UTF-8"):
        cache.usable_cache(tmp_path / ODD)


def test_a_run_folder_that_cannot_be_made_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    require_can_be_made(tmp_path / "a" / "b")
    for path in (tmp_path / "file" / "run", tmp_path / "file"):
        with pytest.raises(RunFolderError, match=r"cannot be made: .*file.*Choose another folder with --out"):
            require_can_be_made(path)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(RunFolderError, match="no right to write into"):
        require_can_be_made(tmp_path / "a" / "b")


def test_temporary_files_go_into_the_cache_where_there_is_no_place_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", "/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    cache.settle_temporary_files(tmp_path)
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(tmp_path)


def test_a_present_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    code = (
        f"import os; os.mkdir({str(tmp_path / 'gone')!r}); os.chdir({str(tmp_path / 'gone')!r})\n"
        f"os.rmdir({str(tmp_path / 'gone')!r}); import sys; sys.argv = ['frostline', 'init']\n"
        "from frostline.cli.app import main; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path("src").absolute())}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert told.stderr == "error: the present folder is not there any more. Go to one that is (cd).\n"


@pytest.mark.parametrize(
    ("missing", "there", "meant"),
    [
        ("corpus.txt", ["constraints.txt", "corpus.py", "corpus.yaml", ".corpus.txt"], ""),
        ("corpus.txt", ["corpora.txt", "constraints.txt"], "corpora.txt"),
        ("txt.text", ["text.txt"], "text.txt"),
        ("corpus.txt", ["corpus.jsonl", "constraints.txt"], "corpus.jsonl"),
        ("corpus.txt", ["Corpus.TXT"], "Corpus.TXT"),
        ("rows.jsonl", ["rows.jsonl.gz"], "rows.jsonl.gz"),
    ],
)
def test_only_a_near_name_of_a_text_is_suggested(missing: str, there: list[str], meant: str, tmp_path: Path) -> None:
    for name in there:
        (tmp_path / name).touch()
    (tmp_path / "recipe.yaml").write_text(f"arms: {{full: {{train: all}}}}\ncorpus: {{source: {missing}}}\n")
    with pytest.raises(CorpusError) as caught:
        require_corpus(load_recipe(tmp_path / "recipe.yaml").corpus)
    assert caught.value.hint == (
        f"Did you mean '{meant}'?" if meant else "Paths in a recipe are relative to its folder."
    )
