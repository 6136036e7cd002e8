"""Whoever the user is, and wherever things lie: what cannot be used is told, what was moved is found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from frostline.cache import cache_folder, settle_other_caches
from frostline.errors import CacheError, CorpusError, RecipeError, RunFolderError
from frostline.experiment import recorded_recipe, require_files
from frostline.recipe import Place, load_recipe, place_content, recipe_hash, require_corpus, variants_of

RECIPE = "corpus: {source: text.txt}\narms: {full: {train: all}}\nvary: {model.source: [small, large]}\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A recipe with its text, two models, and a run folder below it."""
    folder = tmp_path / "project"
    for name in ("small", "large", "runs/one"):
        (folder / name).mkdir(parents=True)
    (folder / "text.txt").write_text("a text", encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    run = folder / "runs" / "one"
    (run / "experiment.yaml").write_text(RECIPE, encoding="utf-8")
    (run / "frostline-place.json").write_bytes(place_content(run, Place(folder)))
    return folder


def test_varied_models_are_relative_to_the_recipe_from_any_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small").mkdir()
    monkeypatch.chdir(tmp_path)
    models = [variant.recipe.model for variant in variants_of(load_recipe(project / "recipe.yaml"))]
    assert [model.source for model in models] == ["small", "large"]
    assert [model.place.path_of(model.source) for model in models] == [project / "small", project / "large"]


def test_a_recorded_recipe_is_found_where_its_project_was_moved(project: Path, tmp_path: Path) -> None:
    before = recipe_hash(load_recipe(project / "recipe.yaml"))
    moved = project.rename(tmp_path / "elsewhere")
    recipe = load_recipe(moved / "runs" / "one" / "experiment.yaml")
    assert recipe.place.folder == moved
    assert recipe_hash(recipe) == before


def test_a_recorded_recipe_whose_run_folder_alone_was_moved_is_found_by_its_folder(
    project: Path, tmp_path: Path
) -> None:
    shutil.move(project / "runs" / "one", tmp_path / "alone")
    with pytest.raises(RunFolderError, match=r"Say where the folder of the recipe is now: .* --from FOLDER"):
        require_files(tmp_path / "alone", recorded_recipe(tmp_path / "alone"))
    require_files(tmp_path / "alone", recorded_recipe(tmp_path / "alone", recipe_folder=project))


def test_the_place_file_of_an_older_version_finds_the_recipe_of_a_run_folder_that_was_moved(
    project: Path, tmp_path: Path
) -> None:
    known = {"recipe_folder": "../..", "recipe_folder_when_written": str(project)}
    (project / "runs" / "one" / "frostline-place.json").write_text(json.dumps(known), encoding="utf-8")
    (tmp_path / "deep").mkdir()
    shutil.move(project / "runs" / "one", tmp_path / "deep" / "alone")
    assert load_recipe(tmp_path / "deep" / "alone" / "experiment.yaml").place.folder == project


@pytest.mark.parametrize(
    ("run", "said"),
    [("home/max/project/runs/a", "../.."), ("home/max/runs/a", "../../project"), ("scratch/a", "~/project")],
)
def test_a_run_folder_never_says_where_the_home_folder_of_its_writer_is(
    run: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, folder = tmp_path / "home/max/project", tmp_path / run
    monkeypatch.setenv("HOME", str(tmp_path / "home/max"))
    project.mkdir(parents=True)
    folder.mkdir(parents=True)
    (folder / "experiment.yaml").write_text(RECIPE, encoding="utf-8")
    (folder / "frostline-place.json").write_bytes(place_content(folder, Place(project)))
    assert json.loads((folder / "frostline-place.json").read_text()) == {"recipe_folder": said}
    assert load_recipe(folder / "experiment.yaml").place.folder == project


def test_a_folder_named_like_the_sign_for_home_is_that_folder(tmp_path: Path) -> None:
    (tmp_path / "run/~/project").mkdir(parents=True)
    (tmp_path / "run/experiment.yaml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "run/frostline-place.json").write_bytes(
        place_content(tmp_path / "run", Place(tmp_path / "run/~/project"))
    )
    assert load_recipe(tmp_path / "run/experiment.yaml").place.folder == tmp_path / "run/~/project"


def test_a_place_file_that_says_nothing_is_told(project: Path) -> None:
    (project / "runs" / "one" / "frostline-place.json").write_text("[]", encoding="utf-8")
    with pytest.raises(RecipeError, match="does not say where the recipe's folder is"):
        load_recipe(project / "runs" / "one" / "experiment.yaml")


def test_a_mistyped_corpus_is_told_with_its_nearest_name(project: Path) -> None:
    recipe = load_recipe(project / "recipe.yaml", ["corpus.source=tezt.txt"])
    with pytest.raises(CorpusError, match=r"tezt\.txt'. Did you mean 'text\.txt'"):
        require_corpus(recipe.corpus)


def test_a_cache_folder_in_which_a_file_stands_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for folder in ("file", "file/below"):
        monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / folder))
        with pytest.raises(
            CacheError, match=r"cannot be made: .*Name a folder that can be written, by .*FROSTLINE_CACHE"
        ):
            cache_folder()


def test_without_a_home_other_caches_go_below_the_named_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.setenv(name, "")
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "cache"))
    settle_other_caches()
    assert os.environ["HF_HOME"] == str(tmp_path / "cache" / "huggingface")


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="only root becomes another user")
def test_a_user_without_a_name_or_home_is_told_to_name_a_cache_folder() -> None:
    code = (
        "import os; from frostline.cache import cache_folder; os.environ.pop('HOME', None); os.setuid(54321)\n"
        "from frostline.errors import CacheError\ntry: cache_folder()\nexcept CacheError as error: print(error)"
    )
    environment = {key: value for key, value in os.environ.items() if key not in ("FROSTLINE_CACHE", "XDG_CACHE_HOME")}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "there is no home folder" in told.stdout
    assert "FROSTLINE_CACHE" in told.stdout


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_letters_that_the_output_cannot_show_are_replaced(encoding: str, project: Path) -> None:
    recipe = project / "\u4e2d.yaml"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "frostline", "plan", str(recipe)]
    told = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert told.returncode == 2
    assert b"there is no such recipe file" in told.stderr
    assert b"Traceback" not in told.stderr
