"""How much of a weight matrix is signal? Its singular values against what pure noise of its size would have.

Matrices are looked at one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from frostline.plans import ModelMap
from frostline.signals.gradients import by_place
from frostline.signals.signal import Signal, SignalKind

SNR = SignalKind(
    name="snr",
    title="Signal-to-noise ratio",
    meaning="These matrices hold most that is not noise.",
    source="Sum of the singular values above the Marchenko-Pastur edge over the sum of those below, divided by the "
    "largest one (Spectrum: Hartford et al. 2024, arXiv:2406.06623, section 3).",
    places="matrices",
    reads_windows=False,
)
IQR_OF_A_STANDARD_NORMAL = 1.349
"""Distance between its quartiles: by it the noise's standard deviation is told from the bulk of the values."""
ReadTensor = Callable[[str], Tensor]
"""The value of the parameter of this name."""


def spectrum_signal(model_map: ModelMap, read: ReadTensor) -> Signal:
    """`SNR` of every matrix of the decoder layers; of a stack of experts, the mean over them."""
    values: dict[str, float] = {}
    portions = tuple(portion for portion in model_map.portions if portion.layer is not None and len(portion.shape) >= 2)
    for portion in portions:
        whole = portion.view_of(read(portion.parameter)).detach().float()
        matrices = whole.reshape(-1, *whole.shape[-2:])
        ratios = [signal_to_noise(matrix) for matrix in matrices]
        values[portion.name] = sum(ratios) / len(ratios)
    return Signal(SNR, by_place(portions, values))


def signal_to_noise(matrix: Float[Tensor, "rows columns"]) -> float:
    """Signal-to-noise ratio of one matrix: see `SNR`. Finite for any matrix, and 0 for one of zeros.

    The edge is sigma (1 + sqrt(beta)) with beta the shorter over the longer side, and sigma the distance between the
    quartiles of the singular values over that of a standard normal distribution, as Spectrum has it.
    """
    singular = torch.linalg.svdvals(matrix.double())
    largest = float(singular[0])
    if largest == 0:
        return 0.0
    quartiles = torch.quantile(singular, torch.tensor([0.25, 0.75], dtype=singular.dtype, device=singular.device))
    sigma = float(quartiles[1] - quartiles[0]) / IQR_OF_A_STANDARD_NORMAL
    shorter, longer = sorted(matrix.shape)
    edge = sigma * (1 + math.sqrt(shorter / longer))
    signal = float(singular[singular > edge].sum())
    noise = float(singular[singular <= edge].sum())
    # Where all of them stand above the edge, the least one that there is counts as noise.
    return signal / (noise if noise > 0 else float(singular[singular > 0][-1])) / largest
