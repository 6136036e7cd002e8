"""What does a model expect before a text? What its tokenizer puts there by itself, such as `<bos>`.

Models such as Gemma and Llama were trained with it at the start of every sequence, and read much worse without it.
Others (GPT-2, SmolLM2) have a token of that name and were trained without it: so the tokenizer is asked, not the name.
What it puts behind a text is not taken, as a window ends in the middle of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROBES = ("The sea was calm.", "1 a")


def beginning_of(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The token ids that `tokenizer` puts before a document; () where it puts none, or not always the same."""
    found = {_before(tokenizer, probe) for probe in _PROBES}
    return found.pop() if len(found) == 1 else ()


def _before(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    """What stands before the tokens of `text` itself."""
    whole = _ids(tokenizer, text, special=True)
    bare = _ids(tokenizer, text, special=False)
    added = len(whole) - len(bare)
    place = next((place for place in range(added + 1) if whole[place : place + len(bare)] == bare), 0)
    return tuple(whole[:place])


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool) -> list[int]:
    encoded = tokenizer(text, add_special_tokens=special, return_attention_mask=False, return_token_type_ids=False)
    ids: list[int] = encoded["input_ids"]
    return ids
