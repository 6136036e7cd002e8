"""Is everything there, and how does an arm come to be?"""

from frostline.arms.budget import SettledSteps, budget_sentence, epoch_steps, settle_steps, steps_within, with_steps
from frostline.arms.device_memory import leave_device
from frostline.arms.disk import journal_bytes, run_folder_bytes, saved_bytes
from frostline.arms.empty_process import process_bytes
from frostline.arms.excerpt import (
    FEW_ROWS,
    FewerTokens,
    cut_model,
    fewer_tokens,
    has_large_vocabulary,
    map_of_cut,
)
from frostline.arms.facts import dated, facts_of, pinned, pinned_beside
from frostline.arms.fill import fill, filled_layers, require_fill, windows_to_fill
from frostline.arms.fits import free_bytes
from frostline.arms.make import (
    MEGABYTE,
    alone,
    base_digests,
    bring_rows,
    choose_for,
    evaluated_windows,
    forget_other_windows,
    lean,
    make_arm,
    make_arm_of_base,
    make_ordered_arm,
    model_for_arm,
    require_shardable,
    shared_parts,
)
from frostline.arms.memory import mapped_weight_bytes, pages_of_steps, tensor_bytes
from frostline.arms.memory_facts import MemoryFacts, vocabulary_of
from frostline.arms.ordered import compared, prepare_ordered, prepared_by_all, require_same_weights
from frostline.arms.own_text import OwnText
from frostline.arms.peak_memory import STEPS, MemoryMeasure, measure_peak_memory
from frostline.arms.prepared import (
    PlannedArm,
    Prepared,
    foresee,
    plan_arms,
    prepare,
    require_first_step,
    tokens_of_a_step,
)
from frostline.arms.rates import (
    DIVERGED_NATS,
    FULL_RATE,
    USUAL_TRIALS,
    RateChoice,
    choose_rate,
    grid_of,
    next_rate,
    race_seed,
    start_rate,
    trial_training,
)
from frostline.arms.reading import ReadCorpora, read_corpora
from frostline.arms.repeats import doubt_of_repeats
from frostline.arms.run_memory import RunBytes, run_bytes
from frostline.arms.saved_by_step import saved_without_memory
from frostline.arms.speed import LOW_SHARE, Speed, low_share_advice, needed_flops, speed_of
from frostline.arms.trained import FP32_BYTES, checkpoint_bytes, kept_weights_bytes, trained_values
from frostline.arms.trained_model import apply_trained, ordinary_model
from frostline.arms.turns import FIRST_VISITS, Visits, take_turns
from frostline.arms.whether_sharded import is_to_be_sharded, not_with_shards, with_sharded_weights
from frostline.arms.window_length import require_window_length

__all__ = [
    "DIVERGED_NATS",
    "FEW_ROWS",
    "FIRST_VISITS",
    "FP32_BYTES",
    "FULL_RATE",
    "LOW_SHARE",
    "MEGABYTE",
    "STEPS",
    "USUAL_TRIALS",
    "FewerTokens",
    "MemoryFacts",
    "MemoryMeasure",
    "OwnText",
    "PlannedArm",
    "Prepared",
    "RateChoice",
    "ReadCorpora",
    "RunBytes",
    "SettledSteps",
    "Speed",
    "Visits",
    "alone",
    "apply_trained",
    "base_digests",
    "bring_rows",
    "budget_sentence",
    "checkpoint_bytes",
    "choose_for",
    "choose_rate",
    "compared",
    "cut_model",
    "dated",
    "doubt_of_repeats",
    "epoch_steps",
    "evaluated_windows",
    "facts_of",
    "fewer_tokens",
    "fill",
    "filled_layers",
    "foresee",
    "forget_other_windows",
    "free_bytes",
    "grid_of",
    "has_large_vocabulary",
    "is_to_be_sharded",
    "journal_bytes",
    "kept_weights_bytes",
    "lean",
    "leave_device",
    "low_share_advice",
    "make_arm",
    "make_arm_of_base",
    "make_ordered_arm",
    "map_of_cut",
    "mapped_weight_bytes",
    "measure_peak_memory",
    "model_for_arm",
    "needed_flops",
    "next_rate",
    "not_with_shards",
    "ordinary_model",
    "pages_of_steps",
    "pinned",
    "pinned_beside",
    "plan_arms",
    "prepare",
    "prepare_ordered",
    "prepared_by_all",
    "process_bytes",
    "race_seed",
    "read_corpora",
    "require_fill",
    "require_first_step",
    "require_same_weights",
    "require_shardable",
    "require_window_length",
    "run_bytes",
    "run_folder_bytes",
    "saved_bytes",
    "saved_without_memory",
    "settle_steps",
    "shared_parts",
    "speed_of",
    "start_rate",
    "steps_within",
    "take_turns",
    "tensor_bytes",
    "tokens_of_a_step",
    "trained_values",
    "trial_training",
    "vocabulary_of",
    "windows_to_fill",
    "with_sharded_weights",
    "with_steps",
]
