"""How does a conversation become text? By the tokenizer's chat template, in the sandbox that such templates expect.

It is given what `apply_chat_template` of transformers gives it, but for two things: the date stays that of the run's
beginning, and the marks `{% generation %}` leave letters in the text by which they are found.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from frostline.errors import CorpusError, nearest
from frostline.recipe import is_template_file

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Turn = Mapping[str, object]
"""One turn of a conversation: `role`, `content` and whatever else the template knows."""
LARGEST_TEMPLATE_BYTES = 1_000_000
_BEGIN, _END = "\ufdd0frostline\ufdd1", "\ufdd2frostline\ufdd3"
_PROBE = "frostline probes"


@dataclass(frozen=True)
class Written:
    """What a template made of a conversation."""

    text: str
    generated: tuple[tuple[int, int], ...]
    """First letter and end of what the template marks as written by the assistant."""


@dataclass(frozen=True)
class ChatTemplate:
    """A template that was found and compiled."""

    source: str
    date: datetime.date | None
    """Today as the template sees it; None where it does not ask."""
    marks: bool
    """Whether it marks by `{% generation %}` what the assistant writes."""
    wants_parts: bool
    """Whether it takes content as a list of parts only."""
    compiled: jinja2.Template
    special: Mapping[str, object]
    """Special tokens by name, which templates are given."""

    def write(self, turns: Sequence[Turn], tools: object = None, *, invite: bool = False) -> Written:
        """The text of `turns`; `invite`: up to where the assistant is to answer. Raises `jinja2.TemplateError`."""
        turns = [_in_parts(turn) for turn in turns] if self.wants_parts else turns
        text = render(self.compiled, turns, tools, self.special, invite=invite)
        return (
            _without_marks(text)
            if self.marks and not invite
            else Written(text.replace(_BEGIN, "").replace(_END, ""), ())
        )


def find_template(
    tokenizer: PreTrainedTokenizerBase, wanted: str | None, date: datetime.date, *, tools: bool = False
) -> ChatTemplate:
    """The template of a file, the one of this name, or the tokenizer's own. Raises `CorpusError`.

    `tools`: the conversations have tools, for which some tokenizers keep a template of their own.
    """
    source = _source_of(tokenizer, wanted, tools=tools)
    special = dict(tokenizer.special_tokens_map)
    compiled = _compile(source, date)
    wants_parts = not _writes(compiled, _PROBE, special) and _writes(
        compiled, [{"type": "text", "text": _PROBE}], special
    )
    return ChatTemplate(
        source=source,
        date=date if "strftime_now" in source else None,
        marks="endgeneration" in source,
        wants_parts=wants_parts,
        compiled=compiled,
        special=special,
    )


def render(
    compiled: jinja2.Template, turns: Sequence[Turn], tools: object, special: Mapping[str, object], *, invite: bool
) -> str:
    """The text that a compiled template makes of `turns`; whatever it trips over is a `jinja2.TemplateError`."""
    try:
        return compiled.render(messages=turns, tools=tools, documents=None, add_generation_prompt=invite, **special)
    except TemplateError:
        raise
    # A template is a program that came with the model: its own mistakes are of these kinds.
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise TemplateError(f"{type(error).__name__}: {error}") from error


class _Generation(Extension):
    """`{% generation %}`: what stands inside is what the assistant writes."""

    tags = {"generation"}  # noqa: RUF012 - as jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_marked"), [], [], body).set_lineno(line)

    def _marked(self, caller: Callable[[], str]) -> str:
        return _BEGIN + caller() + _END


def _without_marks(text: str) -> Written:
    pieces: list[str] = []
    spans: list[tuple[int, int]] = []
    length = 0
    first, *marked = text.split(_BEGIN)
    pieces.append(first)
    length += len(first)
    for piece in marked:
        inside, _, after = piece.partition(_END)
        spans.append((length, length + len(inside)))
        pieces += (inside, after)
        length += len(inside) + len(after)
    return Written("".join(pieces), tuple(spans))


def _source_of(tokenizer: PreTrainedTokenizerBase, wanted: str | None, *, tools: bool) -> str:
    own = tokenizer.chat_template
    named: dict[str, str] = own if isinstance(own, dict) else {}
    if wanted is not None and wanted in named:
        return named[wanted]
    if wanted is not None and is_template_file(wanted):
        return _read(Path(wanted).expanduser())
    if wanted is not None:
        listed = f"It has {', '.join(sorted(named))}." if named else "It has one template without a name, or none."
        raise CorpusError(
            f"the tokenizer has no chat template named '{wanted}'.",
            f"{nearest(wanted, list(named), count=1)} {listed} A file of one's own ends in .jinja.".strip(),
        ).at("template")
    if named:
        for name in ("tool_use", "default") if tools else ("default",):
            if name in named:
                return named[name]
        raise CorpusError(
            f"the tokenizer has several chat templates and none of them is its default: {', '.join(sorted(named))}.",
            "Name one of them with 'template'.",
        )
    if not isinstance(own, str) or not own:
        raise CorpusError(
            "conversations need a chat template, and this model's tokenizer has none.",
            "Name a file of one's own with 'template', use a model tuned for conversation, or one text column.",
        )
    return own


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_TEMPLATE_BYTES:
            raise CorpusError(f"the template '{path.name}' is larger than {LARGEST_TEMPLATE_BYTES:,} bytes.").at(
                "template"
            )
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CorpusError(
            f"the template '{path}' cannot be read: {reason}.", "Paths in a recipe are relative to its folder."
        ).at("template") from error


@lru_cache(maxsize=8)
def _compile(source: str, date: datetime.date) -> jinja2.Template:
    def raise_exception(message: object) -> None:
        raise TemplateError(str(message))

    def to_json(
        value: object,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = date.strftime
    try:
        return environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise CorpusError(
            f"the chat template is not valid Jinja: {error.message} (its line {error.lineno}).",
            "Give a file of one's own with 'template'.",
        ) from error


def _writes(compiled: jinja2.Template, content: object, special: Mapping[str, object]) -> bool:
    """Whether the words of `content` stand in what the template makes of a question."""
    try:
        text = render(compiled, [{"role": "user", "content": content}], None, special, invite=True)
    except TemplateError:
        return False
    # A list that is printed as Python writes it is not understood.
    return _PROBE in text and "'type'" not in text and '"type"' not in text


def _in_parts(turn: Turn) -> Turn:
    content = turn.get("content")
    return {**turn, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else turn
