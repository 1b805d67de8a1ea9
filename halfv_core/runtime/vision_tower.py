"""TowerPass: one call of a model's vision tower, and what can be computed of it again when it is asked for.

Attention matrices are not kept by fast kernels. They are made anew from what entered a layer, by the layer's own norm
and projections: queries and keys in the model's dtype, everything after them in float32, a block of them at a time.
"""

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from halfv_core.errors import UnsupportedError
from halfv_core.placement import parts_callable
from halfv_core.precision import no_autocast, widened

Grid = tuple[int, int, int]
BLOCK = 2**26
"""Most attention weights that are in memory at a time."""


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
    def grids(self) -> Sequence[Grid]:
        """(frames, height, width) in visual tokens of each image or video."""

    @property
    @abstractmethod
    def queries_per_token(self) -> float:
        """Number of the tower's queries divided by T."""

    @property
    def tokens(self) -> int:
        """T."""
        return sum(frames * height * width for frames, height, width in self.grids)

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


class ImagePass(TowerPass):
    """Of a tower that takes each image as a row, such as CLIP; each patch is a token."""

    @property
    def has_cls(self) -> bool:
        """See `TowerPass`."""
        return str(self.layers[0].self_attn.config.model_type) == "clip_vision_model"

    @property
    def grids(self) -> Sequence[Grid]:
        """See `TowerPass`."""
        images, patches = self._projected().shape[:2]
        side = math.isqrt(patches)
        if side * side != patches:
            raise UnsupportedError(
                "the model's visual tokens do not form a square", got=f"{patches} tokens an image", expected="a square"
            )
        return [(1, side, side)] * images

    @property
    def queries_per_token(self) -> float:
        """See `TowerPass`."""
        patches = self._projected().shape[1]
        return (patches + self.has_cls) / patches

    def features(self) -> torch.Tensor:
        """See `TowerPass`."""
        return self._projected().flatten(0, 1)

    def to_projector(self, features: torch.Tensor) -> torch.Tensor:
        """See `TowerPass`."""
        return features[None]

    def _heads(self, call: LayerCall, layer: Any, projection: str) -> torch.Tensor:
        """(images, n, H, d) queries or keys."""
        patches = self._projected().shape[1]
        if call.hidden.shape[1] != patches + self.has_cls:
            raise UnsupportedError(
                "it is not known which patch a visual token is",
                got=f"{patches} tokens of {call.hidden.shape[1]} states an image",
                expected="vision_feature_select_strategy='default' in the model's config",
            )
        attention = layer.self_attn
        project: nn.Linear = getattr(attention, f"{projection}_proj")
        states: torch.Tensor = project(layer.layer_norm1(call.hidden))
        return states.view(*states.shape[:-1], -1, attention.head_dim)

    def _cls_attention(self, call: LayerCall, layer: Any, whole: bool) -> torch.Tensor:
        queries, keys = (widened(_as_one(self._heads(call, layer, name), whole)) for name in "qk")
        logits = torch.einsum("ihd,inhd->ihn", queries[:, 0], keys) * queries.shape[-1] ** -0.5
        weights: torch.Tensor = logits.softmax(-1).mean(1)
        return weights[:, 1:].flatten()

    def _column_sums(self, call: LayerCall, layer: Any, whole: bool) -> torch.Tensor:
        queries, keys = (_as_one(self._heads(call, layer, name), whole) for name in "qk")
        images, length = queries.shape[:2]
        sums = column_sums(queries.flatten(0, 1), keys.flatten(0, 1), [length] * images)
        return sums.view(images, length)[:, int(self.has_cls) :].flatten()

    def _keys(self, call: LayerCall, layer: Any, whole: bool) -> torch.Tensor:
        keys = widened(_as_one(self._heads(call, layer, "k"), whole)).mean(2)
        return keys[:, int(self.has_cls) :].flatten(0, 1)


@dataclass
class PackedPass(TowerPass):
    """Of a tower that takes the patches of all images as one sequence; `merge` x `merge` of them are a token."""

    patch_grids: Sequence[Grid] = ()
    """(frames, height, width) in patches of each image or video."""
    merge: int = 2
    window: int | None = None
    """Side of an attention window in tokens, if the tower puts patches into the order of its windows."""

    @property
    def has_cls(self) -> bool:
        """See `TowerPass`."""
        return False

    @property
    def grids(self) -> Sequence[Grid]:
        """See `TowerPass`."""
        return [(frames, height // self.merge, width // self.merge) for frames, height, width in self.patch_grids]

    @property
    def queries_per_token(self) -> float:
        """See `TowerPass`."""
        return float(self.merge**2)

    def features(self) -> torch.Tensor:
        """See `TowerPass`."""
        return self._in_order(self._projected().reshape(self.tokens, -1))

    def to_projector(self, features: torch.Tensor) -> torch.Tensor:
        """See `TowerPass`."""
        return features.reshape(len(features) * self.merge**2, -1)

    def _heads(self, call: LayerCall, layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """(patches, H, d) queries and keys."""
        attention = layer.attn
        states = attention.qkv(layer.norm1(call.hidden)).unflatten(-1, (3, attention.num_heads, -1))
        queries, keys, _ = states.unbind(1)
        return queries, keys

    def _cls_attention(self, call: LayerCall, layer: Any, whole: bool) -> torch.Tensor:
        raise UnsupportedError("the vision tower has no CLS token")

    def _column_sums(self, call: LayerCall, layer: Any, whole: bool) -> torch.Tensor:
        rotate = sys.modules[type(layer.attn).__module__].apply_rotary_pos_emb_vision
        queries, keys = rotate(*self._heads(call, layer), *call.arguments["position_embeddings"])
        lengths = call.arguments["cu_seqlens"].diff().tolist()
        sums = column_sums(_as_one(queries, whole), _as_one(keys, whole), lengths)
        return self._in_order(sums.view(self.tokens, -1).mean(1))

    def _keys(self, call: LayerCall, layer: Any, whole: bool) -> torch.Tensor:
        keys = widened(_as_one(self._heads(call, layer)[1], whole)).mean(1)
        return self._in_order(keys.view(self.tokens, self.merge**2, -1).mean(1))

    def _in_order(self, of_tokens: torch.Tensor) -> torch.Tensor:
        """(T, ...) in the order in which the tower computes -> (T, ...) in the order of the prompt."""
        if self.window is None:
            return of_tokens
        order = window_order(self.grids, self.window).to(of_tokens.device)
        return torch.empty_like(of_tokens).index_copy_(0, order, of_tokens)


def _as_one(heads: torch.Tensor, whole: bool) -> torch.Tensor:
    """(..., H, d) as they are, or (..., 1, H d) if `whole`."""
    return heads.flatten(-2)[..., None, :] if whole else heads


def window_order(grids: Sequence[Grid], window: int) -> torch.Tensor:
    """(T,) indices of the tokens in the order of windows: frame by frame, window by window, row by row in each.

    Args:
        grids: in tokens, read row by row.
        window: side of a window in tokens; windows at the right and lower edges may be smaller.
    """
    orders, first = [], 0
    for frames, height, width in grids:
        frame, row, column = torch.meshgrid(*map(torch.arange, (frames, height, width)), indexing="ij")
        place = frame
        for part, size in ((row // window, height), (column // window, width), (row % window, window)):
            place = place * size + part
        place = place * window + column % window
        orders.append(place.flatten().argsort() + first)
        first += frames * height * width
    return torch.cat(orders)


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
