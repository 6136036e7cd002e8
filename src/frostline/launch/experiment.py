"""Where does an experiment run? Here, in this process: prepare, train every replicate, summarise, report.

Nothing is written to the run folder before model, corpus and plans of every variant are known to be right.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter

from frostline import __version__
from frostline.corpus import Corpus
from frostline.engine.pretrained import context_length, model_title
from frostline.errors import CacheError, FrostlineError, RunFolderError, TrainingError
from frostline.journal import (
    RECIPE_FILE,
    CorpusFacts,
    Journal,
    PeakMemory,
    RunEnded,
    RunStarted,
    VariantPrepared,
    refuse_existing,
)
from frostline.launch.arm_store import ArmStore, open_arm_store
from frostline.launch.arms import shared_parts
from frostline.launch.interruption import Interruption
from frostline.launch.memory import MemoryMeasure, measure_peak_memory
from frostline.launch.prepare import Prepared, prepare
from frostline.launch.progress import RunProgress
from frostline.launch.recorder import Recorder, no_space
from frostline.launch.replicate import Replicate, run_replicate
from frostline.machine import describe_machine
from frostline.measures import weights_sha256
from frostline.recipe import Recipe, Variant, dump_recipe, recipe_hash, variants_of


@dataclass(frozen=True)
class RunResult:
    run_folder: Path
    status: str
    """`finished` or `interrupted`."""


def run_experiment(
    recipe: Recipe, run_folder: Path, cache: Path, progress: RunProgress, *, fresh: bool = False
) -> RunResult:
    """Run `recipe` and leave its journal in `run_folder`, which must not exist.

    An arm that an earlier run trained in exactly this way is taken from there, unless `fresh`.
    Ctrl+C ends the run cleanly with what there is. Raises `FrostlineError` for what the user can mend.
    """
    refuse_existing(run_folder)
    variants = variants_of(recipe)
    interruption = Interruption()
    with interruption.listening():
        prepared = _prepare_all(variants, cache, progress)
        started = time.monotonic()
        _create(run_folder, recipe)
        with Journal(run_folder) as journal:
            recorder = Recorder(journal, interruption)
            try:
                started_at = _now()
                recorder.append(RunStarted(__version__, recipe_hash(recipe), started_at, describe_machine()))
                for index, variant in enumerate(variants):
                    if prepared.variant != variant.label:
                        prepared = _prepare(variant, cache, progress)
                    store = None if fresh else open_arm_store(prepared, cache, started_at)
                    _run_variant(prepared, index, recorder, progress, run_folder, cache, store)
                status = "finished"
            except KeyboardInterrupt:
                status = "interrupted"
                progress.say("Interrupted: keeping what there is.")
            recorder.append(RunEnded(status, _now(), time.monotonic() - started))
    return RunResult(run_folder, status)


def _prepare_all(variants: Sequence[Variant], cache: Path, progress: RunProgress) -> Prepared:
    """Check every variant; returns the first one's preparation, so that most experiments load their model once."""
    first = _prepare(variants[0], cache, progress)
    for variant in variants[1:]:
        _prepare(variant, cache, progress)
    return first


def _prepare(variant: Variant, cache: Path, progress: RunProgress) -> Prepared:
    try:
        return prepare(variant, cache, say=progress.say, reading=progress.reading)
    except FrostlineError as error:
        if not variant.label:
            raise
        raise type(error)(f"vary {variant.label}: {error.message}", error.hint) from error


def _create(run_folder: Path, recipe: Recipe) -> None:
    try:
        run_folder.mkdir(parents=True)
        (run_folder / RECIPE_FILE).write_text(dump_recipe(recipe), encoding="utf-8")
    except OSError as error:
        if no_space(error) is not error:
            raise no_space(error) from error
        raise RunFolderError(
            f"{run_folder}: the run folder cannot be made ({error.strerror}).", "Choose another with --out."
        ) from error


def _run_variant(
    prepared: Prepared,
    index: int,
    recorder: Recorder,
    progress: RunProgress,
    run_folder: Path,
    cache: Path,
    store: ArmStore | None,
) -> None:
    recorder.append(_facts(prepared))
    with shared_parts(prepared, cache) as sharing:
        for seed in prepared.recipe.seeds:
            run_replicate(Replicate(sharing, seed, recorder, progress, run_folder, store))
    if prepared.recipe.measures.memory:
        for arm in prepared.recipe.arms:
            try:
                measured = _measure_memory(prepared, arm, index, progress, run_folder, cache, store)
            except TrainingError as error:
                progress.say(f"Not measured: {error}")
                continue
            recorder.append(
                PeakMemory(prepared.variant, arm, measured.method, measured.peak_bytes, measured.model_bytes)
            )


def _measure_memory(
    prepared: Prepared,
    arm: str,
    index: int,
    progress: RunProgress,
    run_folder: Path,
    cache: Path,
    store: ArmStore | None,
) -> MemoryMeasure:
    """Peak memory of `arm`; what an earlier run measured for exactly this arm is as good."""
    key = None if store is None else store.key(prepared, arm, prepared.recipe.seeds[0], what="memory")
    known = None if store is None or key is None else store.find(key)
    if known is not None:
        return TypeAdapter(MemoryMeasure).validate_python(known.lines[0])
    progress.say(f"Memory of {arm}, alone in a process of its own")
    measured = measure_peak_memory(run_folder / RECIPE_FILE, index, arm, cache)
    if store is not None and key is not None:
        try:
            store.keep(key, json.dumps(asdict(measured)).encode())
        except CacheError as error:
            progress.say(f"Not kept for later runs: {error}")
    return measured


def _facts(prepared: Prepared) -> VariantPrepared:
    model = prepared.model
    common = prepared.corpus.common_tokens(prepared.recipe.measures.common_tokens)
    resolved = next(iter(prepared.resolved.values()))
    return VariantPrepared(
        variant=prepared.variant,
        model=model_title(prepared.recipe.model),
        model_class=type(model).__name__,
        model_sha256=weights_sha256(model.named_parameters()),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        layers=resolved.layers,
        context_length=context_length(model),
        corpus=_corpus_facts(prepared.corpus),
        retention=None if prepared.retention is None else _corpus_facts(prepared.retention),
        precision=prepared.precision,
        device=str(prepared.device),
        schedule=prepared.schedule,
        common_tokens=[str(prepared.tokenizer.decode(token)) for token in common.tolist()],
        common_share_of_corpus=prepared.corpus.share_of(common),
    )


def _corpus_facts(corpus: Corpus) -> CorpusFacts:
    return CorpusFacts(
        description=corpus.description,
        sha256=corpus.sha256,
        tokens=corpus.tokens,
        distinct_tokens=corpus.distinct_tokens,
        windows=corpus.windows,
        held_out_windows=corpus.held_out_windows,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
