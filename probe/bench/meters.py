"""Measures time with device synchronisation, peak memory, and the size of a KV cache."""

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


class PeakMemory:
    """Peak memory above the baseline at construction, of all GPUs or, on the CPU, of this process."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._baseline = self._start() if device.type in ("cuda", "cpu") else None

    def _start(self) -> int | None:
        if self._cuda:
            for index in range(torch.cuda.device_count()):
                torch.cuda.reset_peak_memory_stats(index)
            return sum(map(torch.cuda.memory_allocated, range(torch.cuda.device_count())))
        if not sys.platform.startswith("linux"):
            return None
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
        if trim is not None:
            trim(0)  # otherwise freed memory that the allocator keeps would count towards the baseline
        try:
            _CLEAR.write_text("5")  # resets the peak, VmHWM, to the present value (man 5 proc)
        except OSError:
            return None
        return _process_status("VmRSS")

    def above_baseline(self) -> int | None:
        """Bytes above the baseline; None where the system does not report it."""
        if self._baseline is None:
            return None
        if self._cuda:
            peak = sum(map(torch.cuda.max_memory_allocated, range(torch.cuda.device_count())))
        else:
            peak = _process_status("VmHWM")
        return max(0, peak - self._baseline)


def _process_status(field: str) -> int:
    """A memory field of /proc/self/status, bytes."""
    lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024


def cache_bytes(cache: DynamicCache) -> int:
    """Bytes of all keys and values in a KV cache."""
    layers: list[Any] = cache.layers
    tensors = [tensor for layer in layers for tensor in (layer.keys, layer.values) if tensor is not None]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
