"""How good is a plan after a few steps? One trial of a race: train it at one rate, and evaluate it window by window."""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import replace

from frostline.advisor.race import FEWEST_STEPS, RUNGS
from frostline.arms import Prepared, make_arm
from frostline.corpus import Batch
from frostline.engine import cause_of
from frostline.errors import CorpusError, ModelChangedError, RecipeError, TogetherError, TrainingError
from frostline.measures import window_losses
from frostline.run_folder import TrialFinished
from frostline.signals import joined

DECIDING_WINDOWS = 16
"""Training windows by which the race is decided: the last ones of the first epoch's order, which none of it reads."""
EVALUATION_BATCH = 8


def run_trial(
    sharing: Prepared,
    name: str,
    rate: float,
    rung: int,
    steps: int,
    deciding: list[Batch],
    seed: int | None = None,
) -> TrialFinished:
    """Train one plan at one rate, and evaluate it; what goes wrong is this trial's own. Without a seed, the race's."""
    began = time.monotonic()
    recipe = sharing.recipe
    seed = recipe.seeds[0] if seed is None else seed
    changes = {"decay": "constant", "warmup": min(recipe.training.warmup, steps // 4)}
    training = recipe.training.model_copy(update=changes)
    own = replace(sharing, recipe=recipe.model_copy(update={"training": training}))
    windows = recipe.training.batch * recipe.training.accumulation
    losses: list[float] = []
    seconds: list[float] = []
    decided: list[float] = []
    judged: list[float] = []
    cause = ""
    try:
        arm = make_arm(own, replace(own.arms[name], learning_rate=rate), seed)
        for step in range(steps):
            outcome = arm.take_step(own.corpus.batch(seed, step, windows), step)
            losses.append(outcome.loss_nats)
            seconds.append(outcome.seconds)
        model = arm.model
        if deciding:
            decided = window_losses(model, deciding, device=own.device, precision=own.precision)
        if rung >= RUNGS - 1:
            held_out = own.corpus.held_out_batches(EVALUATION_BATCH)
            judged = window_losses(model, held_out, device=own.device, precision=own.precision)
        if moved := arm.applied.verify().moved:
            raise TrainingError(f"frozen weights moved ({moved[0]}).")
        arm.forward.finish()
    except (ModelChangedError, TogetherError):
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, it is this trial's
        cause, decided, judged = cause_of(error), [], []
    gc.collect()
    return TrialFinished(
        rung=rung,
        candidate=name,
        learning_rate=rate,
        steps=steps,
        window_losses=decided,
        held_out_losses=judged,
        step_losses=losses,
        cause=cause,
        seconds=statistics.median(seconds) if seconds else 0.0,
        seconds_in_all=time.monotonic() - began,
        seed=seed,
    )


def deciding_windows(prepared: Prepared, last: int) -> list[Batch]:
    """Training windows that no trial of the race reads. Raises `CorpusError` where the corpus has too few."""
    training, corpus = prepared.recipe.training, prepared.corpus
    read = last * training.batch * training.accumulation
    if prepared.recipe.windows.order == "random":
        raise RecipeError(
            "advice needs windows that are not trained on, and random offsets leave none.",
            "Use --set windows.order=epochs for the advice.",
        ).at("windows", "order")
    if corpus.windows < read + DECIDING_WINDOWS:
        possible = (corpus.windows - DECIDING_WINDOWS) // (training.batch * training.accumulation)
        fewer = f"--steps {possible} or fewer, " if possible >= FEWEST_STEPS else ""
        raise CorpusError(
            f"{corpus.description} has {corpus.windows} training windows; {last} steps read {read} of them and "
            f"{DECIDING_WINDOWS} more decide the race.",
            f"Use {fewer}a smaller training.batch, shorter windows (windows.length), or more text.",
        )
    seed = prepared.recipe.seeds[0]
    order = [corpus.batch(seed, corpus.windows - DECIDING_WINDOWS + index, 1) for index in range(DECIDING_WINDOWS)]
    return [joined(order[start : start + EVALUATION_BATCH]) for start in range(0, len(order), EVALUATION_BATCH)]
