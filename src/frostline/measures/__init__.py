"""What is recorded? Loss, weight change, generated text and its quality, memory."""

from frostline.measures.continuations import ContinuationMeasures, describe_continuations
from frostline.measures.evaluate import EVALUATION_WINDOWS, LossMeasure, evaluate_loss, window_losses
from frostline.measures.forward import CHUNK_VALUES, next_token_losses, untouched_forward
from frostline.measures.going_on import goes_on_by_cache, require_going_on
from frostline.measures.hashing import (
    TensorDigests,
    sorted_weights_sha256,
    state_tensors,
    tensor_digests,
    weights_sha256,
)
from frostline.measures.head import MOST_TOKENS, Apart, head_where_logits_are_many
from frostline.measures.identity import ModelIdentity, forward_conditions, identify
from frostline.measures.judge import Judge, judge_of
from frostline.measures.memory import memory_method, peak_bytes, reserved_peak_bytes, reset_peak
from frostline.measures.perplexity import continuation_losses
from frostline.measures.quality import bleu, distinct, repetition, self_bleu
from frostline.measures.sampling import end_token_ids, prompts_at_once, sample_continuations
from frostline.measures.spectrum import stable_rank
from frostline.measures.tokens import count_common
from frostline.measures.weights import WeightNorms, WeightWatch

__all__ = [
    "CHUNK_VALUES",
    "EVALUATION_WINDOWS",
    "MOST_TOKENS",
    "Apart",
    "ContinuationMeasures",
    "Judge",
    "LossMeasure",
    "ModelIdentity",
    "TensorDigests",
    "WeightNorms",
    "WeightWatch",
    "bleu",
    "continuation_losses",
    "count_common",
    "describe_continuations",
    "distinct",
    "end_token_ids",
    "evaluate_loss",
    "forward_conditions",
    "goes_on_by_cache",
    "head_where_logits_are_many",
    "identify",
    "judge_of",
    "memory_method",
    "next_token_losses",
    "peak_bytes",
    "prompts_at_once",
    "repetition",
    "require_going_on",
    "reserved_peak_bytes",
    "reset_peak",
    "sample_continuations",
    "self_bleu",
    "sorted_weights_sha256",
    "stable_rank",
    "state_tensors",
    "tensor_digests",
    "untouched_forward",
    "weights_sha256",
    "window_losses",
]
