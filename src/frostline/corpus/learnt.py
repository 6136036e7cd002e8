"""Which letters of a conversation does the model learn to write? The answers, as the chat template wrote them.

Where the template marks by `{% generation %}` what the assistant writes, by these marks. Else an answer is what the
whole conversation has after the text that invites to it: the turns before, and the opening of an answer. The whole must
begin with that invitation, letter by letter, and everything that was said must stand in it, in order, once. A template
that writes an answer otherwise once others follow has it read as the last one: a conversation then becomes several, one
for each answer, as the model would meet them. What does not fit even so is an error with the template's own text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jinja2 import TemplateError

from frostline.corpus.special import Markers
from frostline.corpus.templates import ChatTemplate, Turn, Written
from frostline.corpus.turns import Conversation, is_answer, said
from frostline.errors import CorpusError

Learn = Literal["responses", "last_response", "all"]
Span = tuple[int, int]
"""First letter and end of a stretch of text."""
_THOUGHT_MARKS = ("<think>", "</think>")
_PROBE = "frostline probes"
_LONG_ENOUGH_TO_BE_A_COPY = 16
"""Letters from which on a text that stands in the template's own words is no coincidence."""
_OWN_TEMPLATE = "A file of one's own can be named with 'template'"


class MisfitError(CorpusError):
    """The template's text does not hold what was said, or not as it would be said."""


@dataclass(frozen=True)
class Learnt:
    """A conversation as text, and what of it is learnt."""

    text: str
    """As the template wrote it; markers that were said are hidden, see `Markers.hide`."""
    hides: bool
    """Whether there are any."""
    spans: tuple[Span, ...]
    """What is learnt, in order."""
    ends: tuple[int, ...]
    """Where what was said ends in each of `spans`: the template's closing follows."""
    head: int
    """Letters that always come first, whatever turns are left out: the system prompt."""
    cuts: tuple[int, ...]
    """Where a user's later turn begins: the turns between `head` and there can be left out."""
    place: str


def learn_from(template: ChatTemplate, markers: Markers, conversation: Conversation, learn: Learn) -> list[Learnt]:
    """What is learnt from a conversation; several texts if each answer has to be read as the last one.

    Raises `CorpusError` with the row's place, and what the template wrote, if they do not fit together.
    """
    hidden = _hidden(conversation, markers)
    try:
        try:
            return [_read(template, hidden, learn, hides=hidden is not conversation)]
        except MisfitError:
            answers = answers_learnt(hidden, learn)
            if learn == "all" or answers == [len(hidden.turns) - 1]:
                raise
            each = [Conversation(hidden.turns[: number + 1], hidden.tools, hidden.place) for number in answers]
            return [_read(template, one, "last_response", hides=hidden is not conversation) for one in each]
    except TemplateError as error:
        raise CorpusError(
            f"{conversation.place}: the chat template refuses this conversation: {str(error)[:120].rstrip('.')}.",
            f"Change the row; or {_OWN_TEMPLATE[0].lower()}{_OWN_TEMPLATE[1:]}.",
        ) from error
    except MisfitError as error:
        raise CorpusError(markers.shown(error.message), markers.shown(error.hint)) from error


def _hidden(conversation: Conversation, markers: Markers) -> Conversation:
    """The same with its markers hidden from template and tokenizer; the very same if it spells none."""

    def hide(value: object, said_by_assistant: bool) -> object:
        if isinstance(value, str):
            return markers.hide(value, said_by_assistant=said_by_assistant)
        if isinstance(value, list):
            return [hide(inner, said_by_assistant) for inner in value]
        if isinstance(value, dict):
            return {key: hide(inner, said_by_assistant) for key, inner in value.items()}
        return value

    turns = tuple(
        {key: hide(value, turn["role"] == "assistant") if key != "role" else value for key, value in turn.items()}
        for turn in conversation.turns
    )
    tools = [hide(tool, False) for tool in conversation.tools] if conversation.tools is not None else None
    if turns == conversation.turns and tools == conversation.tools:
        return conversation
    return Conversation(turns, tools, conversation.place)


def answers_learnt(conversation: Conversation, learn: Learn) -> list[int]:
    """Numbers of the turns that are learnt: answers that say something, but for those of weight 0."""
    answers = [i for i, turn in enumerate(conversation.turns) if is_answer(turn) and turn.get("weight", 1) != 0]
    return answers[-1:] if learn == "last_response" else answers


def _read(template: ChatTemplate, conversation: Conversation, learn: Learn, *, hides: bool) -> Learnt:
    turns, tools = conversation.turns, conversation.tools
    whole = template.write(turns, tools)
    learning = set(answers_learnt(conversation, learn))
    _require_tools(conversation, whole.text)
    by_invitation = learn != "all" and not template.marks
    position = 0
    stands: list[Span] = []
    spans: list[Span] = []
    cuts: list[int] = []
    for number, turn in enumerate(turns):
        before = position
        invited = None
        if number in learning and by_invitation:
            invited = _invitation(template, conversation, number, whole.text)
        whole_answer = number in learning or learn == "all"
        if turn["role"] in ("system", "developer"):
            # It may stand anywhere: some templates write it with the first question, some with the last.
            _place_of(turn, number, conversation, whole.text, 0, None, whole_answer=True)
            begin = position
        else:
            begin, position = _place_of(
                turn, number, conversation, whole.text, before, invited, whole_answer=whole_answer
            )
        stands.append((begin, position))
        end = _end_of(template, conversation, number, whole.text, position, invited)
        if invited is not None:
            if end is None:
                raise _misfit(
                    conversation.place,
                    f"answer in turn {number + 1} ends otherwise once more turns follow",
                    whole.text,
                    position,
                    "learn: last_response",
                )
            learnt_from = _without_header(template, conversation, number, whole.text, invited, begin)
            spans.append((learnt_from, end))
            _require_thoughts_once(turn, conversation.place, whole.text, before, end)
        if end is not None and number + 1 < len(turns) and turns[number + 1]["role"] == "user":
            cuts.append(end)
    _require_once(conversation, whole.text, stands)
    ends = [stands[number][1] for number in sorted(learning)]
    if learn == "all":
        spans, ends = [(0, len(whole.text))], [ends[-1] if ends else len(whole.text)]
    elif template.marks:
        spans, ends = _marked(conversation, whole, stands, learning)
    head, cuts = _head(template, conversation, whole.text, cuts)
    return Learnt(whole.text, hides, tuple(spans), tuple(ends), head, tuple(cuts), conversation.place)


def _invitation(template: ChatTemplate, conversation: Conversation, number: int, text: str) -> int:
    """Letters of `text` before the answer in turn `number`: the turns before it, and the invitation to answer."""
    invitation = template.write(conversation.turns[:number], conversation.tools, invite=True).text
    if text.startswith(invitation):
        return len(invitation)
    same = next((i for i, (a, b) in enumerate(zip(text, invitation, strict=False)) if a != b), len(text))
    raise MisfitError(
        f"{conversation.place}: the chat template invites to answer turn {number + 1} by {_quoted(invitation, same)}, "
        f"but writes the finished answer as {_quoted(text, same)}.",
        f"{_OWN_TEMPLATE}; or try 'learn: last_response', or remove reasoning.",
    )


def _place_of(
    turn: dict[str, object],
    number: int,
    conversation: Conversation,
    text: str,
    after: int,
    invited: int | None,
    *,
    whole_answer: bool,
) -> Span:
    """Where what was said in `turn` stands in `text`; an answer behind its invitation. Raises `MisfitError`."""
    wanted = said(turn)
    if turn["role"] == "assistant" and not whole_answer:
        # What was thought about earlier answers is left out by the templates of models that reason.
        wanted = [re.split("</think>", wanted[-1])[-1]] if wanted and "content" in turn else []
    start = after if invited is None else max(after, invited)
    found: Span | None = (start, start)
    begin: int | None = None
    position = start
    for text_said in wanted:
        found = _find(text_said, text, position)
        if found is None and begin is None and invited is not None:
            # The invitation may have begun the answer already, such as with '<think>'.
            found = _find(text_said, text, after)
            found = found if found is not None and found[1] > invited else None
        if found is None:
            raise _dropped(turn, number, conversation, text, position, text_said)
        begin = found[0] if begin is None and text_said.strip() else begin
        position = max(position, found[1])
    for call in _calls(turn):
        for name in call:
            found = _find(name, text, start)
            if found is None:
                raise _dropped(turn, number, conversation, text, position, name)
            begin = found[0] if begin is None else begin
            position = max(position, found[1])
    return (start if begin is None else begin), position


def _find(wanted: str, text: str, start: int) -> Span | None:
    """Where `wanted` stands in `text` from `start` on, blanks aside, or as a JSON string; None where it does not."""
    wanted = wanted.strip()
    if not wanted:
        return start, start
    for written in (wanted, *_as_json(wanted)):
        at = text.find(written, start)
        if at >= 0:
            return at, at + len(written)
    bare, letters = "".join(wanted.split()), [i for i in range(start, len(text)) if not text[i].isspace()]
    at = "".join(text[start:].split()).find(bare)
    return None if at < 0 else (letters[at], letters[at + len(bare) - 1] + 1)


def _as_json(text: str) -> list[str]:
    return [json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (False, True)]


def _calls(turn: dict[str, object]) -> list[list[str]]:
    """The name of each call in `turn` and the texts among its arguments."""
    calls = turn.get("tool_calls")
    found = []
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function", call)
        found.append([str(function["name"]), *_texts_in(function.get("arguments"))])
    return found


def _texts_in(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in _texts_in(one)]


def _end_of(
    template: ChatTemplate, conversation: Conversation, number: int, text: str, position: int, invited: int | None
) -> int | None:
    """Where an assistant's turn ends in `text`, the template's closing of it included; None where it is not known."""
    turns = conversation.turns
    if number + 1 == len(turns):
        return len(text)
    if turns[number]["role"] != "assistant":
        return None
    closed = template.write(turns[: number + 1], conversation.tools).text
    if text.startswith(closed):
        return len(closed)
    if invited is None or not closed.startswith(text[:invited]):
        return None
    # It is written otherwise as the last one; if it closes in the same way, that is where it ends.
    last = invited
    for wanted in said(turns[number]):
        found = _find(wanted, closed, last)
        if found is None:
            return None
        last = found[1]
    closing = closed[last:]
    return position + len(closing) if closing and text.startswith(closing, position) else None


def _without_header(
    template: ChatTemplate, conversation: Conversation, number: int, text: str, invited: int, begin: int
) -> int:
    """Where learning begins: at the invitation's end, or behind the role's header where none is written there."""
    if "add_generation_prompt" in template.source or not text[invited:begin].strip():
        return invited
    probe: list[Turn] = [*conversation.turns[:number], {"role": "assistant", "content": _PROBE}]
    written = template.write(probe, conversation.tools).text
    at = written.find(_PROBE, invited)
    return at if at >= 0 and text.startswith(written[:at]) else begin


def _marked(
    conversation: Conversation, whole: Written, stands: Sequence[Span], learning: set[int]
) -> tuple[list[Span], list[int]]:
    """The template's own marks of the turns that learn, and where what was said ends in each."""
    spans: list[Span] = []
    ends: list[int] = []
    mark, position = 0, 0
    for number, turn in enumerate(conversation.turns):
        if not is_answer(turn):
            position = max(position, stands[number][1])
            continue
        own: list[Span] = []
        end = 0
        texts = [text for text in said(turn) if text.strip()] or [text for call in _calls(turn) for text in call]
        for text in texts:
            found = None
            for place in range(max(mark, 1) - 1, len(whole.generated)):
                first, last = whole.generated[place]
                found = _find(text, whole.text[:last], first)
                if found is not None:
                    own += [span for span in whole.generated[mark : place + 1] if span not in own]
                    mark, end = max(mark, place + 1), found[1]
                    break
            if found is None and number in learning:
                raise _misfit(
                    conversation.place,
                    f"{{% generation %}} marks leave out the answer in turn {number + 1}",
                    whole.text,
                    stands[number][0],
                    "",
                )
        if number in learning:
            spans += [span for span in own if span[1] > span[0]]
            ends += [min(max(end, first), last) for first, last in own if last > first]
    return spans, ends


def _head(template: ChatTemplate, conversation: Conversation, text: str, cuts: list[int]) -> tuple[int, list[int]]:
    """Letters that stay when turns are left out, and the cuts, if the template writes what follows in the same way."""
    if not cuts:
        return 0, []
    turns = conversation.turns
    system = [turn for turn in turns[:1] if turn["role"] in ("system", "developer")]
    users = [i for i, turn in enumerate(turns) if i and turn["role"] == "user" and turns[i - 1]["role"] == "assistant"]
    for number in users[-len(cuts) :][:1]:
        try:
            shorter = template.write([*system, *turns[number:]], conversation.tools).text
        except TemplateError:
            return 0, []
        rest = text[cuts[0] :]
        head = len(shorter) - len(rest)
        if shorter.endswith(rest) and text.startswith(shorter[:head]):
            return head, cuts
    return 0, []


def _require_tools(conversation: Conversation, text: str) -> None:
    for tool in conversation.tools or ():
        function = tool.get("function", tool) if isinstance(tool, dict) else {}
        if _find(str(function.get("name", "")), text, 0) is None:
            raise MisfitError(
                f"{conversation.place}: the chat template does not write the tool '{str(function['name'])[:40]}'.",
                "Remove 'tools'; or name a template that takes them with 'template'.",
            )


def _require_once(conversation: Conversation, text: str, stands: Sequence[Span]) -> None:
    """Raise `MisfitError` if a text stands once more between its place and the next one's."""
    nexts = [begin for begin, _ in stands[1:]] + [len(text)]
    everything = [words for turn in conversation.turns for words in said(turn)]
    for number, ((_, end), until) in enumerate(zip(stands, nexts, strict=True)):
        if conversation.turns[number]["role"] in ("system", "developer"):
            continue
        for wanted in map(str.strip, said(conversation.turns[number])):
            if len(wanted) < _LONG_ENOUGH_TO_BE_A_COPY or wanted not in text[end:until]:
                continue
            # Another turn may say it again, and stand where this one was found.
            if text.count(wanted) > sum(words.count(wanted) for words in everything):
                raise _misfit(conversation.place, f"text of turn {number + 1} stands twice", text, end, "")


def _require_thoughts_once(turn: dict[str, object], place: str, text: str, begin: int, end: int) -> None:
    for mark in _THOUGHT_MARKS:
        if text.count(mark, begin, end) > max(1, sum(words.count(mark) for words in said(turn))):
            raise _misfit(place, f"mark {mark} stands twice", text, text.rfind(mark, begin, end) - 20, "")


def _dropped(
    turn: dict[str, object], number: int, conversation: Conversation, text: str, position: int, wanted: str
) -> MisfitError:
    reasons = "</think>" in wanted or wanted == turn.get("reasoning_content")
    if turn["role"] in ("system", "developer"):
        hint = "Put it into the first user's turn"
    elif reasons:
        hint = "Remove the reasoning"
    else:
        hint = "Change the row"
    what = "reasoning" if reasons else "system prompt" if turn["role"] == "system" else "text"
    return MisfitError(
        f"{conversation.place}: the {what} of turn {number + 1} ({turn['role']}) does not stand in what the chat "
        f"template writes, which has {_quoted(text, position)} there.",
        f"{hint}; or name a template of one's own with 'template'.",
    )


def _misfit(place: str, what: str, text: str, at: int, works: str) -> MisfitError:
    also = f"; or try '{works}'" if works else ""
    return MisfitError(f"{place}: the chat template's {what}: {_quoted(text, at)}.", f"{_OWN_TEMPLATE}{also}.")


def _quoted(text: str, at: int) -> str:
    """The text around a place, in quotes."""
    return json.dumps(text[max(at - 20, 0) : max(at, 0) + 30], ensure_ascii=False)
