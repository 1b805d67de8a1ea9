"""Calls of vision towers that take each image, or each tile of one, as a row of the batch, such as CLIP."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from halfv_core.errors import UnsupportedError
from halfv_core.precision import widened
from halfv_core.runtime.vision_tower import Grid, Image, LayerCall, TowerPass, as_one, column_sums


class ImagePass(TowerPass):
    """Of a tower that takes each image as a row, such as CLIP; each patch is a token."""

    @property
    def has_cls(self) -> bool:
        """See `TowerPass`."""
        return str(self.layers[0].self_attn.config.model_type) == "clip_vision_model"

    @property
    def images(self) -> Sequence[Image]:
        """See `TowerPass`."""
        images, patches = self._projected().shape[:2]
        return [Image((self._square(),), patches + self.has_cls)] * images

    def _square(self) -> Grid:
        """The grid of a row's patches."""
        patches = self._projected().shape[1]
        side = math.isqrt(patches)
        if side * side != patches:
            raise UnsupportedError(
                "the model's visual tokens do not form a square", got=f"{patches} tokens an image", expected="a square"
            )
        return 1, side, side

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
        queries, keys = (widened(as_one(self._heads(call, layer, name), whole)) for name in "qk")
        logits = torch.einsum("ihd,inhd->ihn", queries[:, 0], keys) * queries.shape[-1] ** -0.5
        weights: torch.Tensor = logits.softmax(-1).mean(1)
        return weights[:, 1:].flatten()

    def _column_sums(self, call: LayerCall, layer: Any, whole: bool) -> torch.Tensor:
        queries, keys = (as_one(self._heads(call, layer, name), whole) for name in "qk")
        images, length = queries.shape[:2]
        sums = column_sums(queries.flatten(0, 1), keys.flatten(0, 1), [length] * images)
        return sums.view(images, length)[:, int(self.has_cls) :].flatten()

    def _keys(self, call: LayerCall, layer: Any, whole: bool) -> torch.Tensor:
        keys = widened(as_one(self._heads(call, layer, "k"), whole)).mean(2)
        return keys[:, int(self.has_cls) :].flatten(0, 1)


@dataclass
class TilePass(ImagePass):
    """Of a tower that takes each tile of an image as a row, as in LLaVA-NeXT.

    The tokens are a view of the whole image, then the tiles put together, without what pads the image to their format,
    and with a newline token after each row. For that one the tower computed nothing: its numbers are 0.
    """

    patches: list[torch.Tensor] = field(default_factory=list)
    """By image, (tokens,) indices into the patches of all tiles; -1 for newline tokens."""
    tiles: list[int] = field(default_factory=list)
    """By image, number of its tiles."""

    @property
    def images(self) -> Sequence[Image]:
        """See `TowerPass`."""
        (_, height, width), images = self._square(), []
        for tiles, patches in zip(self.tiles, self.patches, strict=True):
            together, newlines = len(patches) - height * width, int((patches < 0).sum())
            rows = (1, newlines, together // newlines)
            images.append(Image(((1, height, width), rows), tiles * (height * width + self.has_cls)))
        return images

    def note_packing(self, pack: Callable[..., Any], arguments: dict[str, Any]) -> None:
        """Learn where the model puts each patch, by letting it do so with their numbers.

        Args:
            pack: the core's `pack_image_features`.
            arguments: with which it is called, by name.
        """
        features = arguments["image_features"]
        self.tiles = [len(of_image) for of_image in features]
        rows, patches = sum(self.tiles), features[0].shape[1]
        numbers = torch.arange(rows * patches, dtype=torch.float32, device=features[0].device).view(rows, patches, 1)
        numbered = arguments | {
            "image_features": numbers.split(self.tiles),
            "image_newline": numbers.new_full((1,), -1.0),
        }
        self.patches = [of_image[:, 0].long() for of_image in pack(**numbered)[0]]

    def features(self) -> torch.Tensor:
        """See `TowerPass`."""
        return self._packed(super().features())

    def _cls_attention(self, call: LayerCall, layer: Any, whole: bool) -> torch.Tensor:
        return self._packed(super()._cls_attention(call, layer, whole))

    def _column_sums(self, call: LayerCall, layer: Any, whole: bool) -> torch.Tensor:
        return self._packed(super()._column_sums(call, layer, whole))

    def _keys(self, call: LayerCall, layer: Any, whole: bool) -> torch.Tensor:
        return self._packed(super()._keys(call, layer, whole))

    def _packed(self, of_patches: torch.Tensor) -> torch.Tensor:
        """(tiles * patches, ...) -> (T, ...), 0 for newline tokens."""
        patches = torch.cat(self.patches).to(of_patches.device)
        of_tokens = of_patches.index_select(0, patches.clamp_min(0))
        of_tokens[patches < 0] = 0.0
        return of_tokens
