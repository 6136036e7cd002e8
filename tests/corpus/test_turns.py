"""Are conversations read in every manner in which people write them, and bad turns told with their place?"""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from frostline.corpus import Corpus
from frostline.corpus.rows import Row
from frostline.corpus.turns import ChatColumns, Conversation, conversation_of
from frostline.errors import CorpusError
from tests.builders.chat_families import CHATML
from tests.builders.chats import chat_tokenizer, twice, windows_of, write_conversations
from tests.builders.corpora import open_small

TURNS = [
    {"role": "system", "content": "brief"},
    {"role": "user", "content": "river?"},
    {"role": "assistant", "content": "stone"},
]


def open_chat(path: Path, **settings: str) -> Corpus:
    return open_small(path, path.parent / "cache", length=300, held_out=1, tokenizer=chat_tokenizer(CHATML), **settings)


def texts_of(corpus: Corpus) -> list[str]:
    tokenizer = chat_tokenizer(CHATML)
    return [str(tokenizer.decode(ids)) for ids, _ in windows_of(corpus)]


def written(*turns: tuple[str, str]) -> str:
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)


WHOLE = written(("system", "brief"), ("user", "river?"), ("assistant", "stone"))
ASKED = written(("user", "river?"), ("assistant", "stone"))


@pytest.mark.parametrize(
    ("row", "settings", "expected"),
    [
        ({"messages": TURNS}, {}, WHOLE),
        ({"conversations": TURNS, "id": 3}, {}, WHOLE),
        ({"dialogue": TURNS}, {"messages": "dialogue"}, WHOLE),
        ({"messages": json.dumps(TURNS)}, {}, WHOLE),
        (
            {
                "conversations": [{"from": "human", "value": "river?"}, {"from": "gpt", "value": "stone"}],
                "system": "brief",
            },
            {},
            WHOLE,
        ),
        ({"messages": [TURNS[1], {"role": "Assistant ", "content": [{"type": "text", "text": "stone"}]}]}, {}, ASKED),
        (
            {"instruction": "Name it.", "input": "river?", "output": "stone"},
            {"format": "chat"},
            written(("user", "Name it.\n\nriver?"), ("assistant", "stone")),
        ),
        ({"instruction": "river?", "input": "", "output": "stone"}, {"format": "chat"}, ASKED),
        ({"prompt": "river?", "completion": "stone"}, {"format": "chat"}, ASKED),
        ({"prompt": TURNS[:2], "completion": TURNS[2:]}, {"format": "chat"}, WHOLE),
        ({"q": TURNS[:2], "a": "stone"}, {"prompt": "q", "response": "a"}, WHOLE),
    ],
)
def test_rows_of_many_habits_are_conversations(
    row: dict[str, object], settings: dict[str, str], expected: str, tmp_path: Path
) -> None:
    corpus = open_chat(write_conversations(tmp_path / "rows.jsonl", twice(row)), **settings)
    assert texts_of(corpus) == [expected, expected.replace("river", "candle")]
    assert corpus.rows == 2


def test_parquet_and_csv_hold_conversations_too(tmp_path: Path) -> None:
    pl.DataFrame({"messages": twice(TURNS)}).write_parquet(tmp_path / "rows.parquet")
    pl.DataFrame({"messages": list(map(json.dumps, twice(TURNS)))}).write_csv(tmp_path / "rows.csv")
    assert (
        texts_of(open_chat(tmp_path / "rows.parquet"))
        == texts_of(open_chat(tmp_path / "rows.csv"))
        == [WHOLE, WHOLE.replace("river", "candle")]
    )


def test_a_folder_of_files_is_read_as_conversations_on_request(tmp_path: Path) -> None:
    for name, turns in zip(("a", "b"), twice(TURNS), strict=True):
        write_conversations(tmp_path / f"{name}.jsonl", [turns])
    assert texts_of(open_chat(tmp_path, format="chat")) == [WHOLE, WHOLE.replace("river", "candle")]


def test_text_and_conversations_in_one_table_have_to_be_told_apart(tmp_path: Path) -> None:
    path = write_conversations(tmp_path / "rows.jsonl", twice({"text": "river " * 400, "messages": TURNS}))
    with pytest.raises(CorpusError, match="has a column 'text' and a column 'messages'"):
        open_chat(path)
    assert texts_of(open_chat(path, format="chat")) == [WHOLE, WHOLE.replace("river", "candle")]
    assert "river river" in texts_of(open_chat(path, column="text"))[0]


def test_empty_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    empty: list[object] = [[], TURNS[:2], [TURNS[1], {"role": "assistant", "content": " "}], None]
    path = write_conversations(tmp_path / "rows.jsonl", [{"messages": row} for row in [TURNS, *empty, twice(TURNS)[1]]])
    corpus = open_chat(path)
    assert texts_of(corpus) == [WHOLE, WHOLE.replace("river", "candle")]
    assert (corpus.rows, corpus.left_out) == (6, {"without turns": 2, "without an answer": 2})


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([TURNS[1], {"role": "robot", "content": "a"}], r"jsonl:2, turn 2 has the role 'robot'\. Did you mean"),
        ([TURNS[1], {"role": 3, "content": "a"}], "turn 2 has the role a number"),
        ([TURNS[1], {"content": "a"}], r"turn 2 has no 'role' \(it has 'content'\)"),
        ([TURNS[1], {"role": "assistant"}], "turn 2 has no 'content'"),
        ([TURNS[1], {"role": "assistant", "content": 3}], "turn 2: 'content' holds a number, not text"),
        ([{"role": "user", "content": [{"type": "image"}]}, TURNS[2]], "turn 1: a part of the content is of the type"),
        ([TURNS[2], TURNS[1], TURNS[2]], "jsonl:2: the conversation begins with an answer"),
        (["river?", "stone"], "turn 1: a string, not a turn"),
        ("river?", "holds a text that is not JSON, not a list of turns"),
        ({"role": "user"}, "holds an object, not a list of turns"),
        ([TURNS[1], {"role": "assistant", "content": "\ud800"}], "half a surrogate pair"),
        ([TURNS[1], {**TURNS[2], "tool_calls": [{"id": 3}]}], "turn 2: a call of a tool has no name"),
        ([TURNS[1], {**TURNS[2], "weight": 0.5}], r"turn 2 has the weight 0\.5"),
    ],
)
def test_bad_turns_are_told_with_their_place(turns: object, message: str, tmp_path: Path) -> None:
    path = write_conversations(tmp_path / "rows.jsonl", [{"messages": TURNS}, {"messages": turns}, {"messages": TURNS}])
    with pytest.raises(CorpusError, match=message) as caught:
        open_chat(path)
    assert len(caught.value.message + caught.value.hint) < 300 + len(str(tmp_path))
    assert not list((tmp_path / "cache" / "corpora").glob("*"))


def test_a_table_without_conversations_says_what_is_looked_for(tmp_path: Path) -> None:
    path = write_conversations(tmp_path / "rows.jsonl", [{"question": "a", "answer": "b"}] * 3)
    with pytest.raises(CorpusError, match=r"no column holds conversations.*there are 'question', 'answer'"):
        open_chat(path, format="chat")


@pytest.mark.parametrize("mark", [{"weight": 0}, {"train": False}])
def test_answers_that_are_marked_so_are_not_learnt(mark: dict[str, object], tmp_path: Path) -> None:
    row = [TURNS[1], {**TURNS[2], **mark}, TURNS[1], {"role": "assistant", "content": "lamp", "weight": 1}]
    corpus = open_chat(write_conversations(tmp_path / "rows.jsonl", twice(row)))
    learnt = [token for token in windows_of(corpus)[0][1] if token >= 0]
    assert chat_tokenizer(CHATML).decode(learnt) == "lamp<|im_end|>\n"


@pytest.mark.parametrize(
    ("learn", "expected"),
    [
        ("responses", "stone<|im_end|>\nlamp<|im_end|>\n"),
        ("last_response", "lamp<|im_end|>\n"),
        ("all", written(("user", "river?"), ("assistant", "stone"), ("user", "and?"), ("assistant", "lamp"))),
    ],
)
def test_the_recipe_says_what_is_learnt(learn: str, expected: str, tmp_path: Path) -> None:
    row = [TURNS[1], TURNS[2], {"role": "user", "content": "and?"}, {"role": "assistant", "content": "lamp"}]
    corpus = open_chat(write_conversations(tmp_path / "rows.jsonl", twice(row)), learn=learn)
    learnt = [token for token in windows_of(corpus)[0][1] if token >= 0]
    assert chat_tokenizer(CHATML).decode(learnt) == expected


def test_a_conversation_with_only_answers_of_weight_0_is_left_out_and_counted(tmp_path: Path) -> None:
    unlearnt = [TURNS[1], {**TURNS[2], "weight": 0}]
    corpus = open_chat(write_conversations(tmp_path / "a.jsonl", [unlearnt, *twice(TURNS[1:])]))
    assert corpus.left_out == {"with only answers of weight 0": 1}
    assert corpus.tally.first == {"with only answers of weight 0": "a.jsonl:1"}


def test_earlier_questions_and_answers_come_before_the_instruction(tmp_path: Path) -> None:
    row = {"instruction": "river?", "input": "", "output": "stone", "history": [["lamp?", "garden"]]}
    corpus = open_chat(write_conversations(tmp_path / "a.jsonl", twice(row)), format="chat")
    assert texts_of(corpus)[0] == written(("user", "lamp?"), ("assistant", "garden")) + ASKED
    with pytest.raises(CorpusError, match=r"b\.jsonl:1: column 'history' holds something else"):
        open_chat(write_conversations(tmp_path / "b.jsonl", [{**row, "history": ["lamp?"]}]), format="chat")


def test_a_table_of_preferences_says_which_answer_to_name(tmp_path: Path) -> None:
    row = {"prompt": "river?", "chosen": "stone", "rejected": "lamp"}
    with pytest.raises(CorpusError, match="response: chosen"):
        open_chat(write_conversations(tmp_path / "a.jsonl", [row]), format="chat")


def test_columns_that_do_not_fit_into_a_sentence_are_counted(tmp_path: Path) -> None:
    row = {f"a column with a long name, number {number}": "" for number in range(200)}
    with pytest.raises(CorpusError, match=r"and 19\d more") as error:
        open_chat(write_conversations(tmp_path / "a.jsonl", [row]), format="chat")
    assert len(str(error.value)) < 350


def test_one_call_as_it_was_written_before_there_were_several_is_a_call() -> None:
    call = {"role": "assistant", "content": None, "function_call": {"name": "measure", "arguments": "{}"}}
    read = conversation_of(Row(([TURNS[1], call],), "a.jsonl:1", 0), ChatColumns("messages", ("messages",)))
    assert isinstance(read, Conversation)
    calls = [{"type": "function", "function": {"name": "measure", "arguments": {}}}]
    assert read.turns[1] == {"role": "assistant", "tool_calls": calls}
