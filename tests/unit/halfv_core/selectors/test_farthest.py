"""The farthest-point fill: the loop against a slow reference, and the Triton kernel against the loop."""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from halfv_core.selectors.farthest import farthest_fill, farthest_fill_in_a_loop


def example(rows: int, tokens: int, seed: int, levels: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Symmetric distances with many ties, token 0 of each row chosen, and the last token of odd rows padding."""
    generator = torch.Generator().manual_seed(seed)
    distance = torch.randint(0, levels, (rows, tokens, tokens), generator=generator).float() / levels
    distance = torch.maximum(distance, distance.mT)
    distance.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    nearest = distance[:, 0].clone()
    nearest[1::2, -1] = -torch.inf
    return distance, nearest


def slow_fill(distance: list[list[float]], nearest: list[float], steps: int) -> list[int]:
    chosen = []
    for _ in range(steps):
        best = max(range(len(nearest)), key=lambda token: (nearest[token], -token))
        chosen.append(best)
        nearest = [min(near, far) for near, far in zip(nearest, distance[best], strict=True)]
    return chosen


@given(rows=st.integers(1, 3), tokens=st.integers(3, 30), seed=st.integers(0, 999), data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_loop_is_the_slow_fill_and_leaves_its_input(rows: int, tokens: int, seed: int, data: st.DataObject) -> None:
    distance, nearest = example(rows, tokens, seed)
    steps = data.draw(st.integers(0, tokens - 2))
    before = distance.clone(), nearest.clone()
    chosen = farthest_fill(distance, nearest, steps)
    assert torch.equal(distance, before[0]) and torch.equal(nearest, before[1])
    assert chosen.shape == (rows, steps) and chosen.dtype == torch.long
    for row in range(rows):
        assert chosen[row].tolist() == slow_fill(distance[row].tolist(), nearest[row].tolist(), steps)


SIZES = ((1, 7, 5), (3, 64, 40), (2, 130, 100))
"""Rows, tokens, steps."""


def check_kernel(device: str, sizes: tuple[tuple[int, int, int], ...] = SIZES) -> None:
    """The Triton kernel chooses what the loop chooses, ties and NaN included; called below in another process."""
    from halfv_core.selectors.farthest_triton import farthest_fill_in_one_launch

    for rows, tokens, steps in sizes:
        distance, nearest = example(rows, tokens, seed=tokens)
        expected = farthest_fill_in_a_loop(distance, nearest, steps)
        found = farthest_fill_in_one_launch(distance.to(device), nearest.to(device), steps)
        assert torch.equal(found.cpu(), expected), (rows, tokens, steps)
    broken = torch.full((1, 8, 8), torch.nan, device=device)
    chosen = farthest_fill_in_one_launch(broken, broken[:, 0].contiguous(), 4)
    assert 0 <= int(chosen.min()) <= int(chosen.max()) < 8


def test_triton_kernel_in_its_interpreter() -> None:
    pytest.importorskip("triton", minversion="3.9")  # older interpreters fail with numpy 2.4
    code = "from tests.unit.halfv_core.selectors.test_farthest import check_kernel; check_kernel('cpu')"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "TRITON_INTERPRET": "1"}, check=True)


@pytest.mark.gpu
def test_triton_kernel_on_a_gpu() -> None:
    pytest.importorskip("triton")
    check_kernel("cuda", (*SIZES, (1, 2500, 562), (8, 1200, 270), (1, 5000, 100)))


@pytest.mark.gpu
def test_a_gpu_takes_one_launch() -> None:
    pytest.importorskip("triton")
    distance, nearest = (tensor.cuda() for tensor in example(2, 300, seed=0))
    farthest_fill(distance, nearest, 100)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA], acc_events=True) as profile:
        farthest_fill(distance, nearest, 100)
        torch.cuda.synchronize()
    assert len([event for event in profile.events() if "fill" in event.name]) == 1
