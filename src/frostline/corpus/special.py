"""When is a special token a marker, and when mere text? A marker where a template or Frostline writes it, else text.

Tokenizers look for the texts of their special tokens before anything else, wherever they stand: `<s>` in a web page or
`<|im_end|>` in a question would become the marker itself. So a second tokenizer is made of the first, which knows every
marker by another name that nobody writes. It is given the markers under those names, and the text as it is.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from tokenizers import Encoding, Tokenizer

from frostline.errors import CorpusError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_RENAMED = 0x10_0000
"""Code point of the first letter of the first renamed marker; a plane that is for private use."""
_HIDDEN = 0xF_0000
"""The same for markers that stand in the text, while a template writes around them."""
_WRITTEN_BY_MODELS = re.compile("think|tool", re.IGNORECASE)
"""Markers of reasoning and of calls, which are part of what an assistant says."""


@dataclass(frozen=True)
class Markers:
    """The markers of a tokenizer, and how a text is cut into tokens in which they are text.

    Names of markers keep their length when they change, so that places in the text stay what they are.
    """

    tokenizer: PreTrainedTokenizerBase
    template: str = ""
    """Source of a chat template; added tokens that it writes are markers, too, special or not."""
    ids: dict[str, int] = field(init=False)
    """Marker -> token id."""

    def __post_init__(self) -> None:
        ids = {}
        # Some tokenizers are told to take every marker for text.
        splits = bool(getattr(self.tokenizer, "split_special_tokens", False))
        added = {} if splits else self.tokenizer.added_tokens_decoder
        for number, token in added.items():
            text = str(token.content)
            written = bool(self.template) and text in self.template and not _WRITTEN_BY_MODELS.search(text)
            if text.strip() and (token.special or written):
                ids[text] = int(number)
        object.__setattr__(self, "ids", ids)

    @cached_property
    def backend(self) -> Tokenizer:
        """The tokenizer itself, with offsets that leave out nothing. Raises `CorpusError` if it is not a fast one."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise CorpusError(
                f"the tokenizer {type(self.tokenizer).__name__} does not tell where its tokens stand in the text.",
                "Use a model with a fast tokenizer (a file tokenizer.json).",
            )
        mine: Tokenizer = copy.deepcopy(backend)
        mine.no_truncation()
        mine.no_padding()
        mine.post_processor = None
        mine.encode_special_tokens = bool(getattr(self.tokenizer, "split_special_tokens", False))
        return mine

    def found_in(self, text: str) -> bool:
        """Whether `text` holds what looks like a marker."""
        # Looking for how they begin is ten times as fast, and mostly enough.
        return any(begin in text for begin in self._begins) and self._pattern.search(text) is not None

    def hide(self, text: str, *, said_by_assistant: bool = False) -> str:
        """`text` with other first letters where it spells a marker; what an assistant may write stays."""
        if not self.found_in(text):
            return text
        pattern = self._not_of_assistants if said_by_assistant else self._pattern
        return pattern.sub(lambda match: chr(_HIDDEN + self._number[match[0]]) + match[0][1:], text)

    def encode(self, text: str) -> Encoding:
        """Tokens of `text`, in which hidden markers are text and the others are markers."""
        named = self._written.sub(lambda match: chr(_RENAMED + self._number[match[0]]) + match[0][1:], text)
        return self._renamed.encode(self.shown(named), add_special_tokens=False)

    def encode_text(self, text: str, separator: str | None = None) -> Encoding:
        """Tokens of `text`, in which nothing is a marker but `separator`."""
        if separator is not None and separator in self._number:
            text = text.replace(separator, chr(_RENAMED + self._number[separator]) + separator[1:])
        return self._renamed.encode(text, add_special_tokens=False)

    def shown(self, text: str) -> str:
        """`text` with its hidden markers as they were."""
        return self._hidden.sub(lambda match: self._names[ord(match[0][0]) - _HIDDEN], text)

    @cached_property
    def _names(self) -> list[str]:
        return sorted(self.ids, key=lambda name: (-len(name), name))

    @cached_property
    def _begins(self) -> list[str]:
        return sorted({name[:2] for name in self.ids})

    @cached_property
    def _number(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self._names)}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return _any_of(self._names)

    @cached_property
    def _written(self) -> re.Pattern[str]:
        return _any_of([name for name in self._names if name != self.tokenizer.unk_token])

    @cached_property
    def _not_of_assistants(self) -> re.Pattern[str]:
        return _any_of([name for name in self._names if not _WRITTEN_BY_MODELS.search(name)])

    @cached_property
    def _hidden(self) -> re.Pattern[str]:
        return _any_of([chr(_HIDDEN + number) + name[1:] for number, name in enumerate(self._names)])

    @cached_property
    def _renamed(self) -> Tokenizer:
        """The tokenizer, with every marker under its other name."""
        new = {name: chr(_RENAMED + number) + name[1:] for number, name in enumerate(self._names)}
        parts = json.loads(self.backend.to_str())
        model = parts["model"]
        vocabulary = model.get("vocab")
        # What stands for unknown text keeps its name, by which the model looks it up; nobody writes it as a marker.
        unknown = model.get("unk_token")
        if isinstance(vocabulary, dict) and unknown in vocabulary:
            new.pop(unknown, None)
            parts["added_tokens"] = [token for token in parts["added_tokens"] if token["content"] != unknown]
        for token in parts["added_tokens"]:
            if token["content"] in new:
                token["content"] = new[token["content"]]
                token["normalized"] = False
        if isinstance(vocabulary, dict):
            merged = {part for merge in model.get("merges", ()) for part in _parts_of_merge(merge)}
            model["vocab"] = {
                (piece if piece in merged else new.get(piece, piece)): i for piece, i in vocabulary.items()
            }
        elif isinstance(vocabulary, list):
            model["vocab"] = [[new.get(piece, piece), score] for piece, score in vocabulary]
        renamed: Tokenizer = Tokenizer.from_str(json.dumps(parts))
        renamed.encode_special_tokens = self.backend.encode_special_tokens
        moved = [old for old, name in new.items() if renamed.token_to_id(name) != self.ids[old]]
        if moved:
            raise CorpusError(
                f"the text spells the special token '{moved[0]}', and this tokenizer cannot read it as text.",
                "Take it out of the text.",
            )
        return renamed


Cut = Encoding | list[int]
"""A text cut into tokens. Making Python's list of an `Encoding` takes Python's lock, and can be left for later."""


def cut_texts(markers: Markers, texts: Sequence[str], separator: str | None = None) -> list[Cut]:
    """Each of `texts` as tokens, running text in which special tokens are text; without beginning of text.

    `separator`: the one that is a marker, as it stands between documents.
    """
    found = _cut_plainly(markers.tokenizer, texts)
    for place, text in enumerate(texts):
        if markers.found_in(text):
            found[place] = markers.encode_text(text, separator)
    return found


def ids_of(cut: Cut) -> list[int]:
    """Token ids of a text."""
    return cut.ids if isinstance(cut, Encoding) else cut


def _cut_plainly(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Cut]:
    """Each of `texts` as tokens, what spells a marker taken for one."""
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

    kind = type(tokenizer)
    own = kind.__call__ is not PreTrainedTokenizerBase.__call__
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if own or not isinstance(backend, Tokenizer) or kind._encode_plus is not PreTrainedTokenizerFast._encode_plus:
        encoded = tokenizer(
            list(texts),
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        return list(encoded["input_ids"])
    # What the call above comes to, without offsets and the like, which take half as long again.
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = bool(getattr(tokenizer, "split_special_tokens", False))
    return list(backend.encode_batch_fast(list(texts), add_special_tokens=False))


def separator_of_documents(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The end-of-text token, which collections of texts write between documents; None where it ends turns, too."""
    end, templates = tokenizer.eos_token, tokenizer.chat_template
    written = "".join(templates.values()) if isinstance(templates, dict) else templates or ""
    return end if isinstance(end, str) and end not in written and "eos_token" not in written else None


def _any_of(names: Iterable[str]) -> re.Pattern[str]:
    listed = "|".join(re.escape(name) for name in names)
    return re.compile(listed or r"(?!)")


def _parts_of_merge(merge: str | list[str]) -> tuple[str, ...]:
    """Both parts of a merge of byte pairs, and what they become."""
    parts = merge.split(" ", 1) if isinstance(merge, str) else merge
    return (*parts, "".join(parts))
