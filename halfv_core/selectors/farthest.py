"""Farthest-point fill: again and again the token farthest from all chosen ones, for many prompts at once.

The loop is sequential, and on an accelerator three small kernels for each chosen token cost far more than what they
compute. There, where Triton is installed, the loop is one kernel launch; the torch loop is its reference and fallback.
"""

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LONGEST_IN_ONE_LAUNCH = 65536
"""Tokens up to which one program holds the distances of a whole prompt in registers."""


def farthest_fill(distance: "torch.Tensor", nearest: "torch.Tensor", steps: int) -> "torch.Tensor":
    """Choose the token with the largest distance to those chosen so far, `steps` times; of equal ones the first.

    Args:
        distance: (R, V, V) float32 between tokens, contiguous, -inf on the diagonal, so that no token is chosen twice.
        nearest: (R, V) float32, each token's distance to the nearest chosen one, -inf at tokens that cannot be chosen.
        steps: number of tokens to choose in each row.

    Returns:
        (R, steps) LongTensor. A row in which no token is left repeats some token.
    """
    if distance.is_cuda and distance.shape[1] <= LONGEST_IN_ONE_LAUNCH and _has_triton():
        from halfv_core.selectors.farthest_triton import farthest_fill_in_one_launch

        return farthest_fill_in_one_launch(distance, nearest, steps)
    return farthest_fill_in_a_loop(distance, nearest, steps)


def farthest_fill_in_a_loop(distance: "torch.Tensor", nearest: "torch.Tensor", steps: int) -> "torch.Tensor":
    """`farthest_fill` with three or four torch operations a step, on any device."""
    import torch

    rows, tokens = nearest.shape
    flat, nearest = distance.view(rows * tokens, tokens), nearest.clone()
    first = torch.arange(0, rows * tokens, tokens, device=distance.device)  # (R,) index of each row's token 0 in `flat`
    chosen = torch.empty(steps, rows, dtype=torch.long, device=distance.device)
    for farthest in chosen.unbind():
        torch.argmax(nearest, 1, out=farthest)
        torch.minimum(nearest, flat.index_select(0, farthest + first if rows > 1 else farthest), out=nearest)
    return chosen.T.contiguous()


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None
