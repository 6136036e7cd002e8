"""What is inside a model? What `frostline inspect` does; and the model itself, for a loop of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from frostline.errors import RecipeError
from frostline.verbs.work import ProgressWanted, at_work, meant

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from frostline.advisor import Inspection
    from frostline.recipe import GivenRecipe, ModelSettings

PAGE = "inspect.html"


def inspect_model(
    model: GivenRecipe,
    *,
    corpus: str | PathLike[str] | None = None,
    length: int | None = None,
    signals: Sequence[str] | None = None,
    page: str | PathLike[str] | None = None,
    trusted_code: str | None = None,
    cache: str | Path | None = None,
    progress: ProgressWanted = False,
) -> Inspection:
    """What each layer and role of `model` does for a text; `Inspection.frame()` has it as a table.

    `model` is `"embedded"`, a folder or a hub id, which reads the text `corpus` in windows of `length` tokens; or a
    recipe (a path, a mapping or a `Recipe`), which names both. `signals` are the names of those looked at, all if None.
    `page` is a file to write the page to. The other parameters are as in `run`.
    """
    names = _checked(signals)
    recipe = meant(_recipe_of(model, corpus, length), (), trusted_code)

    from frostline.advisor import inspect_model
    from frostline.report import write_inspection

    with at_work(cache, progress) as work:
        found = inspect_model(recipe, work.cache, names=names, say=work.progress.say)
        if page is not None:
            write_inspection(Path(page), found)
    return found


def inspect_run(
    folder: str | PathLike[str],
    *,
    arm: str | None = None,
    signals: Sequence[str] | None = None,
    page: str | PathLike[str] | None = None,
    trusted_code: str | None = None,
    cache: str | Path | None = None,
    progress: ProgressWanted = False,
) -> Inspection:
    """What is inside the model of the run in `folder`, and where the training of `arm` has acted.

    `arm` is one whose trained model was saved, the first of those if None. The rest is as in `inspect_model`.
    """
    names = _checked(signals)

    from frostline.advisor import inspect_run
    from frostline.report import write_inspection

    with at_work(cache, progress) as work:
        found = inspect_run(
            Path(folder), work.cache, names=names, arm=arm, trusted_code=trusted_code, say=work.progress.say
        )
        if page is not None:
            write_inspection(Path(page), found)
    return found


def inspect_target(
    target: str,
    *,
    corpus: str | None,
    length: int | None,
    arm: str | None,
    signals: Sequence[str] | None,
    page: Path | None,
    trusted_code: str | None,
    progress: ProgressWanted,
) -> tuple[Inspection, Path]:
    """Inspect a run folder, a model or a recipe, whichever `target` is; what was found, and its page."""
    from frostline.run_folder import holds_run

    if not holds_run(Path(target)):
        if arm is not None:
            raise RecipeError(f"--arm {arm}: {target} is no run folder.", "Only a run has trained arms.")
        page = page or Path(PAGE)
        found = inspect_model(
            target,
            corpus=corpus,
            length=length,
            signals=signals,
            page=page,
            trusted_code=trusted_code,
            progress=progress,
        )
        return found, page
    if corpus is not None or length is not None:
        raise RecipeError(
            f"{target}: a run has its own corpus and windows.", "Use --corpus and --length with a model alone."
        )
    page = page or Path(target) / PAGE
    found = inspect_run(target, arm=arm, signals=signals, page=page, trusted_code=trusted_code, progress=progress)
    return found, page


def load_model(
    source: str = "embedded",
    *,
    revision: str | None = None,
    trusted_code: str | None = None,
    cache: str | Path | None = None,
) -> PreTrainedModel:
    """The model as an experiment would load it: in fp32, from safetensors, in train mode.

    `source` is `"embedded"`, a folder written by `save_pretrained`, or a hub id. Every weight is that of the files, all
    are finite, and no later token changes earlier logits: raises `ModelError` where one of these is not so.
    """
    from frostline.loading import load_model

    with at_work(cache, False) as work:
        return load_model(_model(source, revision, trusted_code), work.cache)


def load_tokenizer(
    source: str = "embedded",
    *,
    revision: str | None = None,
    trusted_code: str | None = None,
    cache: str | Path | None = None,
) -> PreTrainedTokenizerBase:
    """The tokenizer of that model; parameters as in `load_model`."""
    from frostline.loading import load_tokenizer

    with at_work(cache, False) as work:
        return load_tokenizer(_model(source, revision, trusted_code), work.cache)


def _model(source: str, revision: str | None, trusted_code: str | None) -> ModelSettings:
    from frostline.recipe import ModelSettings

    return ModelSettings(source=source, revision=revision).trusting(trusted_code)


def _checked(signals: Sequence[str] | None) -> tuple[str, ...]:
    from frostline.recipe import SIGNALS, require_signal

    for name in signals or ():
        require_signal(name)
    return tuple(dict.fromkeys(signals)) if signals else tuple(SIGNALS)


def _recipe_of(model: GivenRecipe, corpus: str | PathLike[str] | None, length: int | None) -> GivenRecipe:
    from frostline.recipe import inspected_recipe

    if isinstance(model, str | PathLike):
        return inspected_recipe(str(model), None if corpus is None else str(corpus), length)
    if corpus is not None or length is not None:
        raise RecipeError("A recipe names its own corpus and windows.", "Give these with a model alone.")
    return model
