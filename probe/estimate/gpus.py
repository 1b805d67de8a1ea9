"""How to share out GPUs: how many replicas of a model run a calibration side by side, and on how many GPUs each.

A replica is spread over its GPUs layer by layer (`--device-map balanced`). What a calibration needs beside the weights
may come together on one of them, so it is counted on each.
"""

import math
import re
from typing import NamedTuple

from halfv_core.errors import HalfVError
from probe.estimate.memory import peaks
from probe.estimate.sizes import ModelSizes

RUNTIME_BYTES = 10**9
"""What the driver, kernels and their workspaces take of a GPU."""
MARGIN = 1.15
"""Of what is computed beside the weights: the formula is within 15 % of what was measured."""
PACKED = {"8bit": 1.0, "4bit": 0.5625}
"""Bytes of a packed weight, scales included (bitsandbytes: one float32 for 64 weights of 4 bits)."""
_GPUS = re.compile(r"(?:(\d+) ?x ?)?(\d+(?:\.\d+)?) ?GB", re.IGNORECASE)


class Gpus(NamedTuple):
    """Equal GPUs of one machine."""

    number: int
    memory: int
    """Bytes of each; a GB counts as 10^9 bytes."""

    @classmethod
    def parse(cls, text: str) -> "Gpus":
        """Read such as `8x80GB`.

        Raises:
            HalfVError: it is not of that form, or there is none.
        """
        found = _GPUS.fullmatch(text.strip())
        count, size = (int(found[1] or 1), float(found[2])) if found else (0, 0.0)
        if not count or not size:
            raise HalfVError("bad --gpus", got=repr(text), expected="NUMBERxSIZE, as in 8x80GB")
        return cls(count, round(size * 1e9))


class Way(NamedTuple):
    """A way to run a calibration."""

    low_memory: bool
    load_in: str | None
    """4bit, 8bit, or None for the dtype's own weights."""


class Layout(NamedTuple):
    """A way, and how it fits."""

    way: Way
    replicas: int
    """How many run side by side; 0 if not even one fits."""
    gpus_each: int
    """GPUs of a replica; if none fits, how many a replica would need."""
    weights: int
    """Bytes of weights on the fullest GPU of a replica."""
    beside: int
    """Bytes that are needed beside them."""
    step: str
    """The step that needs these."""

    @property
    def needed(self) -> int:
        """Bytes of each GPU, with what the runtime takes and a margin."""
        return self.weights + math.ceil(MARGIN * self.beside) + RUNTIME_BYTES

    @property
    def fits(self) -> bool:
        """Whether at least one replica fits."""
        return self.replicas > 0


def weight_bytes(sizes: ModelSizes, gpus: int, load_in: str | None = None) -> int:
    """Bytes of weights on the fullest of so many GPUs: a share of the layers, and what is on an end of the model."""
    number = sizes.decoder.value_bytes
    layer = sizes.layer_parameters * (PACKED[load_in] if load_in else number)
    first = sizes.embedding_parameters + sizes.other_parameters
    last = sizes.embedding_parameters
    ends = first + (0 if sizes.tied else last) if gpus == 1 else max(first, last)
    return math.ceil(math.ceil(sizes.decoder.layers / gpus) * layer + ends * number)


def layout(sizes: ModelSizes, gpus: Gpus, visual: int, text: int, way: Way) -> Layout:
    """As many replicas as fit, on equal parts of the GPUs.

    Args:
        sizes: of the model, in the dtype that it computes in.
        gpus: those of the machine.
        visual: visual tokens of a prompt.
        text: other tokens, the answer's included.
        way: how it is run.
    """
    peak, shape = peaks(sizes, visual, text, low_memory=way.low_memory, accelerator=True), sizes.decoder
    unpacked = shape.hidden * shape.mlp * shape.value_bytes if way.load_in else 0  # one matrix while it is multiplied

    def of(replicas: int, each: int) -> Layout:
        return Layout(way, replicas, each, weight_bytes(sizes, each, way.load_in), peak.most + unpacked, peak.step)

    divisors = [count for count in range(gpus.number, 0, -1) if gpus.number % count == 0]
    for replicas in divisors:
        found = of(replicas, gpus.number // replicas)
        if found.needed <= gpus.memory:
            return found
    needed = (of(0, each) for each in range(gpus.number + 1, sizes.decoder.layers + 1))
    return next((found for found in needed if found.needed <= gpus.memory), of(0, gpus.number))


def best_layout(sizes: ModelSizes, gpus: Gpus, visual: int, text: int, asked: Way) -> Layout:
    """The layout that was asked for, or if it does not fit, the first that does.

    Tried are, in this order, low memory, and then weights packed into 8 and into 4 bits. If nothing fits, the layout
    that was asked for is returned.
    """
    packed = [asked.load_in] if asked.load_in else [None, "8bit", "4bit"]
    ways = [asked, *(Way(True, load_in) for load_in in packed)]
    found = [layout(sizes, gpus, visual, text, way) for way in ways]
    return next((one for one in found if one.fits), found[0])
