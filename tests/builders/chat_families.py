"""Which chat templates are there? Twelve in the manner of well-known families, and each joined by hand beside it."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.builders.chats import Family, Joined, Piece, Turns, given, learnt, marker, stop


def _content(turn: dict[str, object]) -> str:
    return str(turn.get("content", ""))


def _says_nothing(turn: dict[str, object]) -> bool:
    return not _content(turn).strip()


def _turnwise(
    opening: Joined,
    header: Callable[[str], Joined],
    closing: Callable[[str], Joined],
) -> Callable[[Turns], list[Joined]]:
    """Families that write one turn after another: header, content, closing."""

    def join(turns: Turns) -> list[Joined]:
        joined = list(opening)
        for turn in turns:
            role = str(turn["role"])
            ends = closing(role)
            if role == "assistant" and not _says_nothing(turn):
                ends = [Piece(piece.text, True, piece.marker) for piece in ends]
                joined += [*header(role), learnt(_content(turn)), *ends]
            else:
                joined += [*header(role), given(_content(turn)), *ends]
        return [joined]

    return join


def _im(role: str) -> Joined:
    return [marker("<|im_start|>"), given(f"{role}\n")]


def _im_end(_role: str) -> Joined:
    return [marker("<|im_end|>"), given("\n")]


CHATML = Family(
    "chatml",
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ("<|im_start|>", "<|im_end|>"),
    "<|im_end|>",
    _turnwise([], _im, _im_end),
)


def _join_llama2(turns: Turns) -> list[Joined]:
    joined: Joined = []
    system = ""
    for turn in turns:
        if turn["role"] == "system":
            system = f"<<SYS>>\n{_content(turn)}\n<</SYS>>\n\n"
        elif turn["role"] == "user":
            joined += [marker("<s>"), given(f"[INST] {system}{_content(turn)} [/INST]")]
            system = ""
        elif _says_nothing(turn):
            joined += [given(f" {_content(turn)} "), marker("</s>")]
        else:
            joined += [learnt(f" {_content(turn)} "), stop("</s>")]
    return [joined]


LLAMA2 = Family(
    "llama2",
    "{% if messages[0]['role'] == 'system' %}{% set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + (system if loop.first else '') }}"
    "{{ m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}",
    ("<s>", "</s>"),
    "</s>",
    _join_llama2,
)


LLAMA3 = Family(
    "llama3",
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}"
    "<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    ("<bos>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "<|eot_id|>",
    _turnwise(
        [marker("<bos>")],
        lambda role: [marker("<|start_header_id|>"), given(role), marker("<|end_header_id|>"), given("\n\n")],
        lambda _: [marker("<|eot_id|>")],
    ),
)


def _join_mistral(turns: Turns) -> list[Joined]:
    """The system prompt goes with the last question, so that each answer is read as the last one."""
    system = _content(turns[0]) + "\n\n" if turns[0]["role"] == "system" else ""
    rest = turns[1:] if system else turns

    def one(rest: Turns, *, all_learnt: bool) -> Joined:
        joined: Joined = [marker("<s>")]
        last = max(number for number, turn in enumerate(rest) if turn["role"] == "user")
        for number, turn in enumerate(rest):
            if turn["role"] == "user":
                joined += [
                    marker("[INST]"),
                    given(" " + (system if number == last else "") + _content(turn)),
                    marker("[/INST]"),
                ]
            elif (number == len(rest) - 1 or all_learnt) and not _says_nothing(turn):
                joined += [learnt(" " + _content(turn)), stop("</s>")]
            else:
                joined += [given(" " + _content(turn)), marker("</s>")]
        return joined

    answers = [n for n, turn in enumerate(rest) if turn["role"] == "assistant" and not _says_nothing(turn)]
    if not system or (len(answers) == 1 and answers[0] == len(rest) - 1 and len(rest) == 2):
        return [one(rest, all_learnt=True)]
    return [one(rest[: number + 1], all_learnt=False) for number in answers]


MISTRAL = Family(
    "mistral",
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}"
    "{% set last = namespace(at=0) %}{% for m in rest %}{% if m.role == 'user' %}"
    "{% set last.at = loop.index0 %}{% endif %}{% endfor %}{{ bos_token }}"
    "{% for m in rest %}{% if m.role == 'user' %}[INST] "
    "{% if system and loop.index0 == last.at %}{{ system + '\n\n' }}{% endif %}{{ m.content }}[/INST]"
    "{% else %} {{ m.content }}</s>{% endif %}{% endfor %}",
    ("<s>", "</s>", "[INST]", "[/INST]"),
    "</s>",
    _join_mistral,
)

GEMMA = Family(
    "gemma",
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{% set role = 'model' if m.role == 'assistant' else m.role %}"
    "<start_of_turn>{{ role }}\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    ("<bos>", "<start_of_turn>", "<end_of_turn>"),
    "<end_of_turn>",
    _turnwise(
        [marker("<bos>")],
        lambda role: [marker("<start_of_turn>"), given(("model" if role == "assistant" else role) + "\n")],
        lambda _: [marker("<end_of_turn>"), given("\n")],
    ),
    system=False,
)

PHI = Family(
    "phi",
    "{% for m in messages %}{{ '<|' + m.role + '|>' + '\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    "<|end|>",
    _turnwise([], lambda role: [marker(f"<|{role}|>"), given("\n")], lambda _: [marker("<|end|>"), given("\n")]),
)


def _join_r1(turns: Turns) -> list[Joined]:
    joined: Joined = [marker("<s>")]
    if turns[0]["role"] == "system":
        joined.append(given(_content(turns[0])))
    for turn in turns:
        if turn["role"] == "user":
            joined += [marker("<U>"), given(_content(turn))]
        elif turn["role"] == "assistant" and not _says_nothing(turn):
            joined += [marker("<A>"), learnt(_content(turn)), stop("</s>")]
        elif turn["role"] == "assistant":
            joined += [marker("<A>"), marker("</s>")]
    return [joined]


R1 = Family(
    "r1",
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}{% for m in messages %}"
    "{% if m.role == 'user' %}<U>{{ m.content }}{% elif m.role == 'assistant' %}{% set c = m.content %}"
    "{% if '</think>' in c %}{% set c = c.split('</think>')[-1] %}{% endif %}<A>{{ c }}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<A>{% endif %}",
    ("<s>", "</s>", "<U>", "<A>"),
    "</s>",
    _join_r1,
)


def _join_qwen3(turns: Turns) -> list[Joined]:
    """Only the last answer keeps its reasoning; here every last answer has some, or an empty one is written."""
    joined: Joined = []
    thought = False
    for number, turn in enumerate(turns):
        role, content = str(turn["role"]), _content(turn)
        if role != "assistant":
            joined += [*_im(role), given(content), *_im_end(role)]
            continue
        last = number == len(turns) - 1
        reasoning, _, answer = content.partition("</think>") if "</think>" in content else ("", "", content)
        reasoning, answer = reasoning.removeprefix("<think>").strip("\n"), answer.lstrip("\n")
        thought = thought or (bool(reasoning) and not last)
        shown = f"<think>\n{reasoning}\n</think>\n\n{answer}" if last else answer
        if content.strip():
            joined += [*_im(role), learnt(shown), stop("<|im_end|>"), learnt("\n")]
        else:
            joined += [*_im(role), given(shown), *_im_end(role)]
    if not thought:
        return [joined]
    answers = [n for n, turn in enumerate(turns) if turn["role"] == "assistant" and not _says_nothing(turn)]
    windows = []
    for answer_at in answers:
        (one,) = _join_qwen3([dict(turn, content=_unthought(turn)) for turn in turns[:answer_at]] + [turns[answer_at]])
        # Only the last answer is learnt.
        begin = max(place for place, piece in enumerate(one) if piece.text == "assistant\n")
        windows.append([Piece(p.text, p.learnt and place > begin, p.marker) for place, p in enumerate(one)])
    return windows


def _unthought(turn: dict[str, object]) -> str:
    content = _content(turn)
    return content.split("</think>")[-1].lstrip("\n") if turn["role"] == "assistant" else content


QWEN3 = Family(
    "qwen3",
    "{% for m in messages %}{% if m.role != 'assistant' %}<|im_start|>{{ m.role }}\n"
    "{{ m.content }}<|im_end|>\n{% else %}{% set c = m.content %}{% set r = '' %}{% if '</think>' in c %}"
    "{% set r = c.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}"
    "{% set c = c.split('</think>')[-1].lstrip('\n') %}{% endif %}<|im_start|>assistant\n"
    "{% if loop.last %}<think>\n{{ r.strip('\n') }}\n</think>\n\n{% endif %}{{ c }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ("<|im_start|>", "<|im_end|>"),
    "<|im_end|>",
    _join_qwen3,
)

ZEPHYR = Family(
    "zephyr",
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|user|>\n' + m['content'] + eos_token }}\n"
    "{% elif m['role'] == 'system' %}{{ '<|system|>\n' + m['content'] + eos_token }}\n"
    "{% elif m['role'] == 'assistant' %}{{ '<|assistant|>\n'  + m['content'] + eos_token }}\n{% endif %}"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}{% endif %}{% endfor %}",
    ("<s>", "</s>"),
    "</s>",
    lambda turns: [_join_zephyr(turns)],
)


def _join_zephyr(turns: Turns) -> Joined:
    """The roles are text; the invitation ends before the line end that every answer begins with."""
    joined: Joined = []
    for turn in turns:
        role = str(turn["role"])
        if role == "assistant" and not _says_nothing(turn):
            joined += [given("<|assistant|>"), learnt("\n" + _content(turn)), stop("</s>"), learnt("\n")]
        else:
            joined += [given(f"<|{role}|>\n{_content(turn)}"), marker("</s>"), given("\n")]
    return joined


COMMAND = Family(
    "command",
    "{{ bos_token }}{% for m in messages %}<|START_OF_TURN_TOKEN|>{% if m.role == 'user' %}<|USER_TOKEN|>"
    "{% elif m.role == 'system' %}<|SYSTEM_TOKEN|>{% else %}<|CHATBOT_TOKEN|>{% endif %}{{ m.content.strip() }}"
    "<|END_OF_TURN_TOKEN|>{% endfor %}"
    "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}",
    (
        "<BOS_TOKEN>",
        "<|START_OF_TURN_TOKEN|>",
        "<|END_OF_TURN_TOKEN|>",
        "<|USER_TOKEN|>",
        "<|SYSTEM_TOKEN|>",
        "<|CHATBOT_TOKEN|>",
    ),
    "<|END_OF_TURN_TOKEN|>",
    _turnwise(
        [marker("<BOS_TOKEN>")],
        lambda role: [
            marker("<|START_OF_TURN_TOKEN|>"),
            marker({"user": "<|USER_TOKEN|>", "system": "<|SYSTEM_TOKEN|>"}.get(role, "<|CHATBOT_TOKEN|>")),
        ],
        lambda _: [marker("<|END_OF_TURN_TOKEN|>")],
    ),
)


def _join_parts(turns: Turns) -> list[Joined]:
    joined: Joined = [marker("<|im_start|>")]
    for turn in turns:
        role = str(turn["role"])
        if role == "assistant" and not _says_nothing(turn):
            joined += [given("Assistant:"), learnt(" " + _content(turn)), stop("<end_of_utterance>"), learnt("\n")]
        else:
            joined += [given(f"{role.capitalize()}: {_content(turn)}"), marker("<end_of_utterance>"), given("\n")]
    return [joined]


PARTS = Family(
    "parts",
    "<|im_start|>{% for m in messages %}{{ m['role'] | capitalize }}"
    "{% if m['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for part in m['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% elif part['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}",
    ("<|im_start|>", "<end_of_utterance>"),
    "<end_of_utterance>",
    _join_parts,
)


def _join_calls(turns: Turns) -> list[Joined]:
    joined: Joined = []
    for turn in turns:
        role, text = str(turn["role"]), _content(turn)
        calls = turn.get("tool_calls")
        for call in calls if isinstance(calls, list) else []:
            text += f'\n<tool_call>\n{{"name": "{call["function"]["name"]}", "arguments": '
            text += json.dumps(call["function"]["arguments"], ensure_ascii=False) + "}\n</tool_call>"
        if role == "assistant" and text.strip():
            joined += [*_im(role), learnt(text), stop("<|im_end|>"), learnt("\n")]
        elif role == "tool":
            joined += [*_im("user"), given(f"<tool_response>\n{text}\n</tool_response>"), *_im_end(role)]
        else:
            joined += [*_im(role), given(text), *_im_end(role)]
    return [joined]


CALLS = Family(
    "calls",
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}{% if m.role == 'tool' %}<|im_start|>user\n<tool_response>\n{{ m.content }}"
    "\n</tool_response><|im_end|>\n{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for call in m.tool_calls or [] %}"
    '{{ "\n<tool_call>\n" }}{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n'
    "</tool_call>{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ("<|im_start|>", "<|im_end|>"),
    "<|im_end|>",
    _join_calls,
)

FAMILIES = {
    family.name: family
    for family in (
        CHATML, LLAMA2, LLAMA3, MISTRAL, GEMMA, PHI, R1, QWEN3, ZEPHYR, COMMAND, PARTS, CALLS,
    )
}  # fmt: skip
