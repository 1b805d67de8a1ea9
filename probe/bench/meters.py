"""What a benchmark reads off the machine: the clock after the device has finished, peak memory, bytes of a cache."""

import ctypes
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


Clock = Callable[[], float]
"""Seconds since some moment."""
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
"""`wall`: what a user waits; `cpu`: what the process computes, over all its threads, without what neighbours take."""


class Stopwatch:
    """Seconds spent in a stretch of work, its device idle at both ends: device work is asynchronous."""

    def __init__(self, device: torch.device, clock: Clock = time.perf_counter) -> None:
        self._device = device
        self._clock = clock
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """The block counts; several add up."""
        synchronize(self._device)
        began = self._clock()
        yield
        synchronize(self._device)
        self.seconds += self._clock() - began

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, every call of which counts."""

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.running():
                return function(*args, **kwargs)

        return timed


def synchronize(device: torch.device) -> None:
    """Wait for all that was given to the device, and to all GPUs where the model may lie on several."""
    if device.type == "cuda":
        for index in range(torch.cuda.device_count()):
            torch.cuda.synchronize(index)
    elif device.type != "cpu":
        torch.accelerator.synchronize()


class PeakMemory:
    """Largest number of bytes in use above those at its start: of the GPUs, or of this process where there is none."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._resting = self._start() if device.type in ("cuda", "cpu") else None

    def _start(self) -> int | None:
        if self._cuda:
            for index in range(torch.cuda.device_count()):
                torch.cuda.reset_peak_memory_stats(index)
            return sum(map(torch.cuda.memory_allocated, range(torch.cuda.device_count())))
        if not sys.platform.startswith("linux"):
            return None
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
        if trim is not None:
            trim(0)  # or freed memory that the allocator keeps would count as resting
        try:
            _CLEAR.write_text("5")  # sets the peak, VmHWM, to what is in use now (man 5 proc)
        except OSError:
            return None
        return _status("VmRSS")

    def above_rest(self) -> int | None:
        """Bytes; None where the machine does not tell."""
        if self._resting is None:
            return None
        if self._cuda:
            peak = sum(map(torch.cuda.max_memory_allocated, range(torch.cuda.device_count())))
        else:
            peak = _status("VmHWM")
        return max(0, peak - self._resting)


def _status(field: str) -> int:
    """A field of the process's status, in bytes."""
    lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024


def cache_bytes(cache: DynamicCache) -> int:
    """Bytes of all keys and values that a cache holds."""
    layers: list[Any] = cache.layers
    tensors = [tensor for layer in layers for tensor in (layer.keys, layer.values) if tensor is not None]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
