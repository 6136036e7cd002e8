"""Does the hash change with every byte, and with nothing else?"""

from __future__ import annotations

import copy
import hashlib

import numpy as np
import pytest
import torch
from torch import Tensor

from frostline.measures import weights_sha256
from tests.builders.models import tiny_model

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


def test_the_order_in_which_tensors_come_does_not_matter() -> None:
    named = list(tiny_model("llama").named_parameters())
    assert weights_sha256(named[::-1]) == weights_sha256(iter(named))


def test_a_copy_has_the_same_hash_and_a_change_of_the_last_bit_another() -> None:
    model = tiny_model("gpt2")
    before = weights_sha256(model.named_parameters())
    twin = copy.deepcopy(model)
    assert weights_sha256(twin.named_parameters()) == before
    with torch.no_grad():
        last = list(twin.parameters())[-1].view(-1)
        last[-1] = torch.nextafter(last[-1], last[-1] + 1)
    assert weights_sha256(twin.named_parameters()) != before


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_hash_is_that_of_names_types_shapes_and_raw_bytes(dtype: torch.dtype) -> None:
    values = (torch.arange(12) % 7).to(dtype).view(3, 4)
    raw = bytes(values.flatten().view(torch.uint8).tolist())
    header = f"frostline weights\n1:w:{str(dtype)[6:]}:(3, 4)\n".encode()
    assert weights_sha256([("w", values)]) == hashlib.sha256(header + raw).hexdigest()


def test_the_layout_in_memory_does_not_matter() -> None:
    values = torch.arange(12.0).view(3, 4)
    assert weights_sha256([("w", values.T.contiguous().T)]) == weights_sha256([("w", values)])


def test_large_tensors_hash_the_same_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [("a", torch.randn(50, generator=torch.Generator().manual_seed(0))), ("b", torch.ones(7).bfloat16())]
    whole = weights_sha256(values)
    monkeypatch.setattr("frostline.measures.hashing.CHUNK_BYTES", 16)
    assert weights_sha256(values) == whole


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": torch.zeros(2, 3)}, {"a": torch.zeros(3, 2)}),
        ({"a": torch.zeros(4)}, {"b": torch.zeros(4)}),
        ({"a": torch.zeros(4)}, {"a": torch.zeros(4, dtype=torch.int32)}),
        ({"a": torch.zeros(1)}, {"a": -torch.zeros(1)}),
        ({"a": torch.zeros(1)}, {"a": torch.zeros(())}),
        ({"a": torch.zeros(0)}, {}),
        ({"a": torch.zeros(2), "b": torch.ones(1)}, {"a": torch.zeros(1), "b": torch.ones(2)}),
    ],
)
def test_what_differs_has_another_hash(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert weights_sha256(one.items()) != weights_sha256(other.items())


def test_values_that_are_no_numbers_hash_as_bytes() -> None:
    values = torch.from_numpy(np.array([np.nan, np.inf], dtype=np.float32))
    assert weights_sha256([("w", values)]) == weights_sha256([("w", values.clone())])
