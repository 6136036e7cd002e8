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


def evaluate_everywhere(prepared: Prepared, model: PreTrainedModel) -> dict[str, LossMeasure]:
    """Loss on the held-out windows, and on those of the retention corpus if there is one, by corpus."""
    corpora = {"held_out": prepared.corpus}
    if prepared.retention is not None:
        corpora["retention"] = prepared.retention
    return {
        name: evaluate_loss(
            model,
            corpus.held_out_batches(EVALUATION_WINDOWS),
            device=prepared.device,
            precision=prepared.precision,
        )
        for name, corpus in corpora.items()
    }


def record_evaluations(journal: ArmJournal, step: int, measured: dict[str, LossMeasure]) -> None:
    """Record the losses by corpus that the arm has after `step` steps."""
    for corpus, loss in measured.items():
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
