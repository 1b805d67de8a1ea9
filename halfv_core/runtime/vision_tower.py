"""TowerPass: one call of a model's vision tower, and what can be computed of it again when it is asked for.

Attention matrices are not kept by fast kernels. They are made anew from what entered a layer, by the layer's own norm
and projections: queries and keys in the model's dtype, everything after them in float32, a block of them at a time.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from halfv_core.errors import UnsupportedError
from halfv_core.placement import parts_callable
from halfv_core.precision import no_autocast, widened

Grid = tuple[int, int, int]
"""(frames, height, width)."""
BLOCK = 2**26
"""Most attention weights that are in memory at a time."""


class Image(NamedTuple):
    """One of the images or videos that a tower saw."""

    grids: tuple[Grid, ...]
    """The grids that its visual tokens form, one after the other, read row by row."""
    queries: int
    """Number of states that attend in each of the tower's layers."""

    @property
    def tokens(self) -> int:
        """Number of its visual tokens."""
        return sum(map(math.prod, self.grids))


@dataclass
class TowerPass(ABC):
    """What a call of the tower made of its images or videos, T visual tokens in their order."""

    layers: Sequence[Any]
    """Of the tower."""
    inputs: dict[int, "LayerCall"] = field(default_factory=dict)
    """By layer, what it was called with."""
    projected: torch.Tensor | None = None
    """What the projector was called with."""
    _known: dict[tuple[str, int, bool], torch.Tensor] = field(default_factory=dict)

    @property
    @abstractmethod
    def has_cls(self) -> bool:
        """Whether the tower has a CLS token."""

    @property
    @abstractmethod
    def images(self) -> Sequence[Image]:
        """The images or videos, in the order of their tokens."""

    @property
    def tokens(self) -> int:
        """T."""
        return sum(image.tokens for image in self.images)

    def cls_attention(self, layer: int, whole: bool) -> torch.Tensor:
        """(T,) float32: attention of each image's CLS token, mean over heads, or as if there were one, if `whole`."""
        return self._once("cls_attention", layer, whole)

    def column_sums(self, layer: int, whole: bool) -> torch.Tensor:
        """(T,) float32: attention that each token gets, summed over queries, mean over heads and its patches."""
        return self._once("column_sums", layer, whole)

    def keys(self, layer: int, whole: bool) -> torch.Tensor:
        """(T, d) float32: keys, not rotated, mean over heads and a token's patches; (T, H d) if `whole`."""
        return self._once("keys", layer, whole)

    @abstractmethod
    def features(self) -> torch.Tensor:
        """(T, D_v): what the projector took."""

    @abstractmethod
    def to_projector(self, features: torch.Tensor) -> torch.Tensor:
        """(k, D_v) in the shape in which the projector takes them; it returns (..., D) for k tokens."""

    def _once(self, what: str, layer: int, whole: bool) -> torch.Tensor:
        """Computed at the first call only; rows of a batch ask one after the other."""
        if (what, layer, whole) not in self._known:
            if layer not in self.inputs:
                raise UnsupportedError(f"nobody said that layer {layer} of the vision tower would be looked at")
            call = self.inputs[layer]
            compute: Callable[[LayerCall, Any, bool], torch.Tensor] = getattr(self, f"_{what}")
            with torch.no_grad(), parts_callable(self.layers[layer]), no_autocast(call.hidden.device):
                self._known[what, layer, whole] = compute(call, self.layers[layer], whole)
        return self._known[what, layer, whole]

    def _projected(self) -> torch.Tensor:
        if self.projected is None:
            raise UnsupportedError("the vision tower was called without the model's projector")
        return self.projected


@dataclass(frozen=True)
class LayerCall:
    """What a layer of the tower was called with."""

    hidden: torch.Tensor
    """(images, tokens, D), or (patches, D) of a packed tower."""
    arguments: dict[str, Any]


def as_one(heads: torch.Tensor, whole: bool) -> torch.Tensor:
    """(..., H, d) as they are, or (..., 1, H d) if `whole`."""
    return heads.flatten(-2)[..., None, :] if whole else heads


def column_sums(queries: torch.Tensor, keys: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """Attention that each position gets from all queries of its own segment, mean over heads.

    Args:
        queries: (n, H, d).
        keys: (n, H, d).
        lengths: of the segments, which follow each other; n together.

    Returns:
        (n,) float32; the sum over a segment is its length.
    """
    (n, heads, width), device = queries.shape, queries.device
    starts = torch.tensor(lengths).cumsum(0) - torch.tensor(lengths)
    sums = torch.zeros(n, dtype=torch.promote_types(queries.dtype, torch.float32), device=device)
    for length in sorted(set(lengths)):  # segments of one length together
        places = starts[torch.tensor(lengths) == length][:, None] + torch.arange(length)  # (segments, length)
        at_a_time = max(1, BLOCK // (heads * length * length))
        for part in places.to(device).split(at_a_time):
            q, k = (widened(states[part]).transpose(1, 2) for states in (queries, keys))  # (segments, H, length, d)
            for block in q.split(max(1, BLOCK // (heads * length * len(part))), dim=2):
                weights = (block @ k.mT * width**-0.5).softmax(-1)
                sums[part] += weights.sum(2).mean(1)
    return sums
