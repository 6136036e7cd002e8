"""Is what was loaded what lies in the file, and can it be trained?"""

from frostline.loading.embedded_ids import require_embedded_ids
from frostline.loading.embedded_model import needs_conversion
from frostline.loading.files_in_use import FilesInUse, files_of
from frostline.loading.first_step import require_step
from frostline.loading.pretrained import (
    as_filed_without_memory,
    commit_of,
    context_length,
    filed_context_length,
    in_place_bytes,
    load_model,
    load_tokenizer,
    load_unread,
    model_title,
    model_without_memory,
    parameter_count,
    require_model_files,
    runs_code,
    weight_files,
)
from frostline.loading.proof import embedding_rows
from frostline.loading.remote_code import trusting_folder

__all__ = [
    "FilesInUse",
    "as_filed_without_memory",
    "commit_of",
    "context_length",
    "embedding_rows",
    "filed_context_length",
    "files_of",
    "in_place_bytes",
    "load_model",
    "load_tokenizer",
    "load_unread",
    "model_title",
    "model_without_memory",
    "needs_conversion",
    "parameter_count",
    "require_embedded_ids",
    "require_model_files",
    "require_step",
    "runs_code",
    "trusting_folder",
    "weight_files",
]
