"""One model in two folders: as a bf16 or fp16 file, and as an fp32 file of the same values."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from tests.builders.models import VOCABULARY
from tests.builders.tokenizers import word_tokenizer

SPECIAL_TOKENS = 4


def write_both(
    folder: Path, model: PreTrainedModel, dtype: torch.dtype = torch.bfloat16, *, shards: bool = False
) -> tuple[Path, Path]:
    """Write `model`, rounded to `dtype`, in that type and in fp32; the two folders."""
    disable_progress_bar()
    narrow = copy.deepcopy(model).to(dtype)  # type: ignore[arg-type]  # transformers hides the signature
    wide = copy.deepcopy(narrow).float()
    folders = folder / "narrow", folder / "wide"
    for own, where in zip((narrow, wide), folders, strict=True):
        own.save_pretrained(where, max_shard_size="20KB" if shards else "1GB")
        word_tokenizer(VOCABULARY - SPECIAL_TOKENS).save_pretrained(where)
    return folders
