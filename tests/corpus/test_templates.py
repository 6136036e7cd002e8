"""Which template writes a conversation, by which marks is it read, and does today's date stay that of the beginning?"""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from frostline.corpus import Corpus, open_corpus, tokenise
from frostline.errors import CorpusError
from frostline.recipe import WindowSettings
from frostline.recipe.sources import CorpusSettings
from tests.builders.chat_families import CHATML
from tests.builders.chats import Turns, applied, chat_tokenizer, twice, windows_of, write_conversations
from tests.builders.corpora import open_small

ROW: Turns = [
    {"role": "user", "content": "river?"},
    {"role": "assistant", "content": "stone"},
    {"role": "user", "content": "and?"},
    {"role": "assistant", "content": "lamp garden"},
]
MARKED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer_with(template: str | dict[str, str]) -> PreTrainedTokenizerFast:
    tokenizer = chat_tokenizer(CHATML)
    tokenizer.chat_template = template
    return tokenizer


def open_with(own: str | dict[str, str], folder: Path, rows: list[Turns] | None = None, **settings: str) -> Corpus:
    path = write_conversations(folder / "chat.jsonl", rows or twice(ROW))
    return open_small(path, folder / "cache", length=300, held_out=1, tokenizer=tokenizer_with(own), **settings)


def learnt(corpus: Corpus) -> str:
    return str(chat_tokenizer(CHATML).decode([token for token in windows_of(corpus)[0][1] if token >= 0]))


def test_the_templates_own_marks_say_what_is_learnt(tmp_path: Path) -> None:
    corpus = open_with(MARKED, tmp_path)
    encoded = applied(tokenizer_with(MARKED), ROW, masked=True)
    (ids, labels), *_ = windows_of(corpus)
    assert ids == encoded["input_ids"]
    assert [int(label >= 0) for label in labels] == encoded["assistant_masks"]
    assert learnt(corpus) == "stone<|im_end|>lamp garden<|im_end|>"
    assert learnt(open_with(MARKED, tmp_path, learn="last_response")) == "lamp garden<|im_end|>"


def test_marks_that_leave_out_an_answer_are_refused(tmp_path: Path) -> None:
    template = MARKED.replace("m.role == 'assistant'", "m.content == 'lamp garden'")
    with pytest.raises(CorpusError, match=r"generation %\} marks leave out the answer in turn 2"):
        open_with(template, tmp_path)
    assert learnt(open_with(template, tmp_path, learn="last_response")) == "lamp garden<|im_end|>"


def test_without_an_invitation_the_answer_is_learnt_without_its_header(tmp_path: Path) -> None:
    template = "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>\n{% endfor %}"
    rows: list[Turns] = [
        [{"role": "user", "content": name}, {"role": "assistant", "content": name}] for name in ("a", "s")
    ]
    corpus = open_with(template, tmp_path, rows)
    # The blank before the answer is part of its first token, or none of it.
    assert learnt(corpus).strip() == "a<|im_end|>"


def test_a_template_without_an_end_token_is_told(tmp_path: Path) -> None:
    template = CHATML.template.replace("<|im_end|>", "")
    corpus = open_with(template, tmp_path)
    assert corpus.remarks == (
        "The chat template ends every answer without an end token: the model will not learn to stop there",
    )
    assert learnt(corpus) == "stone\nlamp garden\n"


def test_a_template_of_ones_own_is_used_and_its_content_counts(tmp_path: Path) -> None:
    path = tmp_path / "own.jinja"
    path.write_text(MARKED)
    assert learnt(open_with(CHATML.template, tmp_path, template=str(path))) == "stone<|im_end|>lamp garden<|im_end|>"
    path.write_text(MARKED.replace("<|im_end|>", "<|im_end|>!"))
    assert learnt(open_with(CHATML.template, tmp_path, template=str(path))) == "stone<|im_end|>!lamp garden<|im_end|>!"


def test_one_of_several_templates_is_chosen_by_its_name(tmp_path: Path) -> None:
    several = {"default": CHATML.template, "marked": MARKED}
    assert learnt(open_with(several, tmp_path)) == "stone<|im_end|>\nlamp garden<|im_end|>\n"
    assert learnt(open_with(several, tmp_path, template="marked")) == "stone<|im_end|>lamp garden<|im_end|>"
    with pytest.raises(CorpusError, match=r"no chat template named 'market'\. Did you mean 'marked'"):
        open_with(several, tmp_path, template="market")
    with pytest.raises(CorpusError, match=r"several chat templates and none of them is its default: a, b"):
        open_with({"a": MARKED, "b": MARKED}, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{% if %}", r"not valid Jinja: .* \(its line 1\)"),
        (b"\xff", "it is not UTF-8 text"),
        (None, "no such file"),
        ("{{ messages[0].nothing.there }}", r"jsonl:1: the chat template refuses this conversation: "),
        ("{{ messages[9].content }}{{ 1 / 0 }}", r"jsonl:1: the chat template refuses this conversation: "),
        ("{{ ''.__class__.__mro__ }}", r"jsonl:1: the (chat template refuses|text of turn 1)"),
    ],
)
def test_a_template_that_cannot_be_used_is_one_sentence(
    content: str | bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "own.jinja"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CorpusError, match=message):
        open_with(CHATML.template, tmp_path, template=str(path))


def test_an_answer_that_a_template_writes_twice_is_refused(tmp_path: Path) -> None:
    rows: list[Turns] = [
        [{"role": "user", "content": "river"}, {"role": "assistant", "content": "river stone lamp garden"}]
    ]
    template = CHATML.template.replace("{{ m.content }}", "{{ m.content }}{{ m.content if m.role == 'assistant' }}")
    with pytest.raises(CorpusError, match="text of turn 2 stands twice"):
        open_with(template, tmp_path, twice(rows[0]))


def test_reasoning_that_begins_twice_is_refused(tmp_path: Path) -> None:
    rows: list[Turns] = [[{"role": "user", "content": "river"}, {"role": "assistant", "content": "<think>b</think>c"}]]
    template = CHATML.template.replace("{{ m.content }}", "{{ '<think>\n' if m.role == 'assistant' }}{{ m.content }}")
    template = template.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    with pytest.raises(CorpusError, match="mark <think> stands twice"):
        open_with(template, tmp_path, twice(rows[0]))


def test_reasoning_that_the_invitation_begins_is_learnt_from_there(tmp_path: Path) -> None:
    rows: list[Turns] = [
        [{"role": "user", "content": "river"}, {"role": "assistant", "content": "<think>\nb</think>c"}]
    ]
    template = CHATML.template.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    assert learnt(open_with(template, tmp_path, twice(rows[0]))) == "b</think>c<|im_end|>\n"


def test_reasoning_in_a_field_of_its_own_is_written_or_refused(tmp_path: Path) -> None:
    answer: dict[str, object] = {"role": "assistant", "content": "stone", "thinking": "river flows"}
    rows: list[Turns] = [[{"role": "user", "content": "river"}, answer]]
    rows = twice(rows[0])
    template = CHATML.template.replace(
        "{{ m.content }}",
        "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}",
    )
    assert learnt(open_with(template, tmp_path, rows)) == "<think>river flows</think>stone<|im_end|>\n"
    with pytest.raises(CorpusError, match="the reasoning of turn 2"):
        open_with(CHATML.template, tmp_path, rows)


DATED = "<|im_start|>{{ strftime_now('%d %b %Y') }}\n" + CHATML.template


def test_a_template_that_asks_for_the_date_gets_that_of_the_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_conversations(tmp_path / "chat.jsonl", twice(ROW))
    monkeypatch.setattr(tokenise, "today", lambda: datetime.date(2030, 1, 2))

    def opened(template: str, day: datetime.date | None) -> Corpus:
        settings = CorpusSettings(source=str(path)).dated(day)
        windows = WindowSettings(length=300, held_out=1)
        return open_corpus(settings, windows, tokenizer_with(template), cache=tmp_path / "cache")

    first = opened(DATED, None)
    assert first.template_date == "2030-01-02"
    assert "02 Jan 2030" in str(chat_tokenizer(CHATML).decode(windows_of(first)[0][0]))
    monkeypatch.setattr(tokenise, "today", lambda: datetime.date(2030, 1, 3))
    assert opened(DATED, None).tokens_sha256 != first.tokens_sha256
    assert opened(DATED, datetime.date(2030, 1, 2)).tokens_sha256 == first.tokens_sha256
    assert opened(CHATML.template, None).template_date is None
