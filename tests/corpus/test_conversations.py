"""Is each conversation a window of its own, of which what is learnt counts, and is one that is too long cut well?"""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from frostline.corpus import NOT_COUNTED, Corpus, remarks_on
from frostline.corpus.conversations import Conversations, lay_out_conversations
from frostline.errors import CorpusError
from frostline.recipe import WindowSettings
from tests.builders.corpora import open_small
from tests.builders.tokenizers import ASSISTANT, END, USER, WORDS, word_tokenizer, words

USER_ID, ASSISTANT_ID, END_ID = WORDS + 1, WORDS + 2, WORDS + 3
Pairs = list[tuple[list[int], list[int]]]


def write_pairs(path: Path, pairs: Pairs) -> Path:
    rows = [{"question": words(prompt), "answer": words(response)} for prompt, response in pairs]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def open_pairs(
    pairs: Pairs,
    folder: Path,
    *,
    held_out: int = 1,
    order: str = "epochs",
    length: int = 12,
    tokens: int | None = None,
    tokenizer: PreTrainedTokenizerFast | None = None,
    **settings: object,
) -> Corpus:
    return open_small(
        write_pairs(folder / "pairs.jsonl", pairs),
        folder / "cache",
        length=length,
        held_out=held_out,
        order=order,
        tokenizer=tokenizer,
        prompt="question",
        response="answer",
        tokens=tokens,
        **settings,
    )


def conversation(prompt: list[int], response: list[int]) -> tuple[list[int], list[int]]:
    """Token ids of a pair as the chat template writes it, and its labels."""
    given = [USER_ID, *prompt, END_ID, ASSISTANT_ID]
    wanted = [*response, END_ID]
    return given + wanted, [NOT_COUNTED] * len(given) + wanted


def rows_of(corpus: Corpus) -> dict[int, tuple[list[int], list[int]]]:
    """Tokens and labels by pair, padding taken off."""
    rows = {}
    for batch in (corpus.batch(0, 0, corpus.windows), *corpus.held_out_batches(2)):
        mask = batch.attention_mask if batch.attention_mask is not None else np.ones_like(batch.input_ids)
        for row, pair in enumerate(batch.window_ids):
            real = mask[row].astype(bool)
            rows[pair] = batch.input_ids[row][real].tolist(), batch.labels[row][real].tolist()
            assert (batch.labels[row][~real] == NOT_COUNTED).all()
            assert not np.diff(mask[row]).max(initial=0) > 0, "padding is on the right"
    return rows


def test_each_pair_is_a_conversation_of_which_the_response_counts(tmp_path: Path) -> None:
    pairs: Pairs = [([number] * (1 + number % 3), [100 + number] * (1 + number % 2)) for number in range(9)]
    corpus = open_pairs(pairs, tmp_path)
    expected = {number: conversation(*pair) for number, pair in enumerate(pairs)}
    assert rows_of(corpus) == expected
    assert (corpus.windows, corpus.held_out_windows) == (8, 1)
    assert corpus.tokens == sum(len(tokens) for tokens, _ in expected.values())
    assert corpus.description == "pairs.jsonl, 9 prompt/response pairs"


def test_a_pair_that_is_too_long_loses_its_beginning_and_keeps_its_end(tmp_path: Path) -> None:
    pairs: Pairs = [([1], [2] * 30), ([3] * 30, [4]), ([5] * 8, [6]), ([7] * 9, [8])]
    corpus = open_pairs(pairs, tmp_path)
    rows = rows_of(corpus)
    assert [rows[number] for number in range(4)] == [
        tuple(part[-12:] for part in conversation(*pair)) for pair in pairs
    ]
    assert corpus.cut == 4
    assert corpus.description == "pairs.jsonl, 4 prompt/response pairs, 4 cut to the window"
    assert "lose their beginning" in corpus.remarks[0]


@pytest.mark.parametrize(
    ("answers_begin", "kept"), [("<|user|>", []), ("<|assistant|>", [USER_ID])], ids=["opens turns", "opens texts"]
)
def test_a_token_that_opens_every_turn_does_not_stay_as_the_beginning_of_a_text(
    tmp_path: Path, answers_begin: str, kept: list[int]
) -> None:
    begin = f"{{{{ '<|user|> ' if message.role == 'user' else '{answers_begin} ' }}}}"
    template = f"{{% for message in messages %}}{begin}{{{{ message.content }}}} <|end|>\n{{% endfor %}}"
    template += f"{{% if add_generation_prompt %}}{answers_begin} {{% endif %}}"
    tokenizer = word_tokenizer(chat_template=template)
    tokenizer.bos_token = USER  # as the tokenizer calls it
    rows = rows_of(open_pairs([([3] * 30, [4]), ([5], [6])], tmp_path, tokenizer=tokenizer))
    answer = [END_ID, USER_ID if answers_begin == USER else ASSISTANT_ID, 4, END_ID]
    assert rows[0][0] == [*kept, *[3] * (8 - len(kept)), *answer]


def test_pairs_that_are_too_long_are_left_out_on_request(tmp_path: Path) -> None:
    pairs: Pairs = [([1], [2]), ([3] * 30, [4]), ([5], [6])]
    corpus = open_pairs(pairs, tmp_path, too_long="drop")
    assert rows_of(corpus) == {0: conversation(*pairs[0]), 1: conversation(*pairs[2])}
    assert corpus.left_out == {"longer than a window of 12 tokens": 1}
    assert corpus.description == "pairs.jsonl, 2 prompt/response pairs; left out: 1 longer than a window of 12 tokens"


def test_pairs_that_are_too_long_are_refused_on_request_with_the_row(tmp_path: Path) -> None:
    pairs: Pairs = [([1], [2]), ([], [1]), ([3] * 30, [4]), ([5], [6] * 20)]
    with pytest.raises(CorpusError, match=r"pairs\.jsonl:3: .* 35 tokens, more than a window of 12, and 1 more are"):
        open_pairs(pairs, tmp_path, too_long="refuse")


def test_windows_that_are_cut_otherwise_have_another_hash(tmp_path: Path) -> None:
    pairs: Pairs = [([1], [2]), ([3] * 30, [4]), ([5], [6]), ([7], [8])]
    hashes = {open_pairs(pairs, tmp_path, too_long=how).batch(0, 0, 1).windows_sha256 for how in ("cut", "drop")}
    assert len(hashes) == 2


def test_rows_without_prompt_or_response_are_left_out_and_counted(tmp_path: Path) -> None:
    corpus = open_pairs([([1], [2]), ([], [3]), ([4], []), ([5], [6])], tmp_path)
    assert sorted(tokens for tokens, _ in rows_of(corpus).values()) == sorted(
        conversation(*pair)[0] for pair in [([1], [2]), ([5], [6])]
    )
    assert "2 without prompt or response" in corpus.description


def test_a_conversation_without_a_token_to_predict_is_left_out() -> None:
    table = np.array([[0, 0, 0, 1, 0], [3, 1, 0, 1, 0], [4, 2, 0, 1, 0], [7, 3, 0, 1, 0]])
    spans = np.array([[2, 3], [0, 1], [0, 1], [1, 2]])
    conversations = Conversations.of(table, spans, np.empty(0, dtype=np.int64))
    settings = WindowSettings(length=8, held_out=1)
    windows = lay_out_conversations(np.arange(9, dtype=np.uint16), conversations, settings, "the text", 0)
    assert windows.numbers.tolist() == [0, 3]
    assert windows.skipped == 2


def test_a_batch_is_as_wide_as_its_widest_pair_rounded_up(tmp_path: Path) -> None:
    corpus = open_pairs([([1], [2] * count) for count in (1, 4, 11, 12, 90)], tmp_path, length=100)
    tokens = {number: 5 + count for number, count in enumerate((1, 4, 11, 12, 90))}
    for step in range(20):
        batch = corpus.batch(0, step, 2)
        widest = max(tokens[window] for window in batch.window_ids)
        assert batch.input_ids.shape == (2, min(100, -(-widest // 8) * 8))
        assert batch.lengths == tuple(tokens[window] for window in batch.window_ids)


def test_pairs_that_fill_their_width_need_no_mask(tmp_path: Path) -> None:
    batch = open_pairs([([number, 1], [2, 3]) for number in range(5)], tmp_path).batch(0, 0, 3)
    assert (batch.input_ids.shape, batch.attention_mask, batch.is_token) == ((3, 8), None, None)


def test_padding_is_the_end_token_where_there_is_no_padding_token(tmp_path: Path) -> None:
    batch = open_pairs([([1], [2]), ([1], [2] * 5), ([1], [2])], tmp_path).batch(0, 0, 2)
    assert batch.attention_mask is not None
    assert set(batch.input_ids[batch.attention_mask == 0].tolist()) == {END_ID}


def test_a_template_that_writes_finished_turns_unlike_invited_ones_is_refused(tmp_path: Path) -> None:
    template = (
        "{% for message in messages %}<|{{ message.role }}|> {{ message.content }} {% endfor %}"
        "{% if add_generation_prompt %}<|assistant|> w199 {% endif %}"
    )
    tokenizer = word_tokenizer(chat_template=template)
    with pytest.raises(CorpusError, match=r"jsonl:1: the chat template invites to answer turn 2 by .*w199"):
        open_pairs([([1], [2]), ([3], [4])], tmp_path, tokenizer=tokenizer)


def test_prompts_end_where_the_response_is_to_begin(tmp_path: Path) -> None:
    corpus = open_pairs([([number, 50, 51], [60, 61]) for number in range(6)], tmp_path, held_out=2)
    prompts = corpus.prompts(0, 2, 4)
    assert prompts.tolist() == [[50, 51, END_ID, ASSISTANT_ID]] * 2
    held_out = {tuple(batch.input_ids[0, :6].tolist()) for batch in corpus.held_out_batches(1)}
    assert {tuple(row) for row in corpus.prompts(0, 2, 6).tolist()} == held_out
    with pytest.raises(CorpusError, match=r"prompts of 10 tokens are longer than every held-out conversation"):
        corpus.prompts(0, 2, 10)


def test_the_same_pairs_are_held_out_in_both_orders_and_never_trained_on(tmp_path: Path) -> None:
    pairs: Pairs = [([number], [number]) for number in range(20)]
    kept = set()
    for order in ("epochs", "random"):
        corpus = open_pairs(pairs, tmp_path, held_out=4, order=order)
        held_out = {pair for batch in corpus.held_out_batches(3) for pair in batch.window_ids}
        trained = {pair for step in range(40) for pair in corpus.batch(3, step, 4).window_ids}
        assert not held_out & trained
        assert trained | held_out == set(range(20))
        kept.add(frozenset(held_out))
    assert len(kept) == 1


def test_a_limit_of_tokens_keeps_whole_pairs(tmp_path: Path) -> None:
    corpus = open_pairs([([number], [number]) for number in range(20)], tmp_path, tokens=29)
    assert (corpus.tokens, corpus.windows + corpus.held_out_windows) == (24, 4)


def test_copied_ngrams_do_not_reach_across_pairs(tmp_path: Path) -> None:
    corpus = open_pairs([([7], [8, number]) for number in (9, 10, 9, 9, 11)], tmp_path)
    assert corpus.copied_ngrams([[USER_ID, 7, END_ID, ASSISTANT_ID, 8, 9, END_ID]], n=7) == [(1, 1)]
    assert corpus.copied_ngrams([[8, 9, END_ID, USER_ID, 7]], n=5) == [(1, 0)]


def test_too_few_pairs_say_how_many_there_are(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"has 2 usable conversations \(1 more are longer than a window") as caught:
        open_pairs([([1], [2]), ([1], [2]), ([1] * 30, [2])], tmp_path, held_out=2, too_long="drop")
    assert "windows.held_out: 1 or fewer" in caught.value.hint


def test_no_usable_row_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="holds no conversation with both a prompt and a response"):
        open_pairs([([], [1]), ([2], [])], tmp_path)


def test_a_tokenizer_without_a_chat_template_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="need a chat template, and this model's tokenizer has none"):
        open_pairs([([1], [2])] * 3, tmp_path, tokenizer=word_tokenizer(chat_template=None))


def test_a_template_that_refuses_a_pair_names_the_row(tmp_path: Path) -> None:
    tokenizer = word_tokenizer(chat_template="{{ raise_exception('no system message') }}")
    with pytest.raises(CorpusError, match=r"pairs\.jsonl:1: .*refuses this conversation: no system message"):
        open_pairs([([1], [2])] * 3, tmp_path, tokenizer=tokenizer)


def test_plain_text_has_no_pairs(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(f"{USER} w1 {END} {ASSISTANT} w2")
    with pytest.raises(CorpusError, match=r"text\.txt is plain text, which has no columns"):
        open_small(tmp_path / "text.txt", tmp_path / "cache", prompt="question", response="answer")


def test_a_missing_response_column_is_named(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl", [([1], [2])])
    with pytest.raises(CorpusError, match=r"has no column 'answers'\. Did you mean 'answer'"):
        open_small(path, tmp_path / "cache", prompt="question", response="answers")


LEARNT = st.tuples(st.integers(1, 5), st.integers(1, 5))
"""Tokens that are given, and tokens that are learnt after them."""


@given(
    st.lists(st.lists(LEARNT, min_size=1, max_size=4), min_size=2, max_size=8), st.integers(4, 20), st.integers(0, 2)
)
def test_windows_hold_the_conversations_whatever_their_lengths(
    conversations: list[list[tuple[int, int]]], length: int, head: int
) -> None:
    starts, table, spans, cuts = 0, [], [], []
    for row, turns in enumerate(conversations):
        table.append((starts, row, head, len(turns), len(turns) - 1))
        place = head
        for number, (given_tokens, learnt_tokens) in enumerate(turns):
            if number:
                cuts.append(place)
            spans.append((place + given_tokens, place + given_tokens + learnt_tokens))
            place += given_tokens + learnt_tokens
        starts += place
    windows = lay_out_conversations(
        np.arange(starts, dtype=np.uint16),
        Conversations.of(np.array(table), np.array(spans), np.array(cuts, dtype=np.int64)),
        WindowSettings(length=length, held_out=1),
        "the text",
        0,
    )
    rows = windows.gather(np.arange(len(conversations)))
    for row, turns in enumerate(conversations):
        whole: list[tuple[int, bool]] = [(table[row][0] + place, False) for place in range(head)]
        pieces = [whole]
        for given_tokens, learnt_tokens in turns:
            begin = table[row][0] + sum(map(len, pieces))
            pieces.append([(begin + place, place >= given_tokens) for place in range(given_tokens + learnt_tokens)])
        # The most turns that fit behind the head; if the last alone does not, the last tokens.
        fitting = [whole + list(chain(*pieces[first:])) for first in range(1, len(pieces))]
        expected = next((tokens for tokens in fitting if len(tokens) <= length), None)
        if expected is None:
            everything = list(chain(*pieces))
            kept = head if head and head + turns[-1][1] < length else 0
            expected = everything[:kept] + everything[-(length - kept) :]
        assert rows.input_ids[row, : len(expected)].tolist() == [token for token, _ in expected]
        assert rows.labels[row, : len(expected)].tolist() == [
            token if is_learnt else NOT_COUNTED for token, is_learnt in expected
        ]
        assert set(rows.labels[row, len(expected) :].tolist()) <= {NOT_COUNTED}


def test_rows_that_repeat_only_once_they_are_cut_are_said_to(tmp_path: Path) -> None:
    tail = list(range(100, 120))
    pairs = [([number, *tail], [7, 8]) for number in range(3)] + [([number], [9]) for number in range(20, 24)]
    corpus = open_pairs(pairs, tmp_path)
    assert (corpus.duplicates, corpus.cut) == (2, 3)
    assert "2 rows of the text repeat an earlier one exactly, as they are after cutting" in remarks_on(
        corpus, word_tokenizer()
    )
