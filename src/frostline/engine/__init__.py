"""How is an arm trained, exactly? The reference step, the fast engine, the loop over arms."""

from frostline.engine.allocator import give_back_freed_memory, keep_freed_memory
from frostline.engine.arm import Arm, Beginning, StepOutcome, clip, next_token_loss, on_device, to_device
from frostline.engine.checkpoint import (
    SHARD_BYTES,
    ArmState,
    ordered_state,
    read_state,
    restore,
    restore_own,
    state_of,
    weights_of,
    write_state,
)
from frostline.engine.clock import PhaseSeconds, StepClock
from frostline.engine.compiled import require_compiler
from frostline.engine.device import (
    attention_kernels,
    free_device_bytes,
    give_back_device_memory,
    is_same_device,
    random_devices,
    resolve_device,
    resolve_precision,
    settle_device,
    synchronize,
)
from frostline.engine.fast import FastForward, untouched_depth
from frostline.engine.filed_weights import (
    FILED_TYPES,
    cast_up,
    cast_up_in_use,
    held_in_fp32,
    is_cast_up_in_use,
    may_stay_as_filed,
)
from frostline.engine.fit import (
    SAME_BATCH_TOLERANCE,
    Fit,
    SharedParts,
    Tried,
    fit_model,
    prefix_depths,
    run_head,
    try_prefix,
)
from frostline.engine.frozen_weights import (
    FrozenWeights,
    cast_up_trained,
    copy_for_arm,
    copy_for_shards,
    own_adapted_weights,
    trained_parameters,
)
from frostline.engine.head_loss import CHUNK_BYTES, chunked_loss, own_head_loss
from frostline.engine.learning_rate import learning_rate_at
from frostline.engine.low_bit import require_low_bit
from frostline.engine.nf4_weights import BYTES_PER_WEIGHT as NF4_BYTES
from frostline.engine.optimizer import make_optimizer, moments_bytes
from frostline.engine.parts import cut_like_widths, largest_part, split_batch
from frostline.engine.peak import measured_peak
from frostline.engine.precision import autocast
from frostline.engine.prefix import Prefix, PrefixTrial
from frostline.engine.prefix_choice import PrefixCase, PrefixChoice, choose_prefix, measured_rates
from frostline.engine.prefix_fill import (
    RECORD_BYTES,
    FilledLayer,
    FillWindow,
    LayerInUse,
    fill_needs,
    fill_rows,
    is_filled,
    require_room_for_fill,
)
from frostline.engine.prefix_store import (
    PrefixIdentity,
    PrefixStore,
    default_disk_bytes,
    default_memory_bytes,
    window_key,
)
from frostline.engine.randomness import set_dropout, set_randomness
from frostline.engine.saved_for_backward import saved_bytes
from frostline.engine.sent_batch import batch_of
from frostline.engine.sharded_checkpoint import (
    is_sharded,
    remove_shards,
    require_shards,
    restore_shard,
    sharded_weights,
    whole_weights,
    write_list,
    write_shard,
)
from frostline.engine.sharding import require_shardable_model, shard_arm
from frostline.engine.stand_in import (
    body_of,
    body_output,
    handing_out,
    hidden_of,
    with_hidden,
)
from frostline.engine.turns import cause_of, turn_order
from frostline.engine.world import ALIVE, ALONE, Together, Values, World

__all__ = [
    "ALIVE",
    "ALONE",
    "CHUNK_BYTES",
    "FILED_TYPES",
    "NF4_BYTES",
    "RECORD_BYTES",
    "SAME_BATCH_TOLERANCE",
    "SHARD_BYTES",
    "Arm",
    "ArmState",
    "Beginning",
    "FastForward",
    "FillWindow",
    "FilledLayer",
    "Fit",
    "FrozenWeights",
    "LayerInUse",
    "PhaseSeconds",
    "Prefix",
    "PrefixCase",
    "PrefixChoice",
    "PrefixIdentity",
    "PrefixStore",
    "PrefixTrial",
    "SharedParts",
    "StepClock",
    "StepOutcome",
    "Together",
    "Tried",
    "Values",
    "World",
    "attention_kernels",
    "autocast",
    "batch_of",
    "body_of",
    "body_output",
    "cast_up",
    "cast_up_in_use",
    "cast_up_trained",
    "cause_of",
    "choose_prefix",
    "chunked_loss",
    "clip",
    "copy_for_arm",
    "copy_for_shards",
    "cut_like_widths",
    "default_disk_bytes",
    "default_memory_bytes",
    "fill_needs",
    "fill_rows",
    "fit_model",
    "free_device_bytes",
    "give_back_device_memory",
    "give_back_freed_memory",
    "handing_out",
    "held_in_fp32",
    "hidden_of",
    "is_cast_up_in_use",
    "is_filled",
    "is_same_device",
    "is_sharded",
    "keep_freed_memory",
    "largest_part",
    "learning_rate_at",
    "make_optimizer",
    "may_stay_as_filed",
    "measured_peak",
    "measured_rates",
    "moments_bytes",
    "next_token_loss",
    "on_device",
    "ordered_state",
    "own_adapted_weights",
    "own_head_loss",
    "prefix_depths",
    "random_devices",
    "read_state",
    "remove_shards",
    "require_compiler",
    "require_low_bit",
    "require_room_for_fill",
    "require_shardable_model",
    "require_shards",
    "resolve_device",
    "resolve_precision",
    "restore",
    "restore_own",
    "restore_shard",
    "run_head",
    "saved_bytes",
    "set_dropout",
    "set_randomness",
    "settle_device",
    "shard_arm",
    "sharded_weights",
    "split_batch",
    "state_of",
    "synchronize",
    "to_device",
    "trained_parameters",
    "try_prefix",
    "turn_order",
    "untouched_depth",
    "weights_of",
    "whole_weights",
    "window_key",
    "with_hidden",
    "write_list",
    "write_shard",
    "write_state",
]
