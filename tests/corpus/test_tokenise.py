"""Is a source tokenised once, in a stream, into exactly the tokens that the tokenizer gives?"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from tokenizers.normalizers import Lowercase
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from frostline.corpus import open_corpus, text_batches, tokenise
from frostline.corpus.special import Cut, Markers, cut_texts
from frostline.corpus.tokenise import tokenizer_sha256
from frostline.errors import CacheError, CorpusError
from frostline.recipe import WindowSettings
from frostline.recipe.sources import CorpusSettings
from tests.builders.corpora import open_small, some_ids, tokens_of, write_words
from tests.builders.tokenizers import (
    ASSISTANT,
    CHAT_TEMPLATE,
    END,
    USER,
    WORDS,
    byte_pair_tokenizer,
    word_tokenizer,
    words,
)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of texts of each call of any tokenizer."""
    counted: list[int] = []
    original = cut_texts

    def count(markers: Markers, texts: list[str], separator: str | None = None) -> list[Cut]:
        counted.append(len(texts))
        return original(markers, texts, separator)

    monkeypatch.setattr(text_batches, "cut_texts", count)
    return counted


def test_a_corpus_opened_twice_is_tokenised_once(tmp_path: Path, calls: list[int]) -> None:
    path = write_words(tmp_path / "text.txt", some_ids(100))
    first, second = (open_small(path, tmp_path / "cache") for _ in range(2))
    assert calls == [1]
    assert second.batch(0, 0, 4).windows_sha256 == first.batch(0, 0, 4).windows_sha256
    assert (second.sha256, second.tokens, second.distinct_tokens) == (first.sha256, 100, first.distinct_tokens)


def test_the_cache_goes_by_content_and_not_by_name_or_window(tmp_path: Path, calls: list[int]) -> None:
    ids = some_ids(100)
    open_small(write_words(tmp_path / "a.txt", ids), tmp_path / "cache")
    open_small(write_words(tmp_path / "b.txt", ids), tmp_path / "cache", length=4, held_out=3, order="random")
    open_small(tmp_path / "a.txt", tmp_path / "cache", tokens=50)
    assert calls == [1]


def test_another_content_column_format_or_tokenizer_is_tokenised_anew(tmp_path: Path, calls: list[int]) -> None:
    row = json.dumps({"a": words(some_ids(64, 1)), "b": words(some_ids(64, 2))})
    path = tmp_path / "table.jsonl"
    path.write_text(row)
    cache = tmp_path / "cache"
    tokens = [
        tokens_of(open_small(path, cache, column="a")),
        tokens_of(open_small(path, cache, column="b")),
        tokens_of(open_small(path, cache, format="text")),
        tokens_of(open_small(path, cache, column="a", tokenizer=word_tokenizer(50))),
    ]
    path.write_text(json.dumps({"a": words(some_ids(64, 3))}))
    tokens.append(tokens_of(open_small(path, cache, column="a")))
    assert len(calls) == 5
    assert len({tuple(ids) for ids in tokens}) == 5


def test_a_damaged_cache_is_tokenised_anew(tmp_path: Path, calls: list[int]) -> None:
    ids = some_ids(96)
    path = write_words(tmp_path / "text.txt", ids)
    open_small(path, tmp_path / "cache")
    (entry,) = (tmp_path / "cache" / "corpora").iterdir()
    damaged = bytearray((entry / "tokens.bin").read_bytes())
    damaged[5] ^= 1
    (entry / "tokens.bin").write_bytes(damaged)
    assert tokens_of(open_small(path, tmp_path / "cache")) == ids
    assert len(calls) == 2


def test_what_the_last_call_left_in_a_tokenizer_does_not_change_its_hash() -> None:
    tokenizer = word_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    before = tokenizer_sha256(tokenizer)
    tokenizer(["w1", "w2 w3"], padding=True, truncation=True, max_length=2)
    assert tokenizer_sha256(tokenizer) == before


def other_vocabulary(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    return word_tokenizer(199)


def other_normalizer(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    tokenizer.backend_tokenizer.normalizer = Lowercase()
    return tokenizer


def other_template(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    return word_tokenizer(chat_template=None)


def other_attribute(name: str, value: object) -> Callable[[PreTrainedTokenizerFast], PreTrainedTokenizerFast]:
    def change(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
        setattr(tokenizer, name, value)
        return tokenizer

    return change


@pytest.mark.parametrize(
    "change",
    [
        other_vocabulary,
        other_normalizer,
        other_template,
        other_attribute("bos_token", END),
        other_attribute("eos_token", USER),
        other_attribute("pad_token", END),
        other_attribute("unk_token", END),
        other_attribute("split_special_tokens", True),
        other_attribute("clean_up_tokenization_spaces", True),
    ],
)
def test_whatever_decides_tokens_or_text_is_part_of_a_tokenizers_hash(
    tmp_path: Path, calls: list[int], change: Callable[[PreTrainedTokenizerFast], PreTrainedTokenizerFast]
) -> None:
    assert tokenizer_sha256(change(word_tokenizer())) != tokenizer_sha256(word_tokenizer())
    path = write_words(tmp_path / "text.txt", some_ids(100, 3))
    for tokenizer in (word_tokenizer(), change(word_tokenizer()), word_tokenizer()):
        open_small(path, tmp_path / "cache", tokenizer=tokenizer)
    assert len(calls) == 2


def test_where_a_tokenizer_lies_is_no_part_of_its_hash(tmp_path: Path) -> None:
    word_tokenizer().save_pretrained(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "deep" / "another")
    found = [AutoTokenizer.from_pretrained(tmp_path / name) for name in ("one", "deep/another")]
    assert found[0].name_or_path != found[1].name_or_path
    assert tokenizer_sha256(found[0]) == tokenizer_sha256(found[1])


def test_the_chat_template_is_given_the_special_tokens_and_pairs_follow_them(tmp_path: Path) -> None:
    """A template that writes `bos_token`: the token was no part of the key once."""
    template = "{{ bos_token }}" + CHAT_TEMPLATE
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"q": f"w{number}", "a": "w1 w2"}) + "\n" for number in range(9)))
    firsts = set()
    for token in (USER, ASSISTANT):
        tokenizer = word_tokenizer(chat_template=template)
        tokenizer.bos_token = token
        corpus = open_small(path, tmp_path / "cache", length=16, prompt="q", response="a", tokenizer=tokenizer)
        firsts.add(int(corpus.batch(0, 0, 1).input_ids[0, 0]))
    assert firsts == {WORDS + 1, WORDS + 2}


@pytest.mark.parametrize("package", tokenise.DECIDING_PACKAGES)
def test_another_version_of_what_reads_or_cuts_is_tokenised_anew(
    tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    path = write_words(tmp_path / "text.txt", some_ids(100))
    open_small(path, tmp_path / "cache")
    monkeypatch.setattr(tokenise, "version", lambda name: "0" if name == package else version(name))
    open_small(path, tmp_path / "cache")
    assert len(calls) == 2


def test_other_code_tokenises_anew(tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_words(tmp_path / "text.txt", some_ids(100))
    open_small(path, tmp_path / "cache")
    monkeypatch.setattr(tokenise, "code_sha256", lambda parts: "other")
    open_small(path, tmp_path / "cache")
    assert len(calls) == 2


def test_batches_give_the_text_back(tmp_path: Path) -> None:
    text = "".join(f"Line {number}: où est le café?\n\n" for number in range(300))
    tokenizer = byte_pair_tokenizer(text)
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    corpus = open_small(tmp_path / "text.txt", tmp_path / "cache", length=10, held_out=5, tokenizer=tokenizer)
    decoded = tokenizer.decode(tokens_of(corpus), clean_up_tokenization_spaces=False)
    assert text.startswith(str(decoded).rstrip("\ufffd"))
    assert corpus.tokens - 10 < len(tokens_of(corpus)) <= corpus.tokens


@pytest.mark.parametrize("cores", [1, 2, 7])
def test_a_text_of_many_blocks_gives_the_tokens_of_the_whole_on_any_number_of_cores(
    tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    monkeypatch.setattr(text_batches, "usable_cores", lambda: cores)
    text = "".join(f"{words(some_ids(9, number))}\n" for number in range(1, 60_001))
    assert len(text) > 3 * (1 << 19)
    (tmp_path / "text.txt").write_text(text)
    corpus = open_small(tmp_path / "text.txt", tmp_path / "cache", length=9)
    assert corpus.tokens == 540_000
    expected = [token for number in range(1, 60_001) for token in some_ids(9, number)]
    assert tokens_of(corpus) == expected
    assert calls == {1: [3, 2], 2: [5], 7: [5]}[cores]
    assert corpus.tokens_sha256 == hashlib.sha256(np.array(expected, dtype="<u2").tobytes()).hexdigest()


@pytest.mark.parametrize(("vocabulary", "width"), [(1000, 2), (65_532, 2), (65_533, 4)])
def test_ids_take_two_bytes_where_they_fit(tmp_path: Path, vocabulary: int, width: int) -> None:
    path = write_words(tmp_path / "text.txt", [0, vocabulary - 1] * 50)
    corpus = open_small(path, tmp_path / "cache", tokenizer=word_tokenizer(vocabulary))
    assert set(tokens_of(corpus)) == {0, vocabulary - 1}
    (entry,) = (tmp_path / "cache" / "corpora").iterdir()
    assert (entry / "tokens.bin").stat().st_size == 100 * width


def test_progress_ends_at_the_size_of_the_source(tmp_path: Path) -> None:
    path = write_words(tmp_path / "text.txt", some_ids(100))
    seen: list[tuple[int, int]] = []
    open_corpus(
        CorpusSettings(source=str(path)),
        WindowSettings(length=8, held_out=2),
        word_tokenizer(),
        cache=tmp_path / "cache",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (path.stat().st_size,) * 2
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_no_space_while_writing_says_how_much_is_needed_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: IO[bytes], data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tokenise, "_write", full)
    path = tmp_path / "text.txt"
    path.write_text("w1 " * 600_000)
    with pytest.raises(CacheError, match=r"no space left in the cache folder .*: about [0-9,]+ bytes") as caught:
        open_small(path, tmp_path / "cache")
    needed = int(caught.value.message.split("about ")[1].split()[0].replace(",", ""))
    assert needed == pytest.approx(2 * 600_000 + 8 * len(word_tokenizer()), rel=0.01)
    assert list((tmp_path / "cache" / "corpora").iterdir()) == []


def test_a_source_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"w1 " * 600_000 + b"\xff")
    with pytest.raises(CorpusError, match=r"byte 1,800,000 \(0xff\) cannot be decoded"):
        open_small(path, tmp_path / "cache")
    assert list((tmp_path / "cache" / "corpora").iterdir()) == []


MEASURE = """
import os, sys
from pathlib import Path
from tests.builders.corpora import open_small
if hasattr(os, "sched_setaffinity"):  # more cores have more text at once
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
def peak():
    # Not that of getrusage, which a process inherits from the one that started it.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])
for path in sys.argv[2:]:
    corpus = open_small(path, Path(sys.argv[1]), length=64)
    corpus.batch(0, 0, 4), corpus.common_tokens(100)
    print(corpus.tokens, peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from there")
def test_seventy_megabytes_of_text_need_hardly_more_memory_than_ten(tmp_path: Path) -> None:
    line = "w1 " + "x" * 900 + " w2 " + "y" * 900
    copies = {"small.txt": 5_000, "small.jsonl": 3_000, "large.jsonl": 9_000, "large.txt": 40_000}
    for name, lines in copies.items():
        with (tmp_path / name).open("w") as file:
            for number in range(lines):  # rows of their own: a held-out one stands nowhere else
                text = f"{line}{number}"
                file.write((json.dumps({"text": text}) if name.endswith("jsonl") else text) + "\n")
    names = ("small.txt", "small.jsonl", "large.jsonl", "large.txt")
    assert (tmp_path / "large.txt").stat().st_size > 72_000_000
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "cache"), *(str(tmp_path / name) for name in names)]
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "MALLOC_ARENA_MAX": "2"}
    root = Path(__file__).parents[2]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root, env=environment)
    tokens, kilobytes = zip(*(map(int, line.split()) for line in finished.stdout.splitlines()), strict=True)
    assert tokens == (4 * 5_000, 5 * 3_000 - 1, 5 * 9_000 - 1, 4 * 40_000)
    assert kilobytes[-1] - kilobytes[1] < 45_000, kilobytes


def test_counts_are_those_of_all_tokens(tmp_path: Path) -> None:
    ids = some_ids(500)
    corpus = open_small(write_words(tmp_path / "text.txt", ids), tmp_path / "cache")
    counts = np.bincount(ids)
    assert corpus.distinct_tokens == np.count_nonzero(counts)
    assert corpus.common_tokens(5).tolist() == sorted(range(counts.size), key=lambda i: (-counts[i], i))[:5]
    assert corpus.share_of(corpus.common_tokens(5)) == pytest.approx(np.sort(counts)[-5:].sum() / 500)
