"""Greedy MAP inference of a determinantal point process, in the fast form of arXiv 1709.05135."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ROUNDING = 1e-6
"""Variances that differ by no larger share are equal but for float32 rounding; a token of whose own variance no larger
share is left depends on the chosen ones."""


def map_dpp(kernel: "torch.Tensor", count: int) -> "torch.Tensor":
    """Again and again add the token with the largest variance that the chosen ones leave unexplained.

    That is the token which raises the determinant of the chosen block most. Of equal ones it is the first; what depends
    on the chosen tokens has no variance left, so copies follow in reading order. No step waits for the device.

    Args:
        kernel: (V, V) symmetric and positive semidefinite, without NaN.
        count: number of tokens to choose, 1 <= count <= V.

    Returns:
        (count,) distinct indices in the order in which they were chosen.
    """
    import torch

    from halfv_core.precision import no_autocast, widened

    kernel = widened(kernel)
    variance = kernel.diagonal().clone()  # (V,)
    negligible = ROUNDING * variance
    factors = torch.zeros(count, len(kernel), dtype=kernel.dtype, device=kernel.device)  # rows of the Cholesky factor
    chosen = torch.empty(count, dtype=torch.long, device=kernel.device)
    with no_autocast(kernel.device):
        for step in range(count):
            level = variance.amax() * (1 - ROUNDING)
            best = (variance >= level).int().argmax(0, keepdim=True)  # (1,) the first of those that are equal
            chosen[step : step + 1] = best
            known = factors[:step]
            row = kernel.index_select(0, best)[0] - known.index_select(1, best)[:, 0] @ known  # (V,)
            scale = variance.index_select(0, best).rsqrt()
            factors[step] = torch.where(scale.isfinite(), row * scale, 0.0)
            variance = variance - factors[step] ** 2
            variance = torch.where(variance > negligible, variance, 0.0)
            variance.index_fill_(0, chosen[: step + 1], -torch.inf)
    return chosen
