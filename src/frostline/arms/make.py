"""How does an arm come to be? A copy of the base model that shares what stays frozen, its plan, and an engine."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel

from frostline.arms.fits import arm_bytes, free_bytes
from frostline.arms.ordered import as_ordered, order_of
from frostline.arms.prepared import PlannedArm, Prepared
from frostline.corpus import Batch
from frostline.engine import (
    FILED_TYPES,
    Arm,
    FastForward,
    FrozenWeights,
    PrefixCase,
    PrefixChoice,
    PrefixIdentity,
    PrefixStore,
    PrefixTrial,
    SharedParts,
    Values,
    cast_up,
    cast_up_trained,
    choose_prefix,
    copy_for_arm,
    copy_for_shards,
    default_disk_bytes,
    default_memory_bytes,
    fit_model,
    give_back_freed_memory,
    keep_freed_memory,
    measured_rates,
    require_shardable_model,
    shard_arm,
    window_key,
)
from frostline.errors import RecipeError
from frostline.free_memory import free_memory_bytes
from frostline.measures import TensorDigests, forward_conditions, state_tensors, tensor_digests
from frostline.plans import AppliedPlan, decoder_stack
from frostline.storage import let_go_of

SAMPLE_WINDOWS = 2
"""Windows on which the engine tries its shortcuts beside the plain model."""
MEGABYTE = 1_000_000
SHORT_BYTES = 1_000_000_000
"""Free memory below which a step may not find what it needs in pieces that others have freed."""


def require_shardable(prepared: Prepared) -> None:
    """Raise `FrostlineError` where the recipe wants the weights of arms sharded, and this model's cannot be."""
    if not prepared.is_sharded:
        return
    with prepared.recipe.locating_errors():
        if prepared.prefix_streamed:
            raise RecipeError(
                "layers that are read from the model's file whenever they are used cannot be sharded.",
                "Set training.sharding=none, or use devices with more memory.",
            ).at("training", "sharding")
        require_shardable_model(prepared.model)


@contextmanager
def shared_parts(prepared: Prepared, cache: Path | None, *, keep_base: bool = True) -> Iterator[Prepared]:
    """`prepared` with what its arms share: frozen weights, and stored prefixes, on disk too if `cache` is a folder.

    Without `keep_base` no copy is made: the base model itself becomes the arm, of which there may then be only one.
    """
    keep_freed_memory(large_blocks=not _is_short_of_memory(prepared))
    give_back_freed_memory()  # what checking the model took
    with _open_store(prepared, cache) as store:
        yield replace(prepared, shared=_parts(prepared, store, keep_base=keep_base))


def _is_short_of_memory(prepared: Prepared) -> bool:
    """Whether the arms leave less memory than they need themselves, where the frozen layers have left it already."""
    own = [arm_bytes(prepared.recipe, arm.resolved) for arm in prepared.arms.values()]
    needed = sum(own) if prepared.schedule == "lock-step" else max(own, default=0)
    return prepared.fills_rows and free_bytes(prepared.device) < 2 * needed


def alone(prepared: Prepared, planned: PlannedArm) -> Prepared:
    """`prepared`, with stored prefixes for one arm alone; frozen weights stay shared."""
    if prepared.shared is None:
        return prepared
    depths = _depths([planned])
    return replace(prepared, shared=replace(prepared.shared, store=_memory_store(prepared), depths=depths, alone=True))


def make_arm(
    prepared: Prepared,
    planned: PlannedArm,
    seed: int,
    *,
    model: PreTrainedModel | None = None,
    hashed: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Arm:
    """The arm at its first step, by the engine that the recipe names; `say` is told what it can and cannot use.

    `model` is what `model_for_arm` gives, `hashed` what is known of its parameters (see `apply_plan`). Outside
    `shared_parts` stored prefixes are the arm's own, in memory. All processes of `prepared.world` make it.
    """
    world = prepared.world
    number = world.next_number()
    if prepared.is_sharded:
        world.held_together[number] = planned.name
    order = {} if world.alone else order_of(prepared, planned, seed, number)
    with world.doing(order):
        arm = make_own_arm(prepared, planned, seed, number, model=model, hashed=hashed, say=say)
    world.arms[number] = arm
    return arm


def make_own_arm(
    prepared: Prepared,
    planned: PlannedArm,
    seed: int,
    number: int,
    *,
    model: PreTrainedModel | None = None,
    hashed: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Arm:
    """What `make_arm` does in each process."""
    training = prepared.recipe.training.of_steps(planned.steps)
    device, precision = prepared.device, prepared.precision
    shared = prepared.shared or _parts(prepared, _memory_store(prepared), keep_base=True)

    def fast_forward(applied: AppliedPlan) -> FastForward:
        sample = prepared.corpus.batch(seed, 0, SAMPLE_WINDOWS)
        fitted = fit_model(
            applied,
            shared,
            training,
            device=device,
            precision=precision,
            sample=sample,
            uneven=prepared.corpus.shortest_and_longest,
            few=prepared.prefix_streamed,
            keep_joined=not prepared.is_sharded,
        )
        for note in fitted.notes:
            say(f"Arm {planned.name}: {note}")
        keep_rows = keep_evaluated = False
        # Without a trial the plan has no prefix that could be stored; one of the notes has said why.
        if fitted.prefix_trial is not None and planned.resolved.prefix_layers > 0:
            choice = choose_for(prepared, planned, fitted.prefix_trial, shared.store.room_bytes)
            keep_rows = choice.use
            keep_evaluated = keeps_evaluated(prepared, planned, fitted.prefix_trial, shared.store.room_bytes)
            say(f"Arm {planned.name}: {choice.sentence}")
        _leave_memory(applied)
        return FastForward(
            fitted,
            shared,
            training,
            keep_rows=keep_rows,
            keep_evaluated=keep_evaluated,
            device=device,
            precision=precision,
        )

    arm = Arm(
        planned.name,
        model_for_arm(prepared, planned) if model is None else model,
        planned.plan,
        training,
        learning_rate=planned.learning_rate,
        weight_decay=planned.weight_decay,
        seed=seed,
        device=device,
        precision=precision,
        resolved=planned.resolved,
        hashed=hashed,
        forward=fast_forward if training.engine == "fast" else None,
        world=prepared.world,
        number=number,
    )
    if prepared.is_sharded:
        assert prepared.world.gradients is not None
        shard_arm(arm, prepared.world.gradients)
    return arm


def make_ordered_arm(prepared: Prepared, order: Values) -> Arm:
    """The arm that rank 0 has ordered, in this process."""
    prepared, planned = as_ordered(prepared, order)
    if order["alone"]:
        prepared = alone(prepared, planned)
    seed, number, model = int(order["seed"]), int(order["arm"]), model_for_arm(prepared, planned)  # type: ignore[call-overload]
    return make_own_arm(prepared, planned, seed, number, model=model, hashed=base_digests(prepared, model).by_name)


def make_arm_of_base(prepared: Prepared, planned: PlannedArm, seed: int) -> Arm:
    """The arm at its first step; of what it shares with the base model nothing is hashed again."""
    model = model_for_arm(prepared, planned)
    return make_arm(prepared, planned, seed, model=model, hashed=base_digests(prepared, model).by_name)


def base_digests(prepared: Prepared, model: PreTrainedModel) -> TensorDigests:
    """The hashes of an arm's `model` before its first step."""
    return tensor_digests(state_tensors(model), known=prepared.identity.weights)


def choose_for(prepared: Prepared, planned: PlannedArm, trial: PrefixTrial, room_bytes: int) -> PrefixChoice:
    """Whether storing the prefix of the arm pays, by what one window's prefix took in `trial`."""
    recipe, resolved = prepared.recipe, planned.resolved
    training = recipe.training
    windows = training.batch * training.accumulation * planned.steps * len(recipe.seeds)
    sharing = sum(other.resolved.prefix_layers > 0 for other in prepared.arms.values())
    # Of the operations of a step, those that storing the prefix spares take as long as was measured.
    left = (1 - planned.cost.ceiling_cached) * planned.cost.full_step_flops
    spared = planned.cost.step_flops - left
    case = PrefixCase(
        wanted=training.prefix_cache.use,
        depth=resolved.prefix_layers,
        layers=resolved.layers,
        row_bytes=trial.row_bytes,
        compute_seconds=trial.seconds,
        reads_per_window=sharing * (1.0 if recipe.windows.order == "random" else windows / prepared.corpus.windows),
        order=recipe.windows.order,
        arms_sharing=sharing,
        # Those that are evaluated want room, too.
        windows=prepared.corpus.windows + evaluated_windows(prepared),
        room_bytes=room_bytes,
        suffix_seconds=trial.seconds * left / spared if spared > 0 else 0.0,
        filled=prepared.fills_rows,
    )
    return choose_prefix(case, measured_rates())


def keeps_evaluated(prepared: Prepared, planned: PlannedArm, trial: PrefixTrial, room_bytes: int) -> bool:
    """Whether storing the prefix of the windows on which the arm is evaluated pays: they come back at every time."""
    recipe = prepared.recipe
    sharing = [arm for arm in prepared.arms.values() if arm.resolved.prefix_layers > 0]
    # Once for the untouched model, then for each arm of each replicate.
    reads = 1 + len(recipe.seeds) * sum(evaluations_of(recipe.measures.evaluate_every, arm.steps) for arm in sharing)
    case = PrefixCase(
        wanted=recipe.training.prefix_cache.use,
        depth=planned.resolved.prefix_layers,
        layers=planned.resolved.layers,
        row_bytes=trial.row_bytes,
        compute_seconds=trial.seconds,
        reads_per_window=float(reads),
        order="epochs",
        arms_sharing=len(sharing),
        windows=evaluated_windows(prepared),
        room_bytes=room_bytes,
    )
    return choose_prefix(case, measured_rates()).use


def evaluations_of(every: int, steps: int) -> int:
    """How often an arm is evaluated that takes `steps` steps: after every `every`th (0: none), and after the last."""
    return 1 + (max(0, steps - 1) // every if every else 0)


def evaluated_windows(prepared: Prepared) -> int:
    """Windows of one evaluation, in windows of the recipe's length."""
    windows = prepared.corpus.held_out_windows
    if prepared.retention is not None:
        tokens = prepared.retention.held_out_windows * prepared.retention.window_length
        windows += -(-tokens // prepared.recipe.windows.length)
    return windows


def prefix_identity(prepared: Prepared) -> PrefixIdentity:
    """All that may change a bit of a stored row besides its window."""
    conditions = forward_conditions(prepared.identity, prepared.device, prepared.precision)
    conditions["frozen weights"] = prepared.recipe.training.frozen_weights
    return PrefixIdentity(prepared.identity.sha256, json.dumps(conditions, sort_keys=True))


def forget_other_windows(prepared: Prepared, batch: Batch) -> None:
    """With random offsets no window comes back: stored prefixes serve the arms of one step, then go.

    Those of windows that are evaluated stay.
    """
    if prepared.shared is None or prepared.recipe.windows.order == "epochs" or prepared.fills_rows:
        return
    prepared.shared.store.keep_only({*_keys(batch), *prepared.shared.evaluated})


def bring_rows(prepared: Prepared, arms: Iterable[Arm], batch: Batch, step: int) -> None:
    """Let the store read, while the step before is computed, what these arms will want of `batch` at step `step`."""
    depths = {arm.forward.stored_depth(step) for arm in arms} - {0}
    if prepared.shared is None or not depths:
        return
    prepared.shared.store.bring(_keys(batch), sorted(depths))


def _keys(batch: Batch) -> Iterator[bytes]:
    for row in range(len(batch.input_ids)):
        yield window_key(*batch.at_own_width(row))


@contextmanager
def lean(prepared: Prepared, *, a_step: bool = False) -> Iterator[None]:
    """Before and after the block, memory that the steps freed is given back, where the frozen layers had to leave.

    Elsewhere it is kept, and around `a_step` wherever memory is not short: the next step asks for the same again.
    """
    if _is_to_be_lean(prepared, a_step):
        give_back_freed_memory()
    yield
    if _is_to_be_lean(prepared, a_step):
        let_go_of(parameter for parameter in prepared.model.parameters() if parameter.dtype in FILED_TYPES)
        give_back_freed_memory()


def _is_to_be_lean(prepared: Prepared, a_step: bool) -> bool:
    return prepared.fills_rows and not (a_step and free_memory_bytes() > SHORT_BYTES)


def _leave_memory(applied: AppliedPlan) -> None:
    """Give back what trying the model took: copies that were made for it, and pages of layers that never train."""
    _, layers = decoder_stack(applied.model)
    depth = min(phase.prefix_layers for phase in applied.resolved.phases)
    let_go_of(parameter for layer in layers[:depth] for parameter in layer.parameters())
    give_back_freed_memory()


def model_for_arm(prepared: Prepared, planned: PlannedArm, *, whole: bool = False) -> PreTrainedModel:
    """The untouched model for the arm to train: a copy, sharing what the arm never trains where it can.

    Where weights are sharded it shares all until they are, unless it is to be a `whole` arm that may be written into.
    """
    if prepared.shared is not None and not prepared.shared.keep_base:
        cast_up_trained(prepared.model, planned.resolved)
        return prepared.model
    if prepared.recipe.training.engine == "reference":
        model = copy.deepcopy(prepared.model)
        cast_up(model.parameters())  # the plain loop knows of no type but fp32
        return model
    if prepared.is_sharded and not whole:
        return copy_for_shards(prepared.model)
    return copy_for_arm(prepared.model, planned.resolved)


def _parts(prepared: Prepared, store: PrefixStore, *, keep_base: bool) -> SharedParts:
    return SharedParts(
        FrozenWeights(prepared.precision, prefix_leaves=prepared.fills_rows),
        store,
        _depths(prepared.every_arm),
        keep_base,
        fills=prepared.fills_rows,
        fits={} if prepared.fits is None else dict(prepared.fits),
    )


def _depths(arms: Iterable[PlannedArm]) -> tuple[int, ...]:
    phases = [phase for arm in arms for phase in arm.resolved.phases]
    return tuple(sorted({phase.prefix_layers for phase in phases} - {0}))


def _open_store(prepared: Prepared, cache: Path | None) -> PrefixStore:
    training, order = prepared.recipe.training, prepared.recipe.windows.order
    wanted = training.engine == "fast" and training.prefix_cache.use != "never" and bool(_depths(prepared.every_arm))
    if cache is None or not wanted or (order == "random" and not prepared.fills_rows):
        return _memory_store(prepared)
    memory, disk = training.prefix_cache.memory_mb, training.prefix_cache.disk_mb
    return PrefixStore(
        prefix_identity(prepared),
        folder=cache / "prefixes",
        memory_bytes=default_memory_bytes() if memory is None else memory * MEGABYTE,
        disk_bytes=default_disk_bytes(cache, filled=prepared.fills_rows) if disk is None else disk * MEGABYTE,
        require_unchanged=prepared.require_unchanged,
    )


def _memory_store(prepared: Prepared) -> PrefixStore:
    memory = prepared.recipe.training.prefix_cache.memory_mb
    return PrefixStore(
        PrefixIdentity("", ""),
        folder=None,
        memory_bytes=default_memory_bytes() if memory is None else memory * MEGABYTE,
        disk_bytes=0,
    )
