"""One process alone is asked nothing and told nothing; what several send one another arrives as it was."""

from __future__ import annotations

import json

import numpy as np
import pytest

from frostline.corpus import Batch
from frostline.engine import ALONE, Together, batch_of
from frostline.engine.sent_batch import batch_tensors, batch_values


def test_alone_what_is_done_together_is_the_block_and_nothing_else() -> None:
    with ALONE.doing({"do": "nothing that is known"}) as together:
        together.own = {"loss": 0.1}
    assert together.all == [{"loss": 0.1}]


def test_alone_errors_rise_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError), ALONE.doing({}) as together:
        assert isinstance(together, Together)
        raise ZeroDivisionError


@pytest.mark.parametrize("padded", [False, True])
def test_a_batch_that_was_sent_is_the_same_batch(padded: bool) -> None:
    ids = np.arange(12, dtype=np.int64).reshape(3, 4)
    batch = Batch(
        input_ids=ids,
        labels=ids[::-1],  # not contiguous
        attention_mask=(ids % 4 < 3).astype(np.int64) if padded else None,
        window_ids=(7, 1, 2**40),
        windows_sha256="ab",
        lengths=(3, 3, 3) if padded else None,
        widths=(4, 4, 4) if padded else None,
    )
    values = json.loads(json.dumps(batch_values(batch)))
    arrived = batch_of(values, batch_tensors(batch))
    for field in ("window_ids", "windows_sha256", "lengths", "widths"):
        assert getattr(arrived, field) == getattr(batch, field)
    for field in ("input_ids", "labels", "attention_mask"):
        np.testing.assert_array_equal(getattr(arrived, field), getattr(batch, field))
