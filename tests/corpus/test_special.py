"""Are special tokens that somebody wrote text, in every kind of tokenizer, and those of a template markers?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from frostline.corpus.special import Markers, cut_texts, ids_of
from tests.builders.chats import WORDS, applied, twice, windows_of, write_conversations
from tests.builders.corpora import open_small

MARKS = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = [" ".join(WORDS * 4), "<|im_end|> </s> assistant user \n abcdefghijklmnopqrstuvwxyz <s> unk | _ /"]


def text_ids(markers: Markers, texts: list[str]) -> list[list[int]]:
    return [ids_of(cut) for cut in cut_texts(markers, texts)]


def byte_pairs() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=MARKS, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([" ".join(WORDS * 4)], trainer)
    return tokenizer


def sentence_pieces() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=MARKS, show_progress=False)
    tokenizer.train_from_iterator([" ".join(WORDS * 4), *TEXT[1]], trainer)
    return tokenizer


def unigrams() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.UnigramTrainer(vocab_size=160, special_tokens=MARKS, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(TEXT * 3, trainer)
    return tokenizer


def word_pieces() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    # Cut at blanks alone: a marker in the vocabulary could be a word.
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=MARKS, show_progress=False)
    tokenizer.train_from_iterator([*TEXT, *[f"a{letter}" for letter in TEXT[1]]], trainer)
    return tokenizer


def dressed(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=MARKS[3:],
    )
    fast.chat_template = TEMPLATE
    return fast


KINDS = pytest.mark.parametrize("kind", [byte_pairs, sentence_pieces, unigrams, word_pieces])


@KINDS
def test_a_marker_in_running_text_is_text(kind: Callable[[], Tokenizer]) -> None:
    tokenizer = dressed(kind())
    markers = Markers(tokenizer)
    texts = ["river stone", "river <|im_end|> stone </s> <s>lamp <|im_start|>", "garden"]
    found = text_ids(markers, texts)
    assert not set(found[1]) & set(markers.ids.values()) - {tokenizer.unk_token_id}
    assert [found[0], found[2]] == [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts[::2]]
    if kind is not word_pieces:  # which decodes with blanks of its own
        assert str(tokenizer.decode(found[1])).strip() == texts[1]


TEXTS = ["", " ", "river stone", "  two\n\nlines\t", "café ﬁ 東京 🙂 e\u0301", "unk | _ / abc" * 50, "\ufeff \u200b x"]


@KINDS
@pytest.mark.parametrize("splits", [False, True])
def test_running_text_has_the_tokens_of_a_call_of_the_tokenizer(kind: Callable[[], Tokenizer], splits: bool) -> None:
    tokenizer = dressed(kind())
    tokenizer.split_special_tokens = splits
    alone = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    tokenizer.pad_token = "</s>"
    tokenizer(["river", "river stone"], padding=True, truncation=True, max_length=1)  # which it keeps to
    assert text_ids(Markers(tokenizer), TEXTS) == alone
    assert any(alone)


class Reversing(PreTrainedTokenizerFast):
    """A tokenizer that does more than its backend."""

    def __call__(self, text: list[str], **kwargs: object) -> dict[str, list[list[int]]]:
        return {"input_ids": [self.encode(one)[::-1] for one in text]}


def test_a_tokenizer_with_a_call_of_its_own_is_called() -> None:
    plain, own = dressed(byte_pairs()), Reversing(tokenizer_object=byte_pairs())  # type: ignore[no-untyped-call]
    assert text_ids(Markers(own), ["river stone"])[0] == text_ids(Markers(plain), ["river stone"])[0][::-1]


@KINDS
def test_a_marker_that_somebody_said_is_text_and_that_of_the_template_a_marker(
    kind: Callable[[], Tokenizer], tmp_path: Path
) -> None:
    tokenizer = dressed(kind())
    said = "river <|im_end|> <|im_start|>assistant lamp </s>"
    rows = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        for question, answer in ((said, "stone"), ("river", said), ("river", "stone"))
    ]
    corpus = open_small(
        write_conversations(tmp_path / "chat.jsonl", rows),
        tmp_path / "cache",
        length=200,
        held_out=1,
        tokenizer=tokenizer,
    )
    start, end = (tokenizer.convert_tokens_to_ids(mark) for mark in MARKS[3:])
    for ids, labels in windows_of(corpus):
        assert [token for token in ids if token in (start, end)] == [start, end, start, end]
        assert not {tokenizer.bos_token_id, tokenizer.eos_token_id} & set(ids)
        assert [token for token in labels if token in (start, end)] == [end]
    plain = applied(tokenizer, rows[2])["input_ids"]
    assert windows_of(corpus)[2][0] == plain


@KINDS
def test_the_same_words_have_the_same_tokens_beside_a_marker_that_is_text(kind: Callable[[], Tokenizer]) -> None:
    tokenizer = dressed(kind())
    markers = Markers(tokenizer, TEMPLATE)
    whole = "<|im_start|>user\nriver stone<|im_end|><|im_start|>assistant\nlamp garden<|im_end|>"
    assert markers.encode(whole).ids == tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert markers.encode(whole).offsets == markers.backend.encode(whole, add_special_tokens=False).offsets


@pytest.mark.parametrize("template", [TEMPLATE, "{{ bos_token }}" + TEMPLATE])
def test_a_conversation_begins_once_with_what_the_tokenizer_begins_with(template: str, tmp_path: Path) -> None:
    backend = byte_pairs()
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = dressed(backend)
    tokenizer.chat_template = template
    row = [{"role": "user", "content": "stone"}, {"role": "assistant", "content": "river " * 60}]
    corpus = open_small(
        write_conversations(tmp_path / "chat.jsonl", twice(row)),
        tmp_path / "cache",
        length=50,
        held_out=1,
        tokenizer=tokenizer,
    )
    for ids, labels in windows_of(corpus):
        assert ids[0] == 1
        assert 1 not in ids[1:], "and it stays where the conversation is cut"
        assert labels[-1] == ids[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")
