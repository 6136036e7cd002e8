"""Does the hash change with every byte, and with nothing else?"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from frostline.engine import copy_for_arm
from frostline.measures import hashing
from frostline.measures.hashing import TensorDigests, state_tensors, tensor_digests, weights_sha256
from frostline.plans import Plan
from tests.builders.models import ROUTER_BIAS_FAMILIES, tiny_model

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


def raw_and_type(values: Tensor) -> tuple[bytes, str]:
    """Bytes and type by which `values` are known: those of fp32 for 16-bit floats."""
    dtype = values.dtype
    if dtype in (torch.float16, torch.bfloat16):
        return np.array(values.tolist(), dtype=np.float32).tobytes(), "float32"
    return bytes(values.flatten().view(torch.uint8).tolist()), str(dtype)[6:]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_hash_is_that_of_names_types_shapes_and_values(dtype: torch.dtype) -> None:
    values = (torch.arange(12) % 7).to(dtype).view(3, 4)
    raw, kind = raw_and_type(values)
    header = f"frostline weights\n1:w:{kind}:(3, 4)\n".encode()
    assert weights_sha256([("w", values)]) == hashlib.sha256(header + raw).hexdigest()


def test_the_layout_in_memory_does_not_matter() -> None:
    values = torch.arange(12.0).view(3, 4)
    assert weights_sha256([("w", values.T.contiguous().T)]) == weights_sha256([("w", values)])


def test_large_tensors_hash_the_same_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [("a", torch.randn(50, generator=torch.Generator().manual_seed(0))), ("b", torch.ones(7).bfloat16())]
    whole = weights_sha256(values)
    monkeypatch.setattr("frostline.tensor_bytes.CHUNK_BYTES", 16)
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
    assert tensor_digests(one.items()).sha256 != tensor_digests(other.items()).sha256


def test_values_that_are_no_numbers_hash_as_bytes() -> None:
    values = torch.from_numpy(np.array([np.nan, np.inf], dtype=np.float32))
    assert weights_sha256([("w", values)]) == weights_sha256([("w", values.clone())])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_hash_of_many_follows_from_the_hash_of_each(dtype: torch.dtype) -> None:
    values = (torch.arange(12) % 7).to(dtype).view(3, 4)
    raw, kind = raw_and_type(values)
    header = f"frostline tensors\n1:w:{kind}:(3, 4)\n{hashlib.sha256(raw).hexdigest()}\n".encode()
    assert tensor_digests([("w", values)]).sha256 == hashlib.sha256(header).hexdigest()


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the tensors whose bytes were hashed."""
    sizes: list[int] = []
    original = hashing._sha256_of

    def count(tensor: Tensor) -> str:
        sizes.append(tensor.numel())
        return original(tensor)

    monkeypatch.setattr(hashing, "_sha256_of", count)
    return sizes


def digests_of(model: torch.nn.Module, known: TensorDigests | None = None) -> TensorDigests:
    return tensor_digests(state_tensors(model), known)


def test_an_arm_hashes_nothing_again_and_has_the_hash_of_the_base(hashed: list[int]) -> None:
    base = tiny_model("llama")
    known = digests_of(base)
    assert sum(hashed) == sum(parameter.numel() for parameter in base.parameters())
    arm = copy_for_arm(base, Plan.parse("train: [attn.q@3]").resolve(base))
    hashed.clear()
    assert digests_of(arm, known).sha256 == known.sha256
    assert hashed == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int8])
def test_a_copy_is_known_by_its_bytes_and_not_by_what_they_mean(hashed: list[int], dtype: torch.dtype) -> None:
    values = torch.zeros(6, dtype=dtype)
    known = tensor_digests([("w", values)])
    hashed.clear()
    assert tensor_digests([("w", values.clone())], known).sha256 == known.sha256
    assert hashed == []
    if dtype.is_floating_point:
        minus = -values  # equal as numbers
        assert tensor_digests([("w", minus)], known).sha256 == tensor_digests([("w", minus)]).sha256 != known.sha256
    with torch.no_grad():
        values += 1
    assert tensor_digests([("w", values.clone())], known).sha256 != known.sha256


def test_a_not_a_number_equals_itself_by_its_bytes(hashed: list[int]) -> None:
    known = tensor_digests([("w", torch.tensor([torch.nan, 1.0]))])
    hashed.clear()
    assert tensor_digests([("w", torch.tensor([torch.nan, 1.0]))], known).sha256 == known.sha256
    assert hashed == []


def test_a_copy_that_differs_in_a_bit_is_found(hashed: list[int]) -> None:
    base = tiny_model("llama")
    known = digests_of(base)
    arm = copy_for_arm(base, Plan.parse("train: [attn.q@3]").resolve(base))
    with torch.no_grad():
        arm.get_parameter("model.layers.3.self_attn.q_proj.weight")[0, 0] += 1
    assert digests_of(arm, known).sha256 != known.sha256


def test_what_was_written_into_shared_memory_since_is_found() -> None:
    base = tiny_model("llama")
    known = digests_of(base)
    arm = copy_for_arm(base, Plan.parse("train: [attn.q@3]").resolve(base))
    with torch.no_grad():
        arm.get_parameter("model.norm.weight")[0] += 1
    assert digests_of(arm, known).sha256 == digests_of(arm).sha256 != known.sha256


@pytest.mark.parametrize(
    "view", [lambda own: own[:2], lambda own: own.T, lambda own: own.view(torch.int32), lambda own: own[1:]]
)
def test_another_view_of_the_same_memory_is_another_tensor(view: Callable[[Tensor], Tensor]) -> None:
    values = torch.arange(16.0).view(4, 4)
    known = tensor_digests([("w", values)])
    assert tensor_digests([("w", view(values))], known).sha256 == tensor_digests([("w", view(values).clone())]).sha256


def test_memory_that_another_tensor_takes_over_is_not_taken_for_the_first() -> None:
    known = tensor_digests([("w", torch.zeros(1000))])
    others = [torch.ones(1000) for _ in range(100)]
    assert all(tensor_digests([("w", other)], known).sha256 != known.sha256 for other in others)


@pytest.mark.parametrize("family", ROUTER_BIAS_FAMILIES)
def test_persistent_buffers_are_hashed_with_the_parameters(family: str) -> None:
    model = tiny_model(family)
    names = dict(state_tensors(model))
    assert names.keys() == model.state_dict().keys()
    before = digests_of(model).sha256
    buffer = model.get_buffer("model.layers.3.mlp.gate.e_score_correction_bias")
    buffer[0] = torch.nextafter(buffer[0], torch.tensor(1.0))
    assert digests_of(model).sha256 != before
