"""What did people write down as a conversation? Rows of several habits, brought to turns of role and content.

A row holds a list of turns (`role`/`content`, or `from`/`value`), a prompt and a response (texts or turns), or
instruction, input and output. What is merely empty is left out and counted; what is wrong is an error with its place.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from frostline.corpus.rows import Row, kind_of, listed
from frostline.errors import CorpusError, nearest
from frostline.recipe import CorpusSettings

MESSAGES = ("messages", "conversations", "conversation")
"""Columns in which lists of turns are looked for."""
PAIRS = (("prompt", "completion"), ("prompt", "response"))
INSTRUCTION, INPUT, OUTPUT = "instruction", "input", "output"
SYSTEM, TOOLS = "system", "tools"
HISTORY = "history"
"""Earlier questions with their answers, beside instruction and output."""
ROLES = ("system", "developer", "user", "assistant", "tool")
_OTHER_NAMES = {
    "human": "user",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
    "ipython": "tool",
}
"""Roles as other collections name them."""
_REASONING = ("reasoning_content", "thinking", "reasoning")


@dataclass(frozen=True)
class ChatColumns:
    """Which columns hold the conversations, and in which manner."""

    kind: Literal["messages", "pair", "instruction"]
    names: tuple[str, ...]
    """Columns that every row has."""
    optional: tuple[str, ...] = ()
    """Columns that a row may have."""


@dataclass(frozen=True)
class Conversation:
    """Turns as a chat template takes them."""

    turns: tuple[dict[str, object], ...]
    tools: list[object] | None
    place: str


def chat_columns(settings: CorpusSettings, available: Sequence[str]) -> ChatColumns | None:
    """Where the conversations of a table with the columns `available` stand; None where it holds running text.

    Raises `CorpusError` where conversations are asked for and none are found, or where both could be meant.
    """
    asked = settings.format == "chat"
    besides = tuple(name for name in (SYSTEM, TOOLS) if name in available)
    if settings.prompt is not None and settings.response is not None:
        return ChatColumns("pair", (settings.prompt, settings.response), besides if asked else ())
    if settings.messages is not None:
        return ChatColumns("messages", (settings.messages,), besides)
    found = next((name for name in MESSAGES if name in available), None)
    if not asked:
        if found not in MESSAGES[:2] or settings.column is not None:
            return None
        if settings.text_column in available:
            raise CorpusError(
                f"the table has a column '{settings.text_column}' and a column '{found}'.",
                f"Say which is read: 'column: {settings.text_column}', or 'format: chat'.",
            )
    if found is not None:
        return ChatColumns("messages", (found,), besides)
    if not asked:
        return None
    if INSTRUCTION in available and OUTPUT in available:
        return ChatColumns(
            "instruction", (INSTRUCTION, OUTPUT), (*besides, *(name for name in (INPUT, HISTORY) if name in available))
        )
    for pair in PAIRS:
        if set(pair) <= set(available):
            return ChatColumns("pair", pair, besides)
    if "chosen" in available:
        raise CorpusError(
            "the table holds preferences ('chosen'), of which one answer of each can be learnt.",
            "Say 'prompt: prompt' and 'response: chosen'; or 'messages: chosen', if it holds whole conversations.",
        )
    raise CorpusError(
        "no column holds conversations (looked for: 'messages', 'prompt' and 'completion', 'instruction' and "
        f"'output'): there are {listed(available)}.",
        "Name one with 'messages', or two with 'prompt' and 'response'.",
    )


def conversation_of(row: Row, columns: ChatColumns) -> Conversation | str:
    """The conversation of a row of `columns.names + columns.optional`; a reason, where there is none to learn from.

    Raises `CorpusError` with the row's place.
    """
    place = row.place
    values = dict(zip((*columns.names, *columns.optional), row.values, strict=True))
    first, *others = (values[name] for name in columns.names)
    turns: list[dict[str, object]]
    if columns.kind == "messages":
        turns = _turns(first, columns.names[0], place)
        if not turns:
            return "without turns"
    else:
        question = _turns_or_text(first, columns.names[0], "user", place)
        answer = _turns_or_text(others[0], columns.names[1], "assistant", place)
        if columns.kind == "instruction" and (more := _text(values.get(INPUT), INPUT, place)) and more.strip():
            instruction = str(question[0]["content"]) if question else ""
            question = [{"role": "user", "content": f"{instruction}\n\n{more}" if instruction.strip() else more}]
        if not question or not answer:
            return "without prompt or response"
        turns = _history(values.get(HISTORY), place) + question + answer
    system = _text(values.get(SYSTEM), SYSTEM, place)
    if system and system.strip() and turns[0]["role"] not in ("system", "developer"):
        turns.insert(0, {"role": "system", "content": system})
    asked = next((turn for turn in turns if turn["role"] not in ("system", "developer")), None)
    if asked is not None and asked["role"] == "assistant":
        raise CorpusError(
            f"{place}: the conversation begins with an answer: nothing was asked before it.",
            "Take that turn out, or put a user's turn before it.",
        )
    if not any(is_answer(turn) for turn in turns):
        return "without an answer"
    return Conversation(tuple(turns), _tools(values.get(TOOLS), place), place)


def _history(value: object, place: str) -> list[dict[str, object]]:
    """The turns of earlier questions with their answers."""
    pairs = _parsed(value, HISTORY, place) if isinstance(value, str) else value
    turns: list[dict[str, object]] = []
    for pair in pairs if isinstance(pairs, list) else [] if pairs is None else [pairs]:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise CorpusError(
                f"{place}: column '{HISTORY}' holds something else than pairs of a question and its answer.",
                'It is a list such as [["...", "..."], ["...", "..."]].',
            )
        turns += (
            {"role": role, "content": _text(text, HISTORY, place)}
            for role, text in zip(("user", "assistant"), pair, strict=True)
        )
    return turns


def is_answer(turn: dict[str, object]) -> bool:
    """Whether the assistant says or calls something in `turn`."""
    if turn["role"] != "assistant":
        return False
    return bool(turn.get("tool_calls")) or any(text.strip() for text in said(turn))


def said(turn: dict[str, object]) -> list[str]:
    """The texts of a turn in the order in which a reader expects them: reasoning, then content."""
    content = turn.get("content", "")
    reasoning = turn.get("reasoning_content")
    texts = [reasoning] if isinstance(reasoning, str) else []
    return [*texts, content] if isinstance(content, str) else texts


def _turns_or_text(value: object, column: str, role: str, place: str) -> list[dict[str, object]]:
    """A prompt or response: a list of turns, or one turn's text; none where it is blank."""
    if isinstance(value, list):
        return _turns(value, column, place)
    text = _text(value, column, place)
    return [{"role": role, "content": text}] if text and text.strip() else []


def _turns(value: object, column: str, place: str) -> list[dict[str, object]]:
    if value is None:
        return []
    if isinstance(value, str):
        value = _parsed(value, column, place)
    if not isinstance(value, list):
        raise CorpusError(
            f"{place}: column '{column}' holds {kind_of(value)}, not a list of turns.",
            'A turn is an object such as {"role": "user", "content": "..."}.',
        )
    return [_turn(turn, f"{place}, turn {number}") for number, turn in enumerate(value, start=1)]


def _parsed(text: str, column: str, place: str) -> object:
    """A list that is kept as JSON in a column of texts."""
    if not text.strip():
        return []
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorpusError(
            f"{place}: column '{column}' holds a text that is not JSON, not a list of turns.",
            "Use 'column' for running text, or write the turns as JSON.",
        ) from error


def _turn(turn: object, place: str) -> dict[str, object]:
    if not isinstance(turn, dict):
        raise CorpusError(
            f"{place}: {kind_of(turn)}, not a turn.", 'A turn is an object such as {"role": "user", "content": "..."}.'
        )
    spoken = {str(key): value for key, value in turn.items() if value is not None}
    if "role" not in spoken and "from" in spoken:
        spoken["role"] = spoken.pop("from")
    if "content" not in spoken and "value" in spoken:
        spoken["content"] = spoken.pop("value")
    if "role" not in spoken:
        listed = ", ".join(f"'{key}'" for key in list(turn)[:8])
        raise CorpusError(f"{place} has no 'role' (it has {listed or 'nothing'}).", "A turn says who speaks.")
    role = spoken["role"]
    name = role.strip().lower() if isinstance(role, str) else ""
    if name == "function_call":
        spoken |= {"tool_calls": _parsed(_text(spoken.pop("content", ""), "content", place) or "", "content", place)}
        name = "assistant"
    name = _OTHER_NAMES.get(name, name)
    if name not in ROLES:
        found = f"'{role[:40]}'" if isinstance(role, str) else kind_of(role)
        near = nearest(name, [*ROLES, *_OTHER_NAMES], count=1)
        raise CorpusError(f"{place} has the role {found}.", f"{near} Roles are {', '.join(ROLES)}.".strip())
    spoken["role"] = name
    for key in _REASONING:
        if key in spoken:
            reasoning = _text(spoken[key], key, place)
            spoken.setdefault("reasoning_content", reasoning)
            spoken.setdefault("thinking", reasoning)
    if "function_call" in spoken:  # as OpenAI wrote one call before there were several
        spoken.setdefault("tool_calls", spoken.pop("function_call"))
    if "tool_calls" in spoken:
        spoken["tool_calls"] = _calls(spoken["tool_calls"], place)
        if not spoken["tool_calls"]:
            del spoken["tool_calls"]
    if "content" in spoken:
        spoken["content"] = _content(spoken["content"], place)
    elif not spoken.get("tool_calls") and not spoken.get("reasoning_content"):
        raise CorpusError(f"{place} has no 'content'.", "Write an empty text for a turn that says nothing.")
    if isinstance(spoken.get("train"), bool):  # as axolotl writes it
        spoken.setdefault("weight", int(spoken.pop("train")))
    if "weight" in spoken and spoken["weight"] not in (0, 1):
        raise CorpusError(f"{place} has the weight {spoken['weight']!r:.20}.", "A turn counts (1) or not (0).")
    return spoken


def _content(content: object, place: str) -> str:
    """The text of a turn; parts of text are joined as a template writes them, one after another."""
    if isinstance(content, list):
        return "".join(_part(part, place) for part in content)
    text = _text(content, "content", place)
    return text if text is not None else ""


def _part(part: object, place: str) -> str:
    if isinstance(part, str):
        return _text(part, "content", place) or ""
    kind = part.get("type", "text") if isinstance(part, dict) else kind_of(part)
    if not isinstance(part, dict) or kind != "text" or not isinstance(part.get("text"), str):
        raise CorpusError(
            f"{place}: a part of the content is of the type '{str(kind)[:40]}', and only text is read.",
            "Take out conversations with images, sound and files.",
        )
    return _text(part["text"], "content", place) or ""


def _calls(calls: object, place: str) -> list[object]:
    """Calls of tools, their arguments as objects: templates write them as JSON themselves."""
    if isinstance(calls, str):
        calls = _parsed(calls, "tool_calls", place)
    if isinstance(calls, dict):
        calls = [calls]
    if not isinstance(calls, list):
        raise CorpusError(f"{place}: 'tool_calls' holds {kind_of(calls)}, not a list.")
    read: list[object] = []
    for call in calls:
        function = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(call, dict) or not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise CorpusError(
                f"{place}: a call of a tool has no name.",
                'A call is {"type": "function", "function": {"name": "...", "arguments": {...}}}.',
            )
        arguments = function.get("arguments", {})
        if isinstance(arguments, str) and arguments.strip():
            try:
                parsed = json.loads(arguments)
            except (ValueError, RecursionError):
                parsed = None  # not JSON: the template is given the text as it is
            arguments = parsed if isinstance(parsed, dict) else arguments
        named = {**function, "arguments": arguments}
        read.append(
            {"type": "function", **call, "function": named}
            if "function" in call
            else {"type": "function", "function": named}
        )
    return read


def _tools(tools: object, place: str) -> list[object] | None:
    if isinstance(tools, str):
        tools = _parsed(tools, TOOLS, place)
    if tools is None or tools == []:
        return None
    if not isinstance(tools, list):
        raise CorpusError(f"{place}: column '{TOOLS}' holds {kind_of(tools)}, not a list of tools.")
    read: list[object] = []
    for tool in tools:
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise CorpusError(f"{place}: a tool in '{TOOLS}' has no name.", "A tool is a JSON schema with a name.")
        read.append(tool if "function" in tool else {"type": "function", "function": function})
    return read


def _text(value: object, name: str, place: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise CorpusError(f"{place}: '{name}' holds {kind_of(value)}, not text.", "Text is a string.")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise CorpusError(
                f"{place}: '{name}' holds half a surrogate pair at character {error.start:,}.",
                "That is not valid Unicode.",
            ) from error
    return value
