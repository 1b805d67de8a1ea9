"""The farthest-point fill as one Triton kernel: a program for each prompt, its running distances in registers.

Only `farthest.py` imports this, where Triton is installed.
"""

import torch
import triton
import triton.language as tl

_VALUES_A_THREAD = 8


def farthest_fill_in_one_launch(distance: torch.Tensor, nearest: torch.Tensor, steps: int) -> torch.Tensor:
    """See `farthest_fill`."""
    rows, tokens = nearest.shape
    chosen = torch.empty(rows, steps, dtype=torch.long, device=distance.device)
    block = triton.next_power_of_2(tokens)
    warps = max(1, min(32, block // (32 * _VALUES_A_THREAD)))
    _fill[(rows,)](distance, nearest.contiguous(), chosen, tokens, steps, BLOCK=block, num_warps=warps)
    return chosen


@triton.jit  # type: ignore[untyped-decorator]
def _fill(distance, nearest, chosen, tokens, steps, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < tokens
    lowest = float("-inf")
    running = tl.load(nearest + row * tokens + columns, mask=inside, other=lowest)
    running = tl.where(running == running, running, lowest)  # NaN, reported after the prefill, has no defined place
    for step in range(steps):
        farthest = tl.argmax(running, 0)
        tl.store(chosen + row * steps + step, farthest.to(tl.int64))
        start = (row * tokens + farthest) * tokens
        running = tl.minimum(running, tl.load(distance + start + columns, mask=inside, other=lowest))
