"""Calls of vision towers that take the patches of all images as one sequence, as those of the Qwen families."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from halfv_core.errors import UnsupportedError
from halfv_core.precision import widened
from halfv_core.runtime.vision_tower import Grid, Image, LayerCall, TowerPass, as_one, column_sums


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
    def images(self) -> Sequence[Image]:
        """See `TowerPass`."""
        return [Image((grid,), math.prod(grid) * self.merge**2) for grid in self._grids()]

    def _grids(self) -> list[Grid]:
        """In tokens."""
        return [(frames, height // self.merge, width // self.merge) for frames, height, width in self.patch_grids]

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
        sums = column_sums(as_one(queries, whole), as_one(keys, whole), lengths)
        return self._in_order(sums.view(self.tokens, -1).mean(1))

    def _keys(self, call: LayerCall, layer: Any, whole: bool) -> torch.Tensor:
        keys = widened(as_one(self._heads(call, layer)[1], whole)).mean(1)
        return self._in_order(keys.view(self.tokens, self.merge**2, -1).mean(1))

    def _in_order(self, of_tokens: torch.Tensor) -> torch.Tensor:
        """(T, ...) in the order in which the tower computes -> (T, ...) in the order of the prompt."""
        if self.window is None:
            return of_tokens
        order = window_order(self._grids(), self.window).to(of_tokens.device)
        return torch.empty_like(of_tokens).index_copy_(0, order, of_tokens)


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
