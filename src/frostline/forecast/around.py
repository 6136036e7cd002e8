"""What does a run take beside its steps? Evaluation, sampled text, trying shortcuts, measuring memory, racing rates."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from frostline.arms import STEPS as MEMORY_STEPS
from frostline.arms import FewerTokens, Prepared, cut_model, evaluated_windows
from frostline.engine import on_device
from frostline.forecast.head import head_cost
from frostline.forecast.small_passes import FEWER, SmallPasses
from frostline.measures import EVALUATION_WINDOWS, end_token_ids, evaluate_loss, sample_continuations

SAMPLED_POSITIONS = 8
"""Positions of a continuation that are timed."""
EVALUATED_WINDOWS = 2
SETTLING_FORWARDS = 10
"""Forward passes of two windows with which the engine tries its shortcuts before an arm's first step."""
LOADING_SECONDS = 10.0
"""Of the libraries, in a process that measures memory."""


@dataclass(frozen=True)
class ForwardCost:
    """What a model takes that is not trained."""

    window_seconds: float
    """Evaluating one window, in all layers."""
    layer_seconds: float
    """In one of them."""
    position_seconds: float
    """Sampling one position of all continuations."""


@dataclass(frozen=True)
class _Forward:
    window: float
    position: float

    def beyond(self, other: _Forward) -> _Forward:
        return _Forward(max(0.0, self.window - other.window), max(0.0, self.position - other.position))

    def plus(self, other: _Forward, times: float) -> _Forward:
        return _Forward(self.window + times * other.window, self.position + times * other.position)


def forward_cost(prepared: Prepared, small: SmallPasses | None) -> ForwardCost:
    """Put together from models of one and two layers; where those passes are small, the head is timed by itself.

    The second is the last of the model: those at the bottom may be of another make than most (dense below experts).
    """
    layers = next(iter(prepared.arms.values())).resolved.layers
    rows = None if small is None else small.rows
    one = _measured(prepared, [0], rows, small)
    layer = _measured(prepared, sorted({0, layers - 1}), rows, small).beyond(one)
    total = one.plus(layer, layers - 1)
    head = head_cost(prepared, None, rows)
    recipe = prepared.recipe
    together = min(EVALUATION_WINDOWS, prepared.corpus.held_out_windows)
    window = recipe.windows.length * head.forward_seconds + head.pass_seconds / together
    prompts = recipe.measures.sampling.prompts
    position = prompts * head.forward_seconds + head.pass_seconds if prompts else 0.0
    return ForwardCost(total.window + window, layer.window, total.position + position)


def seconds_around(prepared: Prepared, cost: ForwardCost, steps: int, step_seconds: Sequence[float]) -> float:
    """Everything but the steps, of which the longest arm takes `steps`; each arm's take `step_seconds`."""
    recipe, arms = prepared.recipe, len(step_seconds)
    measures, sampling = recipe.measures, recipe.measures.sampling
    # From stored rows, only what is above them is computed again.
    stored = min(arm.resolved.prefix_layers for arm in prepared.arms.values()) if prepared.fills_rows else 0
    held_out = evaluated_windows(prepared) * (cost.window_seconds - stored * cost.layer_seconds)
    # The untouched model reads what was written, too.
    read = sampling.prompts * (sampling.prompt_tokens + sampling.new_tokens) / recipe.windows.length
    written = sampling.new_tokens * cost.position_seconds + read * cost.window_seconds
    text = sampling.draws * written if sampling.prompts else 0.0
    evaluations = 1 + ((steps - 1) // measures.evaluate_every if measures.evaluate_every else 0)
    settling = SETTLING_FORWARDS * 2 * (cost.window_seconds - stored * cost.layer_seconds)
    of_a_replicate = held_out + text + arms * (evaluations * held_out + text)
    memory = 0.0
    if measures.memory:
        memory = sum(LOADING_SECONDS + settling + MEMORY_STEPS * seconds for seconds in step_seconds)
    return len(recipe.seeds) * of_a_replicate + settling * arms + memory


def _measured(prepared: Prepared, layers: Sequence[int], rows: int | None, small: SmallPasses | None) -> _Forward:
    model = on_device(cut_model(prepared.model, layers, rows), prepared.device)
    if small is None:
        cut = replace(prepared, model=model)
        return _Forward(_evaluation(cut), _sampling(cut))
    length = prepared.recipe.windows.length
    many = min(small.tokens, length)
    few = max(1, many // FEWER)
    less, more = (replace(prepared, model=model, corpus=FewerTokens(prepared.corpus, rows, n)) for n in (few, many))
    most = _evaluation(more)
    fewest = _evaluation(less, times=1)
    each = max(0.0, most - fewest) / max(1, many - few)
    # What a pass takes whatever its tokens is shared by the windows of an evaluation.
    once = max(0.0, EVALUATED_WINDOWS * (fewest - few * each))
    together = min(EVALUATION_WINDOWS, prepared.corpus.held_out_windows)
    return _Forward(each * length + once / together, _sampling(more))


def _evaluation(cut: Prepared, times: int = 2) -> float:
    """Seconds to evaluate one window."""
    batch = next(iter(cut.corpus.held_out_batches(min(EVALUATED_WINDOWS, EVALUATION_WINDOWS))))
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        evaluate_loss(cut.model, [batch], device=cut.device, precision=cut.precision)
        seconds.append((time.perf_counter() - started) / len(batch.input_ids))
    return min(seconds)


def _sampling(cut: Prepared) -> float:
    """Seconds to sample one position of all continuations."""
    sampling = cut.recipe.measures.sampling
    if not sampling.prompts:
        return 0.0
    prompts = cut.corpus.prompts(cut.recipe.seeds[0], sampling.prompts, sampling.prompt_tokens)
    few = sampling.model_copy(update={"new_tokens": min(SAMPLED_POSITIONS, sampling.new_tokens)})
    started = time.perf_counter()
    sample_continuations(
        cut.model,
        prompts,
        few,
        0,
        end_token_ids(cut.model),
        device=cut.device,
        precision=cut.precision,
        by_cache=cut.samples_by_cache,
    )
    return (time.perf_counter() - started) / few.new_tokens
