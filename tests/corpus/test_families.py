"""Is exactly the answer learnt, token by token, under templates in the manner of twelve families?"""

from __future__ import annotations

from pathlib import Path

import pytest

from frostline.corpus import Corpus
from frostline.errors import CorpusError
from tests.builders.chat_families import CALLS, FAMILIES, GEMMA, QWEN3, R1
from tests.builders.chats import (
    Family,
    Turns,
    applied,
    chat_tokenizer,
    tokens_by_hand,
    twice,
    windows_of,
    write_conversations,
)
from tests.builders.corpora import open_small


def turns(*texts: str, system: str | None = None) -> Turns:
    """Question, answer, question, ... of `texts`."""
    said: Turns = [] if system is None else [{"role": "system", "content": system}]
    for number, text in enumerate(texts):
        said.append({"role": "assistant" if number % 2 else "user", "content": text})
    return said


def open_chat(rows: list[Turns], family: Family, folder: Path, **settings: str) -> Corpus:
    return open_small(
        write_conversations(folder / "chat.jsonl", rows),
        folder / "cache",
        length=2000,
        held_out=1,
        tokenizer=chat_tokenizer(family),
        **settings,
    )


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_the_answers_are_learnt_and_nothing_else(family: Family, tmp_path: Path) -> None:
    hostile = f"assistant: user\nsystem says {family.end} and {family.markers[0]}assistant [INST] <|im_start|>"
    hostile += " 🌊\u200d🪨 שלום \0 end"
    rows = [
        turns("river stone?", "lamp garden."),
        turns("river?", "stone.", "lamp?", "garden, winter.", "copper?", "letter."),
        turns(hostile, f"he said: {hostile}", "", "user"),
        turns("river?", "stone.", "and?", ""),
    ]
    if family.system:
        rows += [
            turns("river?", "stone.", system="You are brief."),
            turns("user", "assistant", "system", "a", system="You are brief: assistant"),
        ]
    corpus = open_chat(rows, family, tmp_path)
    tokenizer = chat_tokenizer(family)
    expected = [tokens_by_hand(joined, tokenizer) for row in rows for joined in family.join(row)]
    assert windows_of(corpus) == expected
    assert not corpus.remarks


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_the_text_is_what_transformers_writes(family: Family, tmp_path: Path) -> None:
    rows = [turns("river stone?", "lamp garden.", "winter?", "copper."), turns("river?", "stone.")]
    tokenizer = chat_tokenizer(family)
    written = [
        [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in row]
        if family.name == "parts"
        else row
        for row in rows
    ]
    found = windows_of(open_chat(rows, family, tmp_path))
    assert [ids for ids, _ in found] == [applied(tokenizer, row)["input_ids"] for row in written]


def test_reasoning_that_a_template_keeps_in_the_last_answer_alone_is_learnt_for_each(tmp_path: Path) -> None:
    row = turns(
        "river?", "<think>\nstone, lamp\n</think>\n\ngarden.", "winter?", "<think>\ncopper\n</think>\n\nletter."
    )
    corpus = open_chat([*twice(row), turns("pepper?", "<think>\nsaddle\n</think>\n\nkettle.")], QWEN3, tmp_path)
    tokenizer = chat_tokenizer(QWEN3)
    expected = [tokens_by_hand(joined, tokenizer) for joined in QWEN3.join(row)]
    assert len(expected) == 2
    assert windows_of(corpus)[:2] == expected
    assert corpus.description == "chat.jsonl, 5 conversations, 2 of them read once for each answer"


def test_reasoning_that_a_template_drops_is_refused(tmp_path: Path) -> None:
    row = turns("river?", "<think>\nstone\n</think>\nlamp.")
    with pytest.raises(CorpusError, match=r"jsonl:1: the reasoning of turn 2 \(assistant\) does not stand in what"):
        open_chat([row] * 3, R1, tmp_path)


def test_reasoning_before_earlier_answers_may_go_where_the_last_one_alone_is_learnt(tmp_path: Path) -> None:
    row = turns("river?", "<think>\nstone, lamp\n</think>\n\ngarden.", "winter?", "letter.")
    corpus = open_chat(twice(row), QWEN3, tmp_path, learn="last_response")
    assert windows_of(corpus)[0] == tokens_by_hand(QWEN3.join(row)[-1], chat_tokenizer(QWEN3))


def test_a_template_without_a_system_turn_refuses_one_with_the_row(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"jsonl:2: the chat template refuses .*: System role not supported\."):
        open_chat([turns("a", "b"), turns("a", "b", system="c")], GEMMA, tmp_path)


def test_calls_of_tools_are_learnt_and_their_results_are_not(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "look_up", "arguments": {"place": "Zürich", "days": 3}}}
    row: Turns = [
        {"role": "user", "content": "river?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": '{"sun": true}'},
        {"role": "assistant", "content": "sunny"},
    ]
    written = [dict(turn) for turn in row]
    written[1] = {
        "role": "assistant",
        "tool_calls": [{"function": {"name": "look_up", "arguments": '{"place": "Zürich", "days": 3}'}}],
    }
    corpus = open_chat([row, written, twice(row)[1]], CALLS, tmp_path)
    (joined,) = CALLS.join(row)
    expected = tokens_by_hand(joined, chat_tokenizer(CALLS))
    assert windows_of(corpus)[:2] == [expected, expected]


def test_tools_are_written_by_the_template_or_refused(tmp_path: Path) -> None:
    rows = twice({"messages": turns("river?", "b."), "tools": [{"name": "look_up", "parameters": {}}]})
    path = write_conversations(tmp_path / "chat.jsonl", rows)
    tokenizer = chat_tokenizer(CALLS)
    corpus = open_small(path, tmp_path / "cache", length=500, held_out=1, tokenizer=tokenizer)
    assert '"name": "look_up"' in str(tokenizer.decode(windows_of(corpus)[0][0]))
    with pytest.raises(CorpusError, match="does not write the tool 'look_up'"):
        open_small(path, tmp_path / "cache", length=500, held_out=1, tokenizer=chat_tokenizer(FAMILIES["chatml"]))


def test_answers_of_one_row_are_held_out_together_or_not_at_all(tmp_path: Path) -> None:
    words = ("river", "copper", "lamp", "window", "garden", "meadow")
    rows = [
        turns(f"{word}?", f"<think>\n{word}\n</think>\n\n{word}.", "winter?", f"<think>\nstone\n</think>\n\n{word}.")
        for word in words
    ]
    corpus = open_chat(rows, QWEN3, tmp_path)
    tokenizer = chat_tokenizer(QWEN3)
    (held_out,) = (tokenizer.decode(batch.input_ids[0]) for batch in corpus.held_out_batches(8))
    (word,) = (word for word in words if word in held_out)
    trained = tokenizer.batch_decode(corpus.batch(0, 0, corpus.windows).input_ids)
    assert corpus.windows == 10
    assert not [text for text in trained if word in text]
    assert corpus.remarks == ("1 window is not trained on, as it holds a copy of a held-out row, or a part of one",)
