"""Is a run folder what it says it is? Every hash is computed again, and whatever follows from others derived anew."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from transformers import PreTrainedModel

from frostline.arms import OwnText, Prepared, facts_of, pinned, prepare
from frostline.corpus import Corpus
from frostline.engine import read_state, settle_device
from frostline.errors import FrostlineError, ModelError, RunFolderError
from frostline.experiment.checkpoints import TRAINING_FOLDER
from frostline.experiment.resume import placed_in, require_files
from frostline.loading import load_model
from frostline.machine import describe_machine
from frostline.measures import state_tensors, weights_sha256
from frostline.plans import value_of
from frostline.recipe import ModelSettings, Recipe, recipe_hash, trusting, variants_of
from frostline.run_folder import (
    CHECKPOINT_FOLDER,
    REPORT_FILE,
    SUMMARY_FILE,
    WEIGHTS_FOLDER,
    CorpusFacts,
    changes_of_machine,
    is_of_first_version,
    kept_weights_folder,
    name_of_arm,
    run_lock,
    saved_model_folder,
)
from frostline.stats import RULES, RecordedRun, VariantRun, check, judged_by, read_run, read_summary, summarise
from frostline.storage import LOCK_FILE, SealBrokenError, open_sealed


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    what: str
    holds: bool | None
    """None where it could not be checked."""
    sentence: str


def verify_run(
    run_folder: Path,
    cache: Path,
    *,
    say: Callable[[str], None],
    render_report: Callable[[Path], str],
    trusted_code: str | None = None,
    recipe_folder: Path | None = None,
) -> list[Finding]:
    """Check the whole of `run_folder`; model and corpus are loaded for it, the model's own code only if trusted.

    They are looked for in `recipe_folder`; where the recipe was, seen from the run folder, if that is None.
    `render_report` makes the report's page of a run folder anew (`frostline.report`).

    Raises `RunFolderError` where it is no run folder, its journal is damaged, or a process is at work there.
    """
    run = read_run(run_folder)
    with _nobody_writing(run_folder, say):
        wanted = placed_in(recipe_folder, trusting(run.recipe, trusted_code))
        return list(_findings(run, run_folder, cache, say, render_report, wanted))


def _nobody_writing(run_folder: Path, say: Callable[[str], None]) -> AbstractContextManager[None]:
    """The lock; none where a folder that is nobody's now cannot be written to, such as one that was passed on."""
    if os.access(run_folder, os.W_OK) or (run_folder / LOCK_FILE).exists():
        return run_lock(run_folder, say)
    return nullcontext()


def _findings(
    run: RecordedRun,
    run_folder: Path,
    cache: Path,
    say: Callable[[str], None],
    render_report: Callable[[Path], str],
    recipe: Recipe,
) -> Iterator[Finding]:
    same = recipe_hash(run.recipe) == run.started.recipe_sha256
    yield Finding("recipe", same, "It has the hash that the journal begins with." if same else "It was changed.")
    yield Finding("journal", True, "Every line is whole, and none is missing.")
    for variant in run.variants:
        checks = check(variant)
        own_weights = all(arm.started.initial_sha256 == variant.prepared.model_sha256 for arm in variant.runs.values())
        yield _of(variant, "pairing", checks.pairing_holds, checks.pairing)
        if not own_weights:
            yield _of(variant, "pairing", False, "An arm did not begin from the weights that the run names.")
        yield _of(variant, "frozen weights", checks.frozen_holds, checks.frozen)
        yield _steps(variant)
    yield from _sealed(run_folder)
    settings = {variant.label: variant for variant in variants_of(recipe)}
    settle_device(run.recipe.training.device)
    changes = changes_of_machine(run.started.environment, describe_machine())
    for index, variant in enumerate(run.variants):
        try:
            wanted = replace(pinned(settings[variant.label], variant.prepared), own_text=())  # it is written again
            prepared = prepare(wanted, cache, say=say)
        except FrostlineError as error:
            reason = _where_moved(run_folder, recipe) or error
            yield _of(variant, "model and corpus", None, f"They cannot be loaded: {reason}")
            continue
        yield from _facts(variant, prepared, changes)
        yield _windows(variant, prepared.corpus)
        yield from _saved_models(variant, prepared, run_folder, cache)
        yield from _kept_weights(variant, index, prepared, run_folder)
    yield from _derived(run_folder, render_report)


def _where_moved(run_folder: Path, recipe: Recipe) -> str:
    """What would work where the run was moved away from a file that its recipe names; empty where none is missing."""
    try:
        require_files(run_folder, recipe, "verify")
    except FrostlineError as moved:
        return f"{moved.message} {moved.hint}"  # paths whole, to be copied
    return ""


def _steps(variant: VariantRun) -> Finding:
    """Whether what finished took the steps that the recipe names, or that its budget of time became for the arm."""
    training, settled = variant.recipe.training, variant.steps_settled
    finished = {place: run for place, run in variant.runs.items() if run.finished is not None}
    for (seed, arm), run in finished.items():
        if training.seconds is not None and arm not in settled:
            return _of(variant, "steps", None, f"The journal does not say how many the budget of time allows {arm}.")
        wanted = settled.get(arm, training.steps)
        ended = 0 if run.finished is None else run.finished.steps
        if not len(run.steps) == ended == wanted:
            found = f"the journal has {len(run.steps):,} and ends with {ended:,}"
            return _of(variant, "steps", False, f"{arm}, seed {seed}, was to take {wanted:,}; {found}.")
    named = "its budget of time became" if settled else "the recipe names"
    return _of(variant, "steps", True, f"Each of {len(finished)} finished arms and seeds took as many as {named}.")


def _of(variant: VariantRun, what: str, holds: bool | None, sentence: str) -> Finding:
    return Finding(f"{what}, {variant.label}" if variant.label else what, holds, sentence)


def _facts(variant: VariantRun, prepared: Prepared, changes: list[str]) -> Iterator[Finding]:
    """What was trained on what; what follows from code and versions may differ by `changes` of the machine alone."""
    then, now = variant.prepared, facts_of(prepared)
    if is_of_first_version(then):
        now = replace(now, model_sha256=weights_sha256(prepared.model.named_parameters()))
    content = {
        "the model's weights": (then.model_sha256, now.model_sha256),
        "the corpus": (then.corpus.sha256, now.corpus.sha256),
        "the retention corpus": (_of_content(then.retention), _of_content(now.retention)),
    }
    yield _compared(variant, "model and corpus", content)
    what = "configuration and tokens"
    if is_of_first_version(then):
        yield _of(variant, what, None, "The journal is of an earlier Frostline, which did not record them.")
        return
    derived = {
        "the model's configuration": (then.configuration_sha256, now.configuration_sha256),
        "the tokenizer": (then.tokenizer_sha256, now.tokenizer_sha256),
        "the corpus's tokens": (then.corpus.tokens_sha256, now.corpus.tokens_sha256),
        "the retention corpus's tokens": (_of_tokens(then.retention), _of_tokens(now.retention)),
    }
    found = _compared(variant, what, derived)
    if changes and not found.holds:
        found = _of(variant, what, None, f"They cannot be compared: {'; '.join(changes)}.")
    yield found


def _of_content(corpus: CorpusFacts | None) -> str:
    """What a model wrote itself is no content: versions and machine have a part in it."""
    return "" if corpus is None or corpus.own_text else corpus.sha256


def _of_tokens(corpus: CorpusFacts | None) -> str:
    if corpus is not None and corpus.own_text:
        return OwnText(tuple(map(tuple, corpus.own_text))).sha256
    return "" if corpus is None else corpus.tokens_sha256


def _compared(variant: VariantRun, what: str, hashes: Mapping[str, tuple[str, str]]) -> Finding:
    """Whether hashes, by the words for what they are of, are now what they were then."""
    wrong = [words for words, (then, now) in hashes.items() if then != now]
    sentence = f"Not what it was: {', '.join(wrong)}." if wrong else "They have the hashes that the journal names."
    return _of(variant, what, not wrong, sentence)


def _windows(variant: VariantRun, corpus: Corpus) -> Finding:
    """Every step's windows, drawn again from the seed."""
    training = variant.recipe.training
    drawn: dict[tuple[int, int], str] = {}
    steps = 0
    for (seed, arm), run in variant.runs.items():
        for taken in run.steps:
            place = (seed, taken.step)
            if place not in drawn:
                drawn[place] = corpus.batch(seed, taken.step, training.batch * training.accumulation).windows_sha256
            if drawn[place] != taken.windows_sha256:
                return _of(
                    variant,
                    "order",
                    False,
                    f"Step {taken.step} of {arm}, seed {seed}, read other windows than its seed gives.",
                )
            steps += 1
    return _of(variant, "order", True, f"Seed and step give the windows of each of {steps:,} steps.")


def _sealed(run_folder: Path) -> Iterator[Finding]:
    """Checkpoints of arms in training, trained models, and trained tensors that were kept."""
    folder = run_folder / CHECKPOINT_FOLDER
    training = sorted((folder / TRAINING_FOLDER).glob("*/[0-9]*")) if folder.is_dir() else []
    apart = (TRAINING_FOLDER, WEIGHTS_FOLDER)
    models = sorted(path for path in folder.iterdir() if path.name not in apart) if folder.is_dir() else []
    weights = sorted((folder / WEIGHTS_FOLDER).glob("[!.]*"))
    if not training and not models and not weights:
        yield Finding("checkpoints", True, "There are none.")
        return
    for path in [*models, *weights, *training]:
        try:
            open_sealed(path.parent, path.name)
        except SealBrokenError as error:
            yield Finding("checkpoints", False, str(error))
        else:
            name = path.relative_to(folder)
            yield Finding("checkpoints", True, f"{name}: every byte is as it was written.")


def _saved_models(variant: VariantRun, prepared: Prepared, run_folder: Path, cache: Path) -> Iterator[Finding]:
    """In a trained model, whatever its plan froze is the base model's, and the rest is what the journal hashed."""
    for name in variant.recipe.saved_models:
        folder = saved_model_folder(run_folder, variant.label, name)
        run = variant.runs.get((variant.seeds[0], name))
        if run is None or run.finished is None or not folder.is_dir():
            continue
        try:
            model = load_model(ModelSettings(source=str(folder)).trusting(prepared.recipe.model.trusted_code), cache)
        except ModelError as error:
            yield _of(variant, f"trained model {name}", None, f"It cannot be loaded: {error.message}")
            continue
        planned = prepared.arms_of(run.seed)[name]
        resolved = planned.resolved
        trained = frozenset().union(*(phase.trained for phase in resolved.phases))
        trained |= {portion.name for portion in resolved.targets}
        frozen = [portion for portion in resolved.portions if portion.name not in trained]
        moved = [
            portion.name
            for portion in frozen
            if not torch.equal(value_of(model, portion), value_of(prepared.model, portion).cpu())
        ]
        values = sum(portion.values for portion in frozen)
        buffers = _buffers(model)
        for buffer, base in _buffers(prepared.model).items():
            values += base.numel()
            if buffer not in buffers or not torch.equal(buffers[buffer], base.cpu()):
                moved.append(buffer)
        yield _of(
            variant,
            f"trained model {name}",
            not moved,
            f"Frozen, and yet not the base model's: {', '.join(moved[:3])}."
            if moved
            else f"{values:,} frozen values are the base model's, to the byte.",
        )
        if resolved.lora is None:
            applied = planned.plan.apply(model, resolved=resolved, seed=run.seed)
            applied.advance(run.finished.steps - 1)
            same = weights_sha256(applied.trainable_parameters()) == run.finished.final_sha256
            found = "have the hash that the journal ends with" if same else "are not what the journal ends with"
            yield _of(variant, f"trained model {name}", same, f"Its trained weights {found}.")


def _kept_weights(variant: VariantRun, index: int, prepared: Prepared, run_folder: Path) -> Iterator[Finding]:
    """The trained tensors that were kept are those that the journal hashed at the end of each arm."""
    for (seed, name), run in variant.runs.items():
        folder = kept_weights_folder(run_folder, name_of_arm(index, seed, name))
        if name not in variant.recipe.kept_weights or run.finished is None or not folder.is_dir():
            continue
        what = f"trained tensors of {name}, seed {seed}"
        try:
            weights = read_state(folder).weights
        except RunFolderError as error:
            yield _of(variant, what, False, error.message)
            continue
        resolved = prepared.arms_of(seed)[name].resolved
        if resolved.lora is None:
            ending = resolved.phase_at(run.finished.steps - 1).trained
            names = {own for p in resolved.portions if p.name in ending for own in (p.name, p.parameter)}
            weights = {own: value for own, value in weights.items() if own in names}
        same = weights_sha256(weights.items()) == run.finished.final_sha256
        found = "They have the hash that the journal ends with." if same else "They are not what the journal ends with."
        yield _of(variant, what, same, found)


def _buffers(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The persistent buffers by name: no plan trains them."""
    parameters = {name for name, _ in model.named_parameters()}
    return {name: tensor for name, tensor in state_tensors(model) if name not in parameters}


def _derived(run_folder: Path, render_report: Callable[[Path], str]) -> Iterator[Finding]:
    """Summary and report, made again from the journal."""

    def report_follows(run_folder: Path) -> bool:
        return (run_folder / REPORT_FILE).read_text(encoding="utf-8") == render_report(run_folder)

    for file, make in ((SUMMARY_FILE, _summary_follows), (REPORT_FILE, report_follows)):
        if not (run_folder / file).exists():
            yield Finding(file, None, "It has not been written: 'frostline report' does.")
            continue
        if (version := judged_by(run_folder)) not in ("", RULES):
            yield Finding(file, None, f"It was judged by the rules of {version}, which are not those of today.")
            continue
        try:
            follows = make(run_folder)
        except RunFolderError as error:
            yield Finding(file, False, str(error))
        else:
            yield Finding(
                file, follows, "It follows from the journal." if follows else "It does not follow from the journal."
            )


def _summary_follows(run_folder: Path) -> bool:
    return asdict(read_summary(run_folder)) == asdict(summarise(run_folder))
