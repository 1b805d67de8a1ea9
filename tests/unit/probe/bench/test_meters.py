"""Tensors that are alive at once are counted exactly."""

import torch

from probe.bench.meters import TensorMemory


def test_live_and_peak_bytes() -> None:
    outside = torch.zeros(1000)
    with TensorMemory() as memory:
        doubled = outside * 2
        view = doubled.view(10, 100)[3:]
        view += 1  # in place
        del doubled
        assert (memory.live, memory.peak) == (4000, 4000)
        del view
        assert memory.live == 0
        for _ in range(5):
            one = outside + 1  # the one before is still there
        assert (memory.live, memory.peak) == (4000, 8000)
        outside[5:].mul_(2)
        assert memory.peak == 8000
        del one
    assert memory.live == 0
