"""Is the stable rank that of a singular value decomposition?"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from frostline.measures import stable_rank
from frostline.measures.spectrum import MAXIMUM_STEPS, largest_eigenvalue


def random_matrix(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_svd(matrix: Tensor) -> float:
    values = torch.linalg.svdvals(matrix.double())
    return float(values.square().sum() / values[0].square())


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (1, 9), (9, 1), (7, 30), (30, 7), (64, 64), (250, 240)])
def test_it_equals_the_decomposition_for_random_matrices(shape: tuple[int, int]) -> None:
    for seed in range(3):
        matrix = random_matrix(*shape, seed)
        assert stable_rank(matrix) == pytest.approx(by_svd(matrix), rel=1e-6)
        assert stable_rank(matrix.sign()) == pytest.approx(by_svd(matrix.sign()), rel=1e-6)


@pytest.mark.parametrize("rank", [1, 2, 8, 40])
def test_it_equals_the_decomposition_for_matrices_of_low_rank(rank: int) -> None:
    matrix = random_matrix(90, rank) @ random_matrix(rank, 70, 1)
    assert stable_rank(matrix) == pytest.approx(by_svd(matrix), rel=1e-6)


def test_it_equals_the_decomposition_where_the_largest_values_lie_close_together() -> None:
    left, _ = torch.linalg.qr(random_matrix(300, 300))
    right, _ = torch.linalg.qr(random_matrix(300, 300, 1))
    values = torch.linspace(1, 0.01, 300, dtype=torch.float64)
    values[:5] = torch.tensor([1.0, 1 - 1e-9, 1 - 1e-7, 1 - 1e-5, 1 - 1e-3], dtype=torch.float64)
    matrix = left @ torch.diag(values) @ right
    assert matrix.shape[1] > MAXIMUM_STEPS
    assert stable_rank(matrix) == pytest.approx(by_svd(matrix), rel=1e-6)


def test_an_identity_has_its_full_rank_and_one_direction_has_1() -> None:
    assert stable_rank(torch.eye(20)) == pytest.approx(20)
    assert stable_rank(torch.outer(torch.arange(1.0, 9.0), torch.ones(5))) == pytest.approx(1)


def test_the_scale_does_not_matter_however_small() -> None:
    matrix = random_matrix(20, 12)
    assert stable_rank(matrix * 1e-200) == pytest.approx(by_svd(matrix), rel=1e-6)


def test_nothing_has_rank_0_and_what_is_not_finite_has_none() -> None:
    assert stable_rank(torch.zeros(4, 3)) == 0
    assert math.isnan(stable_rank(torch.tensor([[1.0, math.nan], [0.0, 1.0]])))
    assert math.isnan(stable_rank(torch.tensor([[1.0, math.inf], [0.0, 1.0]])))


def test_equal_matrices_give_equal_bits_and_no_global_random_number_is_drawn() -> None:
    matrix = random_matrix(120, 80)
    state = torch.get_rng_state()
    assert stable_rank(matrix) == stable_rank(matrix.clone())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_largest_eigenvalue_is_the_squared_spectral_norm() -> None:
    matrix = random_matrix(40, 60)
    assert largest_eigenvalue(matrix) == pytest.approx(float(torch.linalg.matrix_norm(matrix, ord=2)) ** 2, rel=1e-6)
