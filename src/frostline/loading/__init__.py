"""Is what was loaded what lies in the file, and can it be trained?"""

from frostline.loading.pretrained import (
    commit_of,
    context_length,
    load_model,
    load_tokenizer,
    model_title,
    needs_conversion,
    parameter_count,
)

__all__ = [
    "commit_of",
    "context_length",
    "load_model",
    "load_tokenizer",
    "model_title",
    "needs_conversion",
    "parameter_count",
]
