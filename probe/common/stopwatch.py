"""A stopwatch that waits for the device, so that it measures work and not its launch."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch

Clock = Callable[[], float]
"""Returns seconds since an arbitrary moment."""
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
"""`wall`: elapsed time; `cpu`: CPU time of the process over all its threads, independent of other processes."""


class Stopwatch:
    """Accumulates the time of code blocks, synchronising the device before and after each."""

    def __init__(self, device: torch.device, clock: Clock = time.perf_counter) -> None:
        self._device = device
        self._clock = clock
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add the time of the block."""
        synchronize(self._device)
        began = self._clock()
        yield
        synchronize(self._device)
        self.seconds += self._clock() - began

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that the time of every call is added."""

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.running():
                return function(*args, **kwargs)

        return timed


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work; with CUDA, all GPUs, since a model may be spread over several."""
    if device.type == "cuda":
        for index in range(torch.cuda.device_count()):
            torch.cuda.synchronize(index)
    elif device.type != "cpu":
        torch.accelerator.synchronize()
