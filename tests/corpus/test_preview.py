"""What a window looks like as text: its own tokens, cut where learning begins and ends; nothing lost, nothing added."""

from __future__ import annotations

import errno
import json
import tempfile
from itertools import chain, groupby, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.corpus import CorpusPreview, Stretch, check_corpus, preview
from frostline.corpus.preview import stretches_of
from frostline.errors import CacheError, CorpusError
from frostline.recipe import CorpusSettings
from tests.builders.corpora import open_small, some_ids, write_words
from tests.builders.tokenizers import END, byte_pair_tokenizer, word_tokenizer, words

BYTES = byte_pair_tokenizer("the quick brown fox 🙂 und die schöne Stadt " * 20)


@given(
    st.lists(
        st.tuples(st.text(alphabet="the quick🙂ö\n‮ <|end|>", max_size=9), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
def test_stretches_put_together_are_the_text_and_learn_where_it_learns(parts: list[tuple[str, bool]]) -> None:
    ids = [BYTES(text, split_special_tokens=True)["input_ids"] for text, _ in parts]
    learns = [learnt for own, (_, learnt) in zip(ids, parts, strict=True) for _ in own]
    found = stretches_of(BYTES, list(chain.from_iterable(ids)), learns)
    assert "".join(stretch.text for stretch in found) == "".join(text for text, _ in parts)
    for learnt in (True, False):
        wanted = "".join(text for text, own in parts if own == learnt)
        assert "".join(stretch.text for stretch in found if stretch.learns == learnt) == wanted
    assert all(first.learns != then.learns for first, then in pairwise(found))


def test_a_character_that_learns_in_part_is_shown_once() -> None:
    ids = BYTES("a🎈b")["input_ids"]
    assert len(ids) > 4, "the balloon is several tokens"
    found = stretches_of(BYTES, ids, [False, False, *[True] * (len(ids) - 2)])
    assert found == (Stretch("a", False, False), Stretch("🎈b", True, False))


def test_special_tokens_stand_apart_from_text_that_looks_like_them() -> None:
    end = BYTES.eos_token_id
    assert isinstance(end, int)
    text = BYTES(f"the {END}", split_special_tokens=True)["input_ids"]
    found = stretches_of(BYTES, [*text, end], [True] * (len(text) + 1))
    assert found == (Stretch(f"the {END}", True, False), Stretch(END, True, True))


def test_nothing_is_nothing() -> None:
    assert stretches_of(BYTES, [], []) == ()


def test_a_line_end_that_learns_alone_can_be_seen() -> None:
    assert Stretch("\n", True, False).shown == "↵\n"
    assert Stretch("\n", False, False).shown == "\n"
    assert Stretch("a\n", True, False).shown == "a\n"


def of(source: Path, cache: Path, first: int = 3, **settings: object) -> CorpusPreview:
    return preview(open_small(source, cache, **settings), word_tokenizer(), first)  # type: ignore[arg-type]


def test_running_text_learns_all_but_the_first_token_of_a_window(tmp_path: Path) -> None:
    ids = some_ids(83)
    found = of(write_words(tmp_path / "a.txt", ids), tmp_path, length=8, held_out=2)
    assert (found.tokens, found.windows, found.held_out_windows, found.window_length) == (83, 8, 2, 8)
    assert found.learnt_tokens == 8 * 7
    assert found.distinct_tokens == len(set(ids))
    assert found.vocabulary == len(word_tokenizer())
    assert (found.rows, found.left_out, found.cut) == (0, {}, 0)
    assert [window.text for window in found.first] == [words(ids[start : start + 8]) for start in (0, 8, 16)]
    for window in found.first:
        assert [stretch.learns for stretch in window.stretches] == [False, True]
        assert (window.tokens, window.learnt_tokens) == (8, 7)


def test_windows_come_in_the_order_of_the_text_and_say_which_are_held_out(tmp_path: Path) -> None:
    ids = some_ids(80)
    source = write_words(tmp_path / "a.txt", ids)
    corpus = open_small(source, tmp_path, length=8, held_out=4)
    found = preview(corpus, word_tokenizer(), 99)
    assert [window.text for window in found.first] == [words(ids[start : start + 8]) for start in range(0, 80, 8)]
    held_out = [start for batch in corpus.held_out_batches(9) for start in batch.window_ids]
    assert [number * 8 for number, window in enumerate(found.first) if window.held_out] == held_out
    assert preview(corpus, word_tokenizer(), 0).first == ()


def test_a_response_learns_its_prompt_does_not_and_padding_is_not_shown(tmp_path: Path) -> None:
    pairs = [(words(some_ids(3 + number, number)), words(some_ids(6 - number % 3, number + 50))) for number in range(9)]
    source = tmp_path / "pairs.jsonl"
    source.write_text("".join(json.dumps({"q": q, "a": a}) + "\n" for q, a in pairs), encoding="utf-8")
    found = of(source, tmp_path, 9, prompt="q", response="a", length=32)
    assert len(found.first) == 9
    assert found.learnt_tokens == sum(window.learnt_tokens for window in found.first if not window.held_out)
    for window, (prompt, response) in zip(found.first, pairs, strict=True):
        learnt = "".join(stretch.text for stretch in window.stretches if stretch.learns)
        read = "".join(stretch.text for stretch in window.stretches if not stretch.learns)
        assert learnt.split() == [*response.split(), END]
        assert read.split() == ["<|user|>", *prompt.split(), END, "<|assistant|>"]
        assert window.tokens == len(prompt.split()) + len(response.split()) + 4
        assert window.learnt_tokens == len(response.split()) + 1
        kinds = [special for special, _ in groupby(window.stretches, key=lambda stretch: stretch.special)]
        assert kinds == [True, False, True, False, True]


def test_what_only_looks_like_a_special_token_is_told(tmp_path: Path) -> None:
    tokenizer = byte_pair_tokenizer("a few words ")
    tokenizer.split_special_tokens = True
    (tmp_path / "a.txt").write_text(f"a few {END} words " * 30, encoding="utf-8")
    corpus = open_small(tmp_path / "a.txt", tmp_path, length=20, tokenizer=tokenizer)
    assert preview(corpus, tokenizer, 1).first[0].only_look_special == (END,)


def test_a_check_reads_the_source_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_words(tmp_path / "a.txt", some_ids(80))
    corpus = open_small(source, tmp_path / "cache", tokens=40)
    settings, tokenizer = CorpusSettings(source=str(source), tokens=40), word_tokenizer()
    before = sorted((tmp_path / "cache").rglob("*"))
    check_corpus(corpus, settings, tokenizer, cache=tmp_path / "cache")
    assert sorted((tmp_path / "cache").rglob("*")) == before, "nothing is left behind"
    write_words(source, some_ids(80, seed=2))
    with pytest.raises(CorpusError, match=r"a\.txt gives other tokens than the cache has of it"):
        check_corpus(corpus, settings, tokenizer, cache=tmp_path / "cache")


def test_a_check_in_a_cache_that_cannot_be_written_to_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_words(tmp_path / "a.txt", some_ids(80))
    corpus = open_small(source, tmp_path / "cache")

    def refuse(*arguments: object, **named: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(CacheError, match="cannot be used: permission denied"):
        check_corpus(corpus, CorpusSettings(source=str(source)), word_tokenizer(), cache=tmp_path / "cache")
