"""Does the tokenizer cut text as its file says? The library may build another one, by the name of the model's family.

`transformers` has tokenizers of its own for some families, which take the vocabulary from `tokenizer.json` and leave
the rest of it aside: where a model of such a family was trained with another kind of tokenizer, text becomes other
tokens, or none, and nothing says so. What the model was trained with is what lies in the file.
"""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

FILE = "tokenizer.json"
_PROBE = (
    "The frost line, 12.5 km deep:\n\n\tfor i in range(3):  print('a\\nb')\n"
    "Żółć naïve — 雪の線 мороз مرحبا 🐋 don't  two  spaces river stone lamp "
)


def as_filed(tokenizer: PreTrainedTokenizerBase, source: str, revision: str | None) -> PreTrainedTokenizerBase:
    """`tokenizer`, if it cuts text as the `tokenizer.json` of `source` does, or there is none; else the file's own.

    Settings beside the file that change how text is cut are kept: then neither is as the file alone.
    """
    file = _file_of(source, revision)
    if file is None:
        return tokenizer
    filed = Tokenizer.from_file(str(file))
    wanted = filed.encode(_PROBE, add_special_tokens=False).ids
    if _ids(tokenizer) == wanted:
        return tokenizer
    own = PreTrainedTokenizerFast.from_pretrained(file.parent)
    return own if _ids(own) == wanted else tokenizer


def _file_of(source: str, revision: str | None) -> Path | None:
    if Path(source).is_dir():
        file = Path(source) / FILE
        return file if file.is_file() else None
    kept = try_to_load_from_cache(source, FILE, revision=revision)
    return Path(kept) if isinstance(kept, str) else None


def _ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    ids: list[int] = tokenizer(_PROBE, add_special_tokens=False, verbose=False)["input_ids"]
    return ids
