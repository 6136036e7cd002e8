"""What is inside a model, and where has training acted? Signals of an untouched model, transplants of a trained one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from transformers import PreTrainedModel

from frostline.advisor.candidates import full_training
from frostline.advisor.inspection import Inspection, Tuned
from frostline.advisor.signal_scores import score_signals
from frostline.advisor.transplant import Transplant, transplant
from frostline.advisor.trial import EVALUATION_BATCH
from frostline.arms import Prepared, apply_trained, ordinary_model, pinned, prepare
from frostline.cache import cache_folder
from frostline.engine import held_in_fp32, on_device, read_state
from frostline.errors import ModelError, RunFolderError, nearest
from frostline.loading import load_model, model_title
from frostline.plans import map_model
from frostline.recipe import ModelSettings, Recipe, Variant, trusting, variants_of
from frostline.run_folder import CHECKPOINT_FOLDER, kept_weights_folder, name_of_arm, saved_model_folder
from frostline.signals import KINDS, Signal, signal_inputs_of, signals_of
from frostline.stats import ArmRun, VariantRun, judge_claims, read_run
from frostline.storage import SealBrokenError, open_sealed

HOW_TO_SAVE = "name it in 'save: [ARM]' of the recipe, and run that."


def inspect_model(
    recipe: Recipe,
    cache: Path | None = None,
    *,
    names: Sequence[str] = tuple(KINDS),
    say: Callable[[str], None] = lambda sentence: None,
) -> Inspection:
    """Look inside the model of `recipe` with its corpus; the arms of the recipe play no part.

    `names` are signals, `cache` is the folder where they are kept (None: the usual one). Raises `FrostlineError` for
    what the user can fix, such as a signal that this model does not allow.
    """
    cache = cache_folder() if cache is None else cache
    first = variants_of(recipe)[0]
    prepared = _prepared(first.recipe, first.label, cache, say)
    signals = _signals(prepared, cache, names, say)
    return Inspection(recipe.name, model_title(first.recipe.model), prepared.corpus.description, signals)


def inspect_run(
    run_folder: Path | str,
    cache: Path | None = None,
    *,
    names: Sequence[str] = tuple(KINDS),
    arm: str | None = None,
    trusted_code: str | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Inspection:
    """Look inside the model of a run (its first variant), and at where the training of `arm` has acted.

    `arm` is one whose model, or whose trained tensors, were saved; the first of those if None. Raises `RunFolderError`
    where there is none of that name, or the folder holds no run.
    """
    run_folder = Path(run_folder)
    cache = cache_folder() if cache is None else cache
    run = read_run(run_folder)
    variant = run.variants[0] if run.variants else None
    if variant is None:
        raise RunFolderError(
            f"{run_folder}: the run stopped before its model was loaded.", "Go on with 'frostline resume'."
        )
    recipe = trusting(run.recipe, trusted_code)
    own = next(pinned(found, variant.prepared).recipe for found in variants_of(recipe) if found.label == variant.label)
    saved = _kept_arms(variant, run_folder)
    if arm is not None and arm not in saved:
        raise RunFolderError(
            f"{run_folder}: no trained model of an arm '{arm}' was saved there.",
            nearest(arm, saved) or f"To have one, {HOW_TO_SAVE}",
        )
    chosen = arm or next(iter(saved), None)
    prepared = _prepared(own, variant.label, cache, say, chosen)
    signals = _signals(prepared, cache, names, say)
    tuned, not_tuned = None, f"No trained model was saved, so that nothing tells where training acted: {HOW_TO_SAVE}"
    if chosen is not None:
        try:
            acts = _acts(prepared, variant.runs[variant.seeds[0], chosen], saved[chosen], cache, say)
        except ModelError as error:  # nothing was gained, or this model's layers cannot be patched
            not_tuned = f"Where the training of {chosen} acted cannot be told: {error.message}"
        else:
            layers = {layer: effect.alone for layer, effect in acts.layers.items() if effect.moved}
            roles = {role: effect.alone for role, effect in acts.roles.items() if effect.moved}
            scores = score_signals(signals.values(), layers, roles)
            tuned, not_tuned = Tuned(chosen, variant.seeds[0], acts, scores), ""
    claims = tuple(claim for claim in judge_claims(run) if claim.id == "C11")
    return Inspection(
        run.recipe.name, model_title(own.model), prepared.corpus.description, signals, tuned, not_tuned, claims
    )


def _prepared(recipe: Recipe, label: str, cache: Path, say: Callable[[str], None], arm: str | None = None) -> Prepared:
    """Model and corpus, and the plan of `arm`; whatever else the recipe trains is left aside."""
    full = full_training()
    sampling = recipe.measures.sampling.model_copy(update={"prompts": 0})
    own = {} if arm is None else {arm: recipe.arms[arm]}
    changes = {
        "arms": {full.name: full.arm, **own},
        "baseline": None,
        "save": {name: "all" for name in own if name in recipe.kept_weights},
        "retention": "none",
        "measures": recipe.measures.model_copy(update={"sampling": sampling}),
    }
    return prepare(Variant(label, recipe.model_copy(update=changes)), cache, say=say)


def _signals(prepared: Prepared, cache: Path, names: Sequence[str], say: Callable[[str], None]) -> dict[str, Signal]:
    inputs = signal_inputs_of(
        prepared.model,
        prepared.corpus,
        device=prepared.device,
        precision=prepared.precision,
        identity=prepared.identity,
    )
    return signals_of(inputs, cache, names, say=say)


def _kept_arms(variant: VariantRun, run_folder: Path) -> dict[str, Path]:
    """Folders, by arm, of the trained models or tensors of the first replicate that are there, whole."""
    seed = variant.seeds[0]
    places = {arm: saved_model_folder(run_folder, variant.label, arm) for arm in variant.recipe.saved_models}
    for arm in variant.recipe.kept_weights:
        places[arm] = kept_weights_folder(run_folder, name_of_arm(0, seed, arm))
    found = {}
    for arm, folder in places.items():
        run = variant.runs.get((seed, arm))
        if run is None or run.finished is None or not folder.is_dir():
            continue
        try:
            open_sealed(folder.parent, folder.name)
        except SealBrokenError as error:
            raise RunFolderError(
                str(error), f"{CHECKPOINT_FOLDER}/ was changed: 'frostline verify' tells more."
            ) from error
        found[arm] = folder
    return found


def _trained_model(prepared: Prepared, run: ArmRun, folder: Path, cache: Path) -> PreTrainedModel:
    """What the arm has trained, in `folder`, as a model."""
    if run.name in prepared.recipe.kept_weights:
        assert run.finished is not None
        planned, weights = prepared.arms_of(run.seed)[run.name], read_state(folder).weights
        return ordinary_model(apply_trained(prepared, planned, run.seed, run.finished.steps, weights))
    source = ModelSettings(source=str(folder)).trusting(prepared.recipe.model.trusted_code)
    return load_model(source, cache, as_filed=prepared.precision)


def _acts(prepared: Prepared, run: ArmRun, folder: Path, cache: Path, say: Callable[[str], None]) -> Transplant:
    trained = on_device(_trained_model(prepared, run, folder, cache), prepared.device)
    with held_in_fp32([*prepared.model.parameters(), *trained.parameters()]):
        return transplant(
            prepared.model,
            trained,
            map_model(prepared.model),
            lambda: prepared.corpus.held_out_batches(EVALUATION_BATCH),
            device=prepared.device,
            precision=prepared.precision,
            say=say,
        )
