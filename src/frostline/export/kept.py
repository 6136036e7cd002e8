"""Whose training is meant, was it kept, and is everything there that it was trained with?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from frostline.arms import PlannedArm, Prepared, pinned, prepare
from frostline.engine import read_state, settle_device
from frostline.errors import RunFolderError, nearest
from frostline.experiment import recorded_recipe, require_files
from frostline.loading import load_model
from frostline.measures import weights_sha256
from frostline.plans import Portion, value_of
from frostline.recipe import ModelSettings, Recipe, trusting, variants_of
from frostline.run_folder import is_of_first_version, kept_weights_folder, name_of_arm, saved_model_folder
from frostline.stats import ArmRun, RecordedRun, VariantRun, read_run
from frostline.storage import SealBrokenError, open_sealed

Say = Callable[[str], None]


@dataclass(frozen=True)
class Choice:
    """What a user wants of a run folder."""

    run_folder: Path
    arm: str
    seed: int | None = None
    """None for the first one."""
    variant: str | None = None
    """None where the run has one alone."""


@dataclass(frozen=True)
class Kept:
    """An arm of one replicate that has finished, and whose training was kept."""

    run_folder: Path
    run: RecordedRun
    variant: VariantRun
    arm: ArmRun
    folder: Path
    """Sealed; every byte of it is as it was written."""
    is_model: bool
    """Whether it holds the whole trained model, rather than the trained tensors alone."""

    @property
    def steps(self) -> int:
        """Steps that the arm took."""
        assert self.arm.finished is not None
        return self.arm.finished.steps

    @property
    def loss(self) -> float:
        """Its own held-out loss at the end, nats a token."""
        return self.arm.held_out[self.steps]

    def weights(self, prepared: Prepared, cache: Path) -> dict[str, Tensor]:
        """What has trained, by its name in the arm, in fp32; merged weights by their parameters for adapters.

        May share memory with files.
        """
        if not self.is_model:
            return read_state(self.folder).weights
        settings = ModelSettings(source=str(self.folder)).trusting(prepared.recipe.model.trusted_code)
        model = load_model(settings, cache, as_filed=prepared.precision)
        return {portion.name: value_of(model, portion) for portion in trained_portions(self, prepared)}


def trained_portions(kept: Kept, prepared: Prepared) -> list[Portion]:
    """What the arm trained in any of its steps, itself or by adapters."""
    resolved = planned_arm(kept, prepared).resolved
    trained = {name for phase in resolved.phases if phase.at < kept.steps for name in phase.trained}
    trained |= {portion.name for portion in resolved.targets}
    return [portion for portion in resolved.portions if portion.name in trained]


def planned_arm(kept: Kept, prepared: Prepared) -> PlannedArm:
    """The arm as planned for its replicate."""
    return prepared.arms_of(kept.arm.seed)[kept.arm.name]


def find_kept(choice: Choice) -> Kept:
    """What was kept of the arm that is meant. Raises `RunFolderError` where there is none, in a sentence."""
    run_folder, run = choice.run_folder, read_run(choice.run_folder)
    if run.ended is None or run.ended.status != "finished":
        raise RunFolderError(f"{run_folder}: the run has not finished.", f"Go on: frostline resume {run_folder}")
    variant = _variant(choice, run)
    if choice.arm not in run.recipe.arms:
        arms = ", ".join(run.recipe.arms)
        hint = nearest(choice.arm, run.recipe.arms)
        raise RunFolderError(f"{run_folder}: there is no arm '{choice.arm}': the arms are {arms}.", hint)
    seed = variant.seeds[0] if choice.seed is None else choice.seed
    if seed not in variant.seeds:
        raise RunFolderError(
            f"{run_folder}: there is no seed {seed}: the seeds are {', '.join(map(str, variant.seeds))}."
        )
    arm = variant.runs.get((seed, choice.arm))
    if arm is None or arm.finished is None:
        cause = "" if arm is None or arm.failed is None else f": {arm.failed.cause}"
        raise RunFolderError(
            f"{run_folder}: arm {choice.arm}, seed {seed}, has not finished{cause}.",
            f"Try it again: frostline resume {run_folder} --retry-failed",
        )
    folder, is_model = _folder(choice, run, variant, seed)
    return Kept(run_folder, run, variant, arm, folder, is_model)


def _variant(choice: Choice, run: RecordedRun) -> VariantRun:
    labels = [variant.label for variant in run.variants]
    if choice.variant is None and len(labels) == 1:
        return run.variants[0]
    if choice.variant not in labels:
        found = "it has several" if choice.variant is None else f"there is no variant '{choice.variant}'"
        raise RunFolderError(f"{choice.run_folder}: {found}: {', '.join(labels) or 'it varies nothing'}.", _way(labels))
    return run.variants[labels.index(choice.variant)]


def _way(labels: list[str]) -> str:
    return f"Name one: --variant {labels[-1]}" if len(labels) > 1 else "Leave out --variant."


def _folder(choice: Choice, run: RecordedRun, variant: VariantRun, seed: int) -> tuple[Path, bool]:
    """The folder in which the training was kept, and whether it is that of a whole model."""
    index = run.variants.index(variant)
    weights = kept_weights_folder(choice.run_folder, name_of_arm(index, seed, choice.arm))
    model = saved_model_folder(choice.run_folder, variant.label, choice.arm)
    is_model = not weights.is_dir() and seed == variant.seeds[0] and choice.arm in variant.recipe.saved_models
    folder = model if is_model else weights
    if not folder.is_dir():
        raise RunFolderError(
            f"{choice.run_folder}: the weights of {choice.arm}, seed {seed}, were not kept{_others(run.recipe)}.",
            f"Keep them: run it again into another folder with --set 'save={{{choice.arm}: all}}'.",
        )
    try:
        open_sealed(folder.parent, folder.name)
    except SealBrokenError as error:
        raise RunFolderError(str(error), "Checkpoints were changed: 'frostline verify' tells more.") from error
    return folder, is_model


def _others(recipe: Recipe) -> str:
    """Those that were kept, as the end of a sentence."""
    first = [f"{arm} (seed {recipe.seeds[0]})" for arm in recipe.saved_models]
    kept = [*first, *(f"{arm} (every seed)" for arm in recipe.kept_weights)]
    return f"; those of {', '.join(kept)} were" if kept else ""


def prepare_base(kept: Kept, cache: Path, *, recipe_folder: Path | None, trusted_code: str | None) -> Prepared:
    """The base model, its tokenizer and the held-out windows, all as they were when the run was begun.

    Raises `FrostlineError` where one of them is gone or has changed.
    """
    recipe = recorded_recipe(kept.run_folder, (), recipe_folder)
    try:
        require_files(kept.run_folder, recipe)
    except RunFolderError as error:
        raise RunFolderError(error.message, "Say where the folder of the recipe is now, with --from FOLDER.") from error
    settle_device(recipe.training.device)
    variants = {variant.label: variant for variant in variants_of(trusting(recipe, trusted_code))}
    wanted = pinned(variants[kept.variant.label], kept.variant.prepared)
    prepared = prepare(replace(wanted, recipe=_without_texts(wanted.recipe)), cache, say=lambda sentence: None)
    then = kept.variant.prepared
    now = prepared.identity.sha256
    if is_of_first_version(then):
        now = weights_sha256(prepared.model.named_parameters())
    if now != then.model_sha256:
        raise RunFolderError(
            f"{kept.run_folder}: the base model '{recipe.model.source}' is not what it was when the run was begun.",
            "Bring back the files that it had: what froze is taken from there.",
        )
    if then.corpus.tokens_sha256 not in ("", prepared.corpus.tokens_sha256):
        raise RunFolderError(
            f"{kept.run_folder}: the corpus is not what it was when the run was begun: no loss can be compared.",
            "Bring back the text that it had.",
        )
    return prepared


def _without_texts(recipe: Recipe) -> Recipe:
    """`recipe` without what an export does not look at: generated text, its judge, and forgetting."""
    sampling = recipe.measures.sampling.model_copy(update={"prompts": 0})
    measures = recipe.measures.model_copy(update={"sampling": sampling, "judge": None})
    return recipe.model_copy(update={"measures": measures, "retention": "none"})
