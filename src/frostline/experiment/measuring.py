"""What is measured around the steps, outside any timer: losses on held-out text, and the text that a model writes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

from transformers import PreTrainedModel

from frostline.arms import Prepared, lean
from frostline.corpus import FREQUENCY_CLASSES
from frostline.engine import ALONE, Arm, Beginning, Values
from frostline.experiment.held_together import for_evaluation
from frostline.measures import (
    EVALUATION_WINDOWS,
    LossMeasure,
    describe_continuations,
    end_token_ids,
    evaluate_loss,
    sample_continuations,
)
from frostline.run_folder import ArmJournal, Continuation, Evaluation, LossByFrequency, TrueContinuation, record_of

UNTOUCHED = ""
"""Stands for the arm's name in records about the model before training."""


class UntouchedLosses:
    """Losses of the untouched model, by corpus, measured once for all arms and replicates that are measured alike.

    An arm whose frozen bottom is stood in for is compared with the untouched model measured so: the two ways differ
    in the last bits, and an arm that trains nothing ends at exactly the loss at which it began.
    """

    def __init__(self, prepared: Prepared, *, trained: bool = False) -> None:
        """`prepared` has what its arms share; `trained` as `evaluate_everywhere` has it."""
        self._prepared, self._trained = prepared, trained
        self._by_depth: dict[int, dict[str, LossMeasure]] = {}

    def of(self, arm: Arm) -> dict[str, LossMeasure]:
        """Those that `arm` begins with."""
        model = self._prepared.model
        beginning = arm.forward.untouched_beginning(model)
        depth = 0 if beginning is None else arm.forward.evaluated_depth(0)
        if depth not in self._by_depth:
            order: Values = {"do": "evaluate untouched", "arm": arm.number, "trained": self._trained}
            with arm.world.doing(order, patient=True):
                self._by_depth[depth] = evaluate_everywhere(
                    self._prepared, model, trained=self._trained, beginning=beginning
                )
        return self._by_depth[depth]


def evaluate_arm(prepared: Prepared, arm: Arm, steps: int, *, trained: bool = False) -> dict[str, LossMeasure]:
    """What `evaluate_everywhere` gives for `arm` after `steps` steps; all processes that compute it share the work."""
    if arm.shards is not None:  # a layer runs in all processes or in none: each of them evaluates all windows
        prepared = replace(prepared, world=ALONE)
    order: Values = {"do": "evaluate", "arm": arm.number, "steps": steps, "trained": trained}
    with arm.world.doing(order, patient=True), for_evaluation(arm):
        return evaluate_everywhere(prepared, arm.model, trained=trained, beginning=arm.forward.beginning(steps))


def evaluate_everywhere(
    prepared: Prepared, model: PreTrainedModel, *, trained: bool = False, beginning: Beginning | None = None
) -> dict[str, LossMeasure]:
    """Loss on the held-out windows, on those of the retention corpus if there is one, by corpus.

    `trained` adds a fixed sample of training windows, as many as are held out; `beginning` stands in for first layers.
    All processes of `prepared.world` call it together.
    """
    batches = {"held_out": prepared.corpus.held_out_batches(EVALUATION_WINDOWS)}
    if prepared.retention is not None:
        batches["retention"] = prepared.retention.held_out_batches(EVALUATION_WINDOWS)
    if trained:
        batches["trained"] = prepared.corpus.trained_sample(prepared.corpus.held_out_windows, EVALUATION_WINDOWS)
    classes = prepared.corpus.frequency_classes
    with lean(prepared):
        return {
            name: evaluate_loss(
                model,
                own,
                device=prepared.device,
                precision=prepared.precision,
                classes=classes if name == "held_out" else None,
                beginning=beginning,
                world=prepared.world,
            )
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


def record_by_frequency(journal: ArmJournal, step: int, measured: dict[str, LossMeasure]) -> None:
    """Record the held-out loss of common and rare tokens that the arm has after `step` steps."""
    loss = measured["held_out"]
    journal.append(
        LossByFrequency(
            *journal.place, step, list(FREQUENCY_CLASSES), loss.class_loss_sums, predictions=loss.class_predictions
        )
    )


def record_continuations(prepared: Prepared, model: PreTrainedModel, journal: ArmJournal) -> None:
    """Let `model` continue the replicate's prompts, and record what its text is like.

    Prompts and sampling noise depend on the seed alone, so all arms answer the same question with the same dice. Beside
    the untouched model stands how the held-out text itself goes on.
    """
    settings = prepared.recipe.measures.sampling
    if settings.prompts == 0:
        return
    corpus, seed = prepared.corpus, journal.place.seed
    prompts = corpus.prompts(seed, settings.prompts, settings.prompt_tokens)
    ends = end_token_ids(model)
    truth = [
        _until(ends, tokens)
        for tokens in corpus.true_continuations(seed, settings.prompts, settings.prompt_tokens, settings.new_tokens)
    ]
    describe = partial(
        describe_continuations,
        prompts,
        tokenizer=prepared.tokenizer,
        common_tokens=corpus.common_tokens(prepared.recipe.measures.common_tokens),
        copied_ngrams=corpus.copied_ngrams,
        untouched_model=prepared.model,
        device=prepared.device,
        precision=prepared.precision,
        judge=prepared.judge,
    )
    if journal.place.arm == UNTOUCHED:
        for measured in describe(truth):
            journal.append(record_of(TrueContinuation, journal.place, measured))
    lengths = [len(tokens) for tokens in truth] if any(truth) else None
    for draw in range(settings.draws):
        continuations = sample_continuations(
            model,
            prompts,
            settings,
            seed,
            ends,
            device=prepared.device,
            precision=prepared.precision,
            by_cache=prepared.samples_by_cache,
            draw=draw,
        )
        for measured in describe(continuations, lengths=lengths):
            journal.append(record_of(Continuation, journal.place, measured, draw=draw))


def _until(ends: Collection[int], tokens: Sequence[int]) -> list[int]:
    """`tokens` before the first of `ends`, where a model would have stopped, too."""
    stop = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return list(tokens[:stop])
