"""An error gathers its place while it rises, and is told in one line."""

from __future__ import annotations

import pickle
from copy import copy
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import frostline
from frostline.corpus.conversations import TooLongError
from frostline.errors import DivergedError, FrostlineError, MemoryRanOutError, ModelError, PlanError, at, nearest
from frostline.recipe import Recipe, RecipeSource, parse_recipe, variants_of

TEXT = """\
arms:
  full: {train: all}
  freeze:
    train:
      - attn.q
      - mlp.gate
measures: {watch: [attn]}
vary: {corpus.tokens: [1000, 2000]}
"""


def recipe() -> Recipe:
    return parse_recipe(TEXT, ["measures.watch=[head]"], path=Path("own.yaml"))


def fail_at(*keys: str | int) -> None:
    raise PlanError("nothing matches.", "Write something else.").at(*keys)


def test_keys_are_put_before_those_that_are_known() -> None:
    with pytest.raises(PlanError) as caught, at("arms", "freeze"), at("train"):
        fail_at(1)
    assert caught.value.keys == ("arms", "freeze", "train", 1)
    assert caught.value.message == "nothing matches."
    assert str(caught.value) == "arms.freeze.train: nothing matches. Write something else."


def test_an_error_without_a_place_is_its_sentence() -> None:
    assert str(ModelError("no model.")) == "no model."
    assert str(ModelError("no model.", "Name one.")) == "no model. Name one."


def test_what_was_being_done_stands_beside_the_place() -> None:
    error = ModelError("no model.").during("arm full").during("vary x=1")
    assert str(error) == "vary x=1, arm full: no model."
    assert str(error.at("model", "source")) == "model.source (vary x=1, arm full): no model."


def test_an_error_is_one_line_whatever_its_place_quotes() -> None:
    error = FrostlineError("a\nb").at("arms", "x\ny\x1b[31m").during("vary\nz")
    assert "\n" not in str(error)
    assert "\x1b" not in str(error)


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        (("arms", "freeze", "train", 1), "own.yaml:6, key 'arms.freeze.train'"),
        (("arms", "freeze", "train", 7), "own.yaml:4, key 'arms.freeze.train'"),
        (("arms", "freeze"), "own.yaml:3, key 'arms.freeze'"),
        (("training", "device"), "own.yaml:1, key 'training.device'"),
        (("measures", "watch", 0), "--set measures.watch, key 'measures.watch'"),
    ],
)
def test_a_recipe_tells_file_and_line_or_the_override(keys: tuple[str | int, ...], place: str) -> None:
    with pytest.raises(PlanError) as caught, recipe().locating_errors():
        fail_at(*keys)
    assert str(caught.value) == f"{place}: nothing matches. Write something else."


def test_a_variant_tells_its_label_once_also_where_no_key_is_at_fault() -> None:
    variant = variants_of(recipe())[1].recipe
    with pytest.raises(PlanError) as caught, variant.locating_errors(), variant.locating_errors():
        fail_at("arms", "full")
    assert str(caught.value).startswith("own.yaml:2, key 'arms.full' (vary corpus.tokens=2000): nothing matches.")
    with pytest.raises(PlanError) as caught, variant.locating_errors():
        fail_at()
    assert str(caught.value).startswith("vary corpus.tokens=2000: nothing matches.")


def test_a_recipe_that_was_written_nowhere_names_the_key() -> None:
    with pytest.raises(PlanError) as caught, Recipe.model_validate({"arms": {"a": {"train": "all"}}}).locating_errors():
        fail_at("arms", "a")
    assert str(caught.value).startswith("recipe, key 'arms.a': nothing matches.")


def test_where_a_recipe_was_written_is_no_part_of_what_it_says() -> None:
    other = recipe().written_in(RecipeSource(Path("other.yaml"), {(): 9}))
    assert other == recipe()
    assert other.model_dump() == recipe().model_dump()


def test_a_copy_of_an_error_keeps_all_that_it_says() -> None:
    error = PlanError("nothing matches.", "Write something else.").at("arms").during("arm full")
    copied = copy(error)  # as one from another process, by pickle, is made
    assert str(copied) == str(error)
    assert (copied.message, copied.hint, copied.keys) == (error.message, error.hint, error.keys)


def test_long_paths_lose_their_middle_where_the_sentence_would_be_long() -> None:
    folder = "/home/somebody/" + "a" * 200 + "/model"
    error = ModelError(f"'{folder}', config.json: it is not valid JSON.", "Copy or download it again.").at("model")
    error.place = f"{folder}/recipe.yaml:4, key 'model.source'"
    told = str(error)
    assert len(told) < 300
    assert "/recipe.yaml:4, key 'model.source': '/home/somebody/aaaaaaaaaa..." in told
    assert told.endswith("/model', config.json: it is not valid JSON. Copy or download it again.")
    assert folder in error.message
    error.place = ""
    assert folder in str(error), "a path that alone is long stays whole"


@pytest.mark.parametrize(
    ("overrides", "place"),
    [
        (["corpus.tokens=40"], "own.yaml:1 with --set corpus.tokens, key 'corpus'"),
        (["corpus.source=empty.txt"], "own.yaml:1 with --set corpus.source, key 'corpus'"),
        (
            ["corpus.source=a", "training.steps=3", "corpus.column=b"],
            "own.yaml:1 with --set corpus.source, --set corpus.column, key 'corpus'",
        ),
        (["corpus.source=a", "corpus.sha256=b"], "--set corpus.source, --set corpus.sha256, key 'corpus'"),
        (["corpus={source: a}"], "--set corpus, key 'corpus'"),
        (["training.steps=3"], "own.yaml:1, key 'corpus'"),
    ],
)
def test_an_error_at_what_file_and_overrides_have_made_names_both(overrides: list[str], place: str) -> None:
    text = f"corpus: {{source: own.txt, sha256: {'a' * 64}}}\narms: {{full: {{train: all}}}}\n"
    with pytest.raises(PlanError) as caught, parse_recipe(text, overrides, path=Path("own.yaml")).locating_errors():
        fail_at("corpus")
    assert str(caught.value) == f"{place}: nothing matches. Write something else."


@pytest.mark.parametrize(
    ("name", "choices", "meant"),
    [
        ("foo", ["tensorboard", "trackio", "wandb", "mlflow"], None),
        ("aim", ["tensorboard", "trackio", "wandb", "mlflow"], None),
        ("nope", ["full", "upper", "lower"], None),
        ("tensorbord", ["tensorboard", "trackio", "wandb", "mlflow"], "tensorboard"),
        ("uper", ["full", "upper", "lower"], "upper"),
        ("al", ["model", "all"], "all"),
        ("rya", ["ray"], "ray"),
        ("frozen", ["full", "freeze"], "freeze"),
    ],
)
def test_a_name_is_suggested_only_where_it_is_close(name: str, choices: list[str], meant: str | None) -> None:
    assert nearest(name, choices) == (f"Did you mean '{meant}'?" if meant else "")


def kinds_of_errors() -> list[type[FrostlineError]]:
    """All, of every module."""
    for module in walk_packages(frostline.__path__, "frostline."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    found = [FrostlineError]
    for kind in found:
        found += kind.__subclasses__()
    return [kind for kind in found if kind.__module__.startswith("frostline.")]


def test_every_error_reaches_another_process_as_it_was() -> None:
    kinds = kinds_of_errors()
    assert {TooLongError, MemoryRanOutError, DivergedError} <= set(kinds)
    for kind in kinds:
        given: dict[type[FrostlineError], tuple[object, ...]] = {
            TooLongError: (1, 43, 2, 24, "pairs.jsonl:2"),
            MemoryRanOutError: ("arm full: memory ran out.",),
        }
        error = kind(*given.get(kind, ("nothing works.", "Do something else."))).at("arms", 1).during("a step")  # type: ignore[arg-type]
        for again in (pickle.loads(pickle.dumps(error)), copy(error)):  # noqa: S301  # its own
            assert type(again) is kind
            assert vars(again) == vars(error)
            assert (str(again), again.args) == (str(error), error.args)
