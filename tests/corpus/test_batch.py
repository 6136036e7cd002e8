"""Does a window have a width of its own, whichever windows stand beside it?"""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from frostline.corpus import Batch
from frostline.corpus.batch import widths_of
from tests.builders.batches import uneven_batch

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=6)


@given(st.integers(2, 10_000))
def test_a_width_has_room_for_its_window_and_little_more(length: int) -> None:
    (width,) = widths_of(np.array([length]), 1 << 20).tolist()
    assert length <= width < length + max(8, length / 16 + 1)
    assert width % 8 == 0
    assert widths_of(np.array([width]), 1 << 20).tolist() == [width]


def test_there_are_few_widths_and_none_above_the_longest() -> None:
    widths = widths_of(np.arange(2, 8193), 8190)
    assert widths.max() == 8190
    assert np.unique(widths).size == 16 + 6 * 16


@given(LENGTHS, st.data())
def test_a_window_at_its_own_width_is_the_same_in_every_batch(lengths: list[int], data: st.DataObject) -> None:
    whole = uneven_batch(lengths)
    rows = data.draw(st.lists(st.sampled_from(range(len(lengths))), min_size=1, unique=True))
    part = whole.of_rows(rows)
    assert part.window_ids == tuple(rows)
    for place, row in enumerate(rows):
        (ids, mask), (own_ids, own_mask) = whole.at_own_width(row), part.at_own_width(place)
        assert ids.tolist() == own_ids.tolist()
        assert len(ids) == -(-lengths[row] // 8) * 8
        if lengths[row] == len(ids):
            assert mask is own_mask is None
        else:
            assert mask is not None
            assert own_mask is not None
            assert mask.tolist() == own_mask.tolist() == [1] * lengths[row] + [0] * (len(ids) - lengths[row])


@given(LENGTHS)
def test_padding_is_known_with_and_without_a_mask(lengths: list[int]) -> None:
    batch = uneven_batch(lengths)
    plain = Batch(batch.input_ids, batch.labels, None, batch.window_ids, "", batch.lengths, batch.widths)
    expected = [[place < length for place in range(batch.input_ids.shape[1])] for length in lengths]
    for own in (batch, plain):
        read = np.ones(batch.input_ids.shape, dtype=bool) if own.is_token is None else own.is_token
        assert read.tolist() == expected
