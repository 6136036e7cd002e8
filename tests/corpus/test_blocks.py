"""Is a long text cut the same way however it arrives, at borders that change no token?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from frostline.corpus.blocks import REACH_CHARACTERS, cut_into_blocks
from tests.builders.tokenizers import byte_pair_tokenizer

TEXTS = st.text(alphabet="ab \n\té", max_size=200)


@given(TEXTS, st.integers(1, 40))
def test_blocks_joined_are_the_text_and_none_is_too_long_or_empty(text: str, size: int) -> None:
    blocks = list(cut_into_blocks([text], size))
    assert "".join(blocks) == text
    assert all(0 < len(block) <= size for block in blocks)


@given(st.lists(TEXTS, max_size=8), st.integers(1, 40))
def test_borders_do_not_depend_on_how_the_text_was_read(pieces: list[str], size: int) -> None:
    assert list(cut_into_blocks(pieces, size)) == list(cut_into_blocks(["".join(pieces)], size))


def test_a_block_ends_after_a_line_rather_than_inside_one() -> None:
    assert list(cut_into_blocks(["one two\nthree four"], 12)) == ["one two\n", "three four"]


def test_a_line_between_lines_with_text_is_preferred_to_an_empty_line() -> None:
    assert list(cut_into_blocks(["aaaa cd\nef\n\n gh ij"], 14)) == ["aaaa cd\n", "ef\n\n gh ij"]


def test_without_a_line_end_the_space_stays_with_its_word() -> None:
    assert list(cut_into_blocks(["aaaa bbbb cccc"], 11)) == ["aaaa bbbb", " cccc"]


def test_text_without_white_space_is_cut_at_full_size() -> None:
    size = 2 * REACH_CHARACTERS
    assert [len(block) for block in cut_into_blocks(["x" * (3 * size)], size)] == [size] * 3


def test_cutting_changes_no_token_of_a_byte_level_tokenizer() -> None:
    text = "".join(f"Line {number}, of a text!\n" + ("\n" if number % 3 == 0 else "") for number in range(400))
    tokenizer = byte_pair_tokenizer(text)
    blocks = list(cut_into_blocks([text], 500))
    assert len(blocks) > 10
    pieces = tokenizer(blocks, add_special_tokens=False)["input_ids"]
    assert [token for piece in pieces for token in piece] == tokenizer(text, add_special_tokens=False)["input_ids"]
