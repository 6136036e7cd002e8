"""In how many directions did a matrix move? Its stable rank: squared Frobenius over squared spectral norm.

1 where all rows moved along one direction, at most the rank (Rudelson and Vershynin 2007, arXiv:math/0503442). The
spectral norm comes from Lanczos steps on D'D (Golub and Van Loan, Matrix Computations, section 10.1), which take
milliseconds where a singular value decomposition takes seconds. The starting vector is fixed: equal matrices, equal
bits.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

MAXIMUM_STEPS = 200
TOLERANCE = 1e-6
"""Bound on the relative error of the squared spectral norm at which the iteration ends; the error itself is of its
square's order."""
CHECK_EVERY = 8
EXHAUSTED = 1e-12
"""What is left of a Lanczos vector, relative to D'D, that is rounding and no direction of its own."""


def stable_rank(matrix: Float[Tensor, "rows columns"]) -> float:
    """||D||_F^2 / ||D||_2^2 of `matrix`, between 1 and its rank; 0 for a zero matrix, NaN if it is not finite."""
    values = matrix.detach().double()
    largest = float(values.abs().max()) if values.numel() else 0.0
    if largest == 0 or not math.isfinite(largest):
        return 0.0 if largest == 0 else math.nan
    values = values / largest  # the rank does not depend on the scale, and squares of tiny changes would underflow
    return float(values.square().sum()) / largest_eigenvalue(values) if min(values.shape) > 1 else 1.0


def largest_eigenvalue(matrix: Float[Tensor, "rows columns"]) -> float:
    """The largest eigenvalue of D'D, which is the squared spectral norm of D; D in float64, not zero."""
    if matrix.shape[0] < matrix.shape[1]:
        matrix = matrix.T  # DD' has the same eigenvalues, and the vectors are shorter
    size = matrix.shape[1]
    steps = min(size, MAXIMUM_STEPS)
    basis = torch.zeros(steps + 1, size, dtype=torch.float64, device=matrix.device)
    start = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis[0] = (start / start.norm()).to(matrix.device)
    tridiagonal = torch.zeros(steps, steps, dtype=torch.float64)
    for step in range(steps):
        product = matrix.T @ (matrix @ basis[step])
        tridiagonal[step, step] = torch.dot(product, basis[step])
        for _ in range(2):  # twice is enough to stay orthogonal to all vectors before
            product -= basis[: step + 1].T @ (basis[: step + 1] @ product)
        remainder = float(product.norm())
        last = step == steps - 1
        exhausted = remainder <= EXHAUSTED * float(tridiagonal.diagonal().max())  # D has a lower rank than its size
        if last or exhausted or step % CHECK_EVERY == CHECK_EVERY - 1:
            eigenvalues, vectors = torch.linalg.eigh(tridiagonal[: step + 1, : step + 1])
            # |remainder * last component| bounds the distance to an eigenvalue of D'D.
            if last or remainder * abs(float(vectors[-1, -1])) <= TOLERANCE * float(eigenvalues[-1]):
                return float(eigenvalues[-1])
        tridiagonal[step, step + 1] = tridiagonal[step + 1, step] = remainder
        basis[step + 1] = product / remainder
    raise AssertionError("unreachable: the last step returns")
