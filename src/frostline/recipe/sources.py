"""Which model, and which text? The two sections of a recipe that name what lies outside it."""

from __future__ import annotations

import re
from datetime import date
from typing import Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import ConfigDict, PrivateAttr, field_validator, model_validator

from frostline.recipe.base import PlacedSettings
from frostline.recipe.fields import PositiveCount
from frostline.recipe.grammar import CORPUS_RULES

EMBEDDED = "embedded"
HUB_PREFIX = "hub:"
"""What a data set of the Hugging Face hub is named with."""
TEMPLATE_SUFFIXES = (".jinja", ".jinja2", ".j2", ".txt")
"""How the file of a chat template ends."""


def is_template_file(template: str) -> bool:
    """Whether `template:` names a file; else it is the name of one of the tokenizer's templates."""
    return template.lower().endswith(TEMPLATE_SUFFIXES) or "/" in template


class ModelSettings(PlacedSettings):
    """Which model is trained."""

    source: str = EMBEDDED
    """`embedded`, a folder written by `save_pretrained`, or a hub id such as `EleutherAI/gpt-neo-125m`."""
    revision: str | None = None
    """Commit, branch or tag of a hub id."""
    _trusted_code: str | None = PrivateAttr(default=None)
    _is_one_of_several: bool = PrivateAttr(default=False)

    @property
    def trusted_code(self) -> str | None:
        """Pin of the code that comes with the model and may run; never from a recipe, see `loading.remote_code`."""
        return self._trusted_code

    @property
    def is_one_of_several(self) -> bool:
        """Whether an experiment has other models beside it, so that the pin may be meant for one of those."""
        return self._is_one_of_several

    def trusting(self, pin: str | None, *, one_of_several: bool = False) -> ModelSettings:
        """The same, with code of this pin trusted."""
        trusted = self.model_copy()
        trusted._trusted_code, trusted._is_one_of_several = pin, one_of_several
        return trusted


_SECRET = re.compile(r"token|key|secret|signature|password|credential|auth|^sig$", re.IGNORECASE)


def _holds_secret(address: str) -> bool:
    """Whether an address has a user name, or a query with a name such as `token`."""
    parts = urlsplit(address)
    return "@" in parts.netloc or any(
        _SECRET.search(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True)
    )


class CorpusSettings(PlacedSettings):
    """Which text is read, and how."""

    model_config = ConfigDict(json_schema_extra=CORPUS_RULES)

    source: str = EMBEDDED
    """`embedded`, a file, a folder, `hub:DATASET_ID`, or an `https://` address (then `sha256` is required)."""
    format: Literal["auto", "text", "jsonl", "json", "csv", "parquet", "arrow", "chat"] = "auto"
    """`auto` goes by the file's name (`.gz`, `.zst`, `.bz2`, `.xz` are unpacked), of a folder by its files' names.

    A table with a column `messages` or `conversations` holds conversations; `chat` reads them from any table.
    """
    encoding: str = "auto"
    """`auto` is UTF-8, or UTF-16 and UTF-32 with a byte order mark; others by name, such as `cp1252`."""
    column: str | None = None
    """The text column of jsonl, json, csv, parquet, arrow and hub data sets: `text` unless said.

    Where it is said, a table that holds conversations too is read as text.
    """
    prompt: str | None = None
    """Column of the prompts of prompt/response pairs: the tokenizer's chat template is applied to each pair."""
    response: str | None = None
    """Column of the responses: the loss counts their tokens alone."""
    duplicates: Literal["keep", "drop"] = "keep"
    """Rows of a table, documents of a folder and paragraphs of a plain text that repeat an earlier one exactly."""
    messages: str | None = None
    """Column of conversations: a list of turns, each with `role` and `content`, or `from` and `value`."""
    learn: Literal["responses", "last_response", "all"] = "responses"
    """Which tokens of a conversation the loss counts: those of every answer, of the last one, or all."""
    too_long: Literal["cut", "drop", "refuse"] = "cut"
    """A conversation longer than a window: `cut` keeps its last answer's end, `drop` leaves it out; both are told."""
    template: str | None = None
    """Chat template of one's own: a file (`.jinja`), or the name of one, where the tokenizer has several."""
    split: str = "train"
    """Split of a hub data set, or of a folder that `DatasetDict.save_to_disk` wrote."""
    subset: str | None = None
    """Configuration name of a hub data set."""
    revision: str | None = None
    """Commit, branch or tag of a hub data set; the commit that it stood for is recorded, and a resume reads that."""
    sha256: str | None = None
    """Expected SHA-256 of the file; a different content is an error."""
    tokens: PositiveCount | None = None
    """Read only the first `tokens` tokens (what `vary: {corpus.tokens: [...]}` varies)."""
    _template_date: date | None = PrivateAttr(default=None)
    _held_out_within: int | None = PrivateAttr(default=None)

    @property
    def template_date(self) -> date | None:
        """What a chat template that asks takes for today; None for today. Never from a recipe, see `arms.pinned`."""
        return self._template_date

    @property
    def text_column(self) -> str:
        """The column that running text is in."""
        return "text" if self.column is None else self.column

    def dated(self, day: date | None) -> CorpusSettings:
        """The same, with this day as today."""
        dated = self.model_copy()
        dated._template_date = day
        return dated

    @property
    def held_out_within(self) -> int | None:
        """Held-out windows are among the first so many tokens, as those of all variants are; None for anywhere."""
        return self._held_out_within

    def holding_out_within(self, tokens: int) -> CorpusSettings:
        """The same, with its held-out windows among the first `tokens` tokens."""
        changed = self.model_copy()
        changed._held_out_within = tokens
        return changed

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, name: str) -> str:
        try:
            if name != "auto":
                "a".encode(name)
        except (LookupError, ValueError):
            raise ValueError(f"'{name}' is no encoding of text that Python knows: try 'cp1252' or 'latin-1'") from None
        return name

    @property
    def is_local(self) -> bool:
        """Whether `source` is a path."""
        return self.source != EMBEDDED and not self.source.startswith(HUB_PREFIX) and "://" not in self.source

    @model_validator(mode="after")
    def _pairs_need_both_columns(self) -> Self:
        if (self.prompt is None) != (self.response is None):
            raise ValueError("'prompt' and 'response' go together: name both columns, or neither")
        if self.prompt is not None and self.messages is not None:
            raise ValueError("conversations stand in 'messages', or in 'prompt' and 'response': name one or the others")
        if self.source.startswith(("http://", "https://")) and self.sha256 is None:
            raise ValueError("a corpus fetched by its address needs 'sha256'")
        if self.source.startswith("http://"):
            raise ValueError("a corpus is fetched by https only")
        if self.revision is not None and not self.source.startswith(HUB_PREFIX):
            raise ValueError("'revision' is that of a hub data set, and this corpus is none")
        if self.source.startswith("https://") and _holds_secret(self.source):
            raise ValueError(
                "the address holds a password or token, and a recipe is written into the run folder: "
                "download the file yourself and name it here"
            )
        return self
