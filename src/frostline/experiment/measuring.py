"""What is measured around the steps, outside any timer: losses on held-out text, and the text that a model writes."""

from __future__ import annotations

from transformers import PreTrainedModel

from frostline.arms import Prepared
from frostline.measures import (
    EVALUATION_WINDOWS,
    LossMeasure,
    describe_continuations,
    end_token_ids,
    evaluate_loss,
    sample_continuations,
)
from frostline.run_folder import ArmJournal, Continuation, Evaluation, record_of

UNTOUCHED = ""
"""Stands for the arm's name in records about the model before training."""


def evaluate_everywhere(prepared: Prepared, model: PreTrainedModel, *, trained: bool = False) -> dict[str, LossMeasure]:
    """Loss on the held-out windows, on those of the retention corpus if there is one, by corpus.

    `trained` adds a fixed sample of training windows, as many as are held out.
    """
    batches = {"held_out": prepared.corpus.held_out_batches(EVALUATION_WINDOWS)}
    if prepared.retention is not None:
        batches["retention"] = prepared.retention.held_out_batches(EVALUATION_WINDOWS)
    if trained:
        batches["trained"] = prepared.corpus.trained_sample(prepared.corpus.held_out_windows, EVALUATION_WINDOWS)
    return {
        name: evaluate_loss(model, own, device=prepared.device, precision=prepared.precision)
        for name, own in batches.items()
    }


def reads_an_epoch(prepared: Prepared, name: str) -> bool:
    """Whether the arm reads as many windows as an epoch has: before, its training windows are no more known to it
    than held-out ones, and the gap between the two says nothing."""
    training = prepared.recipe.training
    return prepared.arms[name].steps * training.batch * training.accumulation >= prepared.corpus.windows


def record_evaluations(
    journal: ArmJournal, step: int, measured: dict[str, LossMeasure], *, trained: bool = True
) -> None:
    """Record the losses by corpus that the arm has after `step` steps; `trained` or without those of that sample."""
    for corpus, loss in measured.items():
        if trained or corpus != "trained":
            journal.append(record_of(Evaluation, journal.place, loss, step=step, corpus=corpus))


def record_continuations(prepared: Prepared, model: PreTrainedModel, journal: ArmJournal) -> None:
    """Let `model` continue the replicate's prompts, and record what its text is like.

    Prompts and sampling noise depend on the seed alone, so all arms answer the same question with the same dice.
    """
    settings = prepared.recipe.measures.sampling
    if settings.prompts == 0:
        return
    seed = journal.place.seed
    prompts = prepared.corpus.prompts(seed, settings.prompts, settings.prompt_tokens)
    continuations = sample_continuations(
        model,
        prompts,
        settings,
        seed,
        end_token_ids(model),
        device=prepared.device,
        precision=prepared.precision,
        by_cache=prepared.samples_by_cache,
    )
    measured = describe_continuations(
        prompts,
        continuations,
        tokenizer=prepared.tokenizer,
        common_tokens=prepared.corpus.common_tokens(prepared.recipe.measures.common_tokens),
        copied_ngrams=prepared.corpus.copied_ngrams,
        untouched_model=prepared.model,
        device=prepared.device,
        precision=prepared.precision,
    )
    for continuation in measured:
        journal.append(record_of(Continuation, journal.place, continuation))
