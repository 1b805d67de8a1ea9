"""The devices of this machine, how a model runs on one, and how much of their memory is used."""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel

from halfv_core.errors import ModelError
from halfv_core.failures import is_out_of_memory
from halfv_core.families import parts_of
from halfv_core.latency import Setting
from halfv_core.placement import device_of
from halfv_core.quantising import numbers_of


def available_devices() -> list[str]:
    """Names that a model can be moved to: cpu, and the accelerators that torch can use."""
    names = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    return names + (["mps"] if torch.backends.mps.is_available() else [])


def processor_name() -> str:
    """Name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.processor() or platform.machine())


def setting_of(model: PreTrainedModel) -> Setting:
    """How the model runs now: on which device, and in which way."""
    device = device_of(model)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return Setting(
        device=processor_name() if device.type == "cpu" else name,
        dtype=numbers_of(model),
        kernel=parts_of(model).decoder.config._attn_implementation,
        threads=torch.get_num_threads() if device.type == "cpu" else None,
    )


def memory_of(device: torch.device) -> int | None:
    """Bytes of memory that a device has, or the process may have on the CPU; None if that is not known."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device.type != "cpu" or not hasattr(os, "sysconf"):
        return None
    import resource

    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *limits]
    return min((size for size in found if size > 0), default=None)  # no limit is -1


def check_device(name: str) -> torch.device:
    """The torch device of a name, on which a tensor can be made and read.

    Args:
        name: as in `torch.device`; `auto` is none.

    Raises:
        ModelError: no such device on this machine, or one without memory, such as meta.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except Exception as error:  # a device without support fails in a way of its own
        if is_out_of_memory(error):
            raise
        raise ModelError("unknown device", got=name, expected=" or ".join(["auto", *available_devices()])) from None
    return device


_UNITS = {"B": 1} | {f"{letter}iB": 2 ** (10 * power) for power, letter in enumerate("KMGT", 1)}
_UNITS |= {f"{letter}B": 10 ** (3 * power) for power, letter in enumerate("KMGT", 1)}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]i?B|B)")


_FREE_SHARE = 0.9
"""Share of the free memory of a device that weights may take; the rest is for what the model computes."""


def memory_limits(given: Mapping[int | str, int | str], gpus: Sequence[int] | None = None) -> dict[int | str, int]:
    """How much of each device's memory weights may take, as accelerate's `max_memory`.

    Args:
        given: by GPU index or `cpu`, a size as in `8GiB`, or in bytes. Devices that are not named have nine tenths of
            the room that is free on them.
        gpus: indices of the only GPUs that weights may go to. Limits of the others mean nothing then.

    Returns:
        Bytes by GPU index and `cpu`. What does not fit stays on disk.

    Raises:
        ModelError: no such device on this machine, or not a size.
    """
    limits = {device: int(size * _FREE_SHARE) for device, size in _free_memory(gpus).items()}
    known = {*limits, *range(torch.cuda.device_count())}
    for name, size in given.items():
        device = int(name) if str(name).isdecimal() else name
        if device not in known:
            raise ModelError(
                "memory is limited of a device that there is not", got=name, expected=" or ".join(map(str, limits))
            )
        found = _SIZE.fullmatch(f"{size}B" if str(size).isdecimal() else str(size))
        if found is None:
            raise ModelError(f"the memory limit of {name} is not a size", got=size, expected="as 8GiB or 500MB")
        if device in limits:
            limits[device] = int(float(found[1]) * _UNITS[found[2]])
    return limits


def _free_memory(gpus: Sequence[int] | None) -> dict[int | str, int]:
    """Free bytes by device. With `gpus`, no other one is asked, since asking takes memory on it."""
    from accelerate.utils import get_max_memory

    if gpus is None:
        return dict(get_max_memory())
    import psutil  # type: ignore[import-untyped] # accelerate needs it

    there = range(torch.cuda.device_count())
    if not gpus or len(set(gpus)) < len(gpus) or not set(gpus) <= set(there):
        raise ModelError(
            "weights cannot be put on these GPUs",
            got=", ".join(map(str, gpus)) or "none",
            expected=f"different ones of {', '.join(map(str, there))}" if there else "a machine with GPUs",
        )
    free: dict[int | str, int] = {index: torch.cuda.mem_get_info(index)[0] for index in sorted(gpus)}
    return free | {"cpu": psutil.virtual_memory().available}
