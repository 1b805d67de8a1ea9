"""VisionRecorder: what the vision tower computed for the visual tokens of each row of a batch.

It notes what enters the tower's layers while the model runs, whether the core calls the tower or generate() does so
beforehand, and computes from it what selectors ask for. In the order in which a call of the core needs it:

    recorder = VisionRecorder(model, family, layers)      # in apply(); its wraps() go to `wrapped`
    recorder.begin(kwargs.get("mm_encoder_outputs"))      # before the core's own forward
    rows = recorder.rows(input_ids, device)               # at layer 0 or later, when they are needed
    recorder.end()                                        # after the core's forward
"""

import inspect
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial, wraps
from threading import local
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from halfv_core.errors import ModelError, PlanError, UnsupportedError
from halfv_core.families.base import Family, family_of
from halfv_core.placement import device_of
from halfv_core.runtime.patching import Forward, Wrap
from halfv_core.runtime.vision_images import ImagePass, TilePass
from halfv_core.runtime.vision_packed import PackedPass
from halfv_core.runtime.vision_tower import Grid, Image, LayerCall, TowerPass
from halfv_core.wrappers import plain_model

_PASS = "_halfv_tower_pass"
"""Attribute of the tower's output that holds the pass; generate() hands that output on to the core."""


class _Call(local):
    """What the vision tower did in a thread."""

    under_way: TowerPass | None = None
    """While the tower runs."""
    passes: Mapping[str, TowerPass] = {}
    """By modality, what it made of the images of the core's call that is under way."""


class VisionRecorder:
    """The vision tower of one model inside an `apply()` block.

    Args:
        model: a loaded model.
        family: its description; by default, the registered family.
        layers: those of the tower's layers that will be looked at, perhaps counted from its end.

    Raises:
        UnsupportedError: the family's tokens do not correspond to patches of its tower in a way that is known.
        ModelError: the model lacks a module that the family names.
        PlanError: the tower does not have one of the layers.
    """

    def __init__(self, model: PreTrainedModel, family: Family | None, layers: Collection[int]) -> None:
        model = plain_model(model)
        family = family or family_of(model)
        if family.tower is None:
            raise UnsupportedError(
                f"{family.name}: it is not known which patches of the vision tower a visual token is made of",
                expected="a family whose vision tower is described in its file, such as LLaVA or Qwen2.5-VL",
                remedy="choose a selector that does not look at the vision tower",
            )
        self._tower = family.tower
        self._config = model.config
        self._core = _module(model, (family.core,))
        self._layers: Sequence[Any] = list(_module(model, family.tower.layers).children())
        self._projector = _module(model, (family.tower.projector,))
        self._project: Forward = self._projector
        self._ids = {
            name.removesuffix("_token_id"): getattr(model.config, name)
            for name in family.visual_tokens
            if isinstance(getattr(model.config, name, None), int)
        }
        self._recorded = sorted({self.from_start(layer) for layer in layers})
        self._call = _Call()

    def from_start(self, layer: int) -> int:
        """The number of a layer that may be counted from the tower's end."""
        depth = len(self._layers)
        if not -depth <= layer < depth:
            raise PlanError("the vision tower has no such layer", got=layer, expected=f"{-depth}..{depth - 1}")
        return layer % depth

    def wraps(self) -> list[Wrap]:
        """The methods to wrap, with `patching.wrapped`, as long as the recorder is in use."""

        def around_features(modality: str, features: Forward) -> Forward:
            @wraps(features)
            def run_features(*args: Any, **kwargs: Any) -> Any:
                if self._call.under_way is not None:  # Qwen3-VL takes videos through the method for images
                    return features(*args, **kwargs)
                arguments = inspect.signature(features).bind_partial(*args, **kwargs).arguments
                one_pass = self._call.under_way = self._new_pass(modality, arguments)
                try:
                    output = features(*args, **kwargs)
                finally:
                    self._call.under_way = None
                self._call.passes = {**self._call.passes, modality: one_pass}
                with suppress(AttributeError):  # a tuple
                    setattr(output, _PASS, one_pass)
                return output

            return run_features

        def around_layer(index: int, forward: Forward) -> Forward:
            @wraps(forward)
            def run_layer(hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
                if self._call.under_way is not None:
                    self._call.under_way.inputs[index] = LayerCall(hidden_states.detach(), kwargs)
                return forward(hidden_states, *args, **kwargs)

            return run_layer

        def around_projector(forward: Forward) -> Forward:
            self._project = forward

            @wraps(forward)
            def run_projector(states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
                if self._call.under_way is not None:
                    self._call.under_way.projected = states.detach()
                return forward(states, *args, **kwargs)

            return run_projector

        def around_pack(pack: Forward) -> Forward:
            @wraps(pack)
            def run_pack(*args: Any, **kwargs: Any) -> Any:
                if isinstance(self._call.under_way, TilePass):
                    arguments = inspect.signature(pack).bind(*args, **kwargs).arguments
                    self._call.under_way.note_packing(pack, arguments)
                return pack(*args, **kwargs)

            return run_pack

        features = [
            Wrap(self._core, f"get_{modality}_features", partial(around_features, modality))
            for modality in self._ids
            if hasattr(self._core, f"get_{modality}_features")
        ]
        layers = [Wrap(self._layers[index], "forward", partial(around_layer, index)) for index in self._recorded]
        packing = [Wrap(self._core, "pack_image_features", around_pack)] if self._tower.tiles else []
        return [*features, *layers, *packing, Wrap(self._projector, "forward", around_projector)]

    def _new_pass(self, modality: str, arguments: Mapping[str, Any]) -> TowerPass:
        if not self._tower.packed:
            return TilePass(self._layers) if self._tower.tiles else ImagePass(self._layers)
        vision = self._config.vision_config
        window = vision.window_size // vision.patch_size // vision.spatial_merge_size if self._tower.windows else None
        grid = arguments[f"{modality}_grid_thw"]
        grids: list[Grid] = [(frames, height, width) for frames, height, width in grid.tolist()]
        return PackedPass(self._layers, patch_grids=grids, merge=vision.spatial_merge_size, window=window)

    def begin(self, encoded: Mapping[str, Any] | None) -> None:
        """A call of the core begins.

        Args:
            encoded: the call's `mm_encoder_outputs`, what the tower made of its images before.
        """
        found = {modality: getattr(output, _PASS, None) for modality, output in (encoded or {}).items()}
        self._call.passes = {modality: known for modality, known in found.items() if known is not None}

    def end(self) -> None:
        """The call of the core has ended, and nothing is asked any more."""
        self._call.passes = {}

    def rows(self, input_ids: torch.Tensor, device: torch.device) -> list["RowReadings"]:
        """What the tower made of the images of the core's call that is under way.

        Args:
            input_ids: (B, q) token ids of the call.
            device: on which the readings are wanted.

        Returns:
            One for each row.

        Raises:
            UnsupportedError: the tower ran before the recorder was in use, or its tokens are not those of the prompt.
        """
        passes = self._call.passes
        ids, tokens = input_ids.cpu(), sum(one_pass.tokens for one_pass in passes.values())
        masks = {modality: ids == visual_id for modality, visual_id in self._ids.items()}
        visual = int(sum(int(mask.sum()) for mask in masks.values()))
        copies = visual // tokens if tokens else 0  # of each row: generate() repeats prompts for beams, not images
        if visual == 0:
            return [RowReadings(self, (), torch.empty(0, dtype=torch.long), device) for _ in ids]
        if tokens == 0 or visual != copies * tokens or len(ids) % copies:
            raise UnsupportedError(
                "what the vision tower made of the images is not known",
                got=f"{tokens} tokens that it made for {visual} in the prompt",
                expected="pixel values, or the outputs of the tower under this plan",
                remedy="pass pixel_values instead of mm_encoder_outputs",
            )
        index, first = torch.full_like(ids[::copies], -1), 0
        for modality, mask in masks.items():
            mask, one_pass = mask[::copies], passes.get(modality)
            if int(mask.sum()) != (0 if one_pass is None else one_pass.tokens):
                raise UnsupportedError(
                    f"the vision tower made another number of tokens than the prompt has for its {modality}s",
                    got=0 if one_pass is None else one_pass.tokens,
                    expected=int(mask.sum()),
                )
            if one_pass is not None:
                index[mask] = torch.arange(first, first + one_pass.tokens)
                first += one_pass.tokens
        in_order = tuple(passes[modality] for modality in masks if modality in passes)
        rows = [RowReadings(self, in_order, row[row >= 0], device) for row in index]
        return [row for row in rows for _ in range(copies)]

    def is_visual(self, ids: torch.Tensor) -> torch.Tensor:
        """Whether token ids stand for visual tokens; of their shape."""
        return torch.isin(ids, torch.tensor(list(self._ids.values()), device=ids.device))

    def project(self, one_pass: TowerPass, features: torch.Tensor) -> torch.Tensor:
        """(k, D_v) -> (k, D): see `VisionReadings.project`."""
        states = one_pass.to_projector(features.to(device_of(self._projector), one_pass.features().dtype))
        projected: torch.Tensor = self._project(states)
        return projected.reshape(len(features), -1)


@dataclass(frozen=True)
class RowReadings:
    """What the tower made of one prompt; implements `VisionReadings`."""

    _recorder: VisionRecorder
    _passes: tuple[TowerPass, ...]
    _tokens: torch.Tensor
    """(V,) indices into the tokens of all passes."""
    _device: torch.device
    _places: torch.Tensor | None = None
    """(k,) indices into these V tokens, if the readings are of some of them only."""

    def at(self, places: torch.Tensor) -> "RowReadings":
        """The readings of some of the row's visual tokens.

        Args:
            places: (k,) indices into all visual tokens of the prompt, in its order; the readings are on their device.
        """
        return RowReadings(self._recorder, self._passes, self._tokens, places.device, places)

    @property
    def _images(self) -> list[Image]:
        """The images or videos of the prompt, in its order."""
        images = [image for one_pass in self._passes for image in one_pass.images]
        sizes = torch.tensor([image.tokens for image in images], dtype=torch.long)
        of_token = torch.arange(len(images)).repeat_interleave(sizes)
        return [images[number] for number in of_token[self._tokens].unique_consecutive().tolist()]

    @property
    def grids(self) -> list[Grid]:
        """(frames, height, width) in visual tokens of each image or video of the whole prompt, in its order.

        An image of LLaVA-NeXT counts as two: the view of the whole, and the tiles together, where the last column are
        newline tokens.
        """
        return [grid for image in self._images for grid in image.grids]

    @property
    def has_cls(self) -> bool:
        """See `VisionReadings`."""
        return all(one_pass.has_cls for one_pass in self._passes)

    def attention(self, layer: int, *, whole: bool = False) -> torch.Tensor:
        """See `VisionReadings`."""
        if not self.has_cls:
            return self.column_mean(layer, whole=whole)
        return self._of_row([one_pass.cls_attention(self._number(layer), whole) for one_pass in self._passes])

    def column_mean(self, layer: int, *, whole: bool = False) -> torch.Tensor:
        """See `VisionReadings`."""
        queries = sum(image.queries for image in self._images)
        return self._of_row([one_pass.column_sums(self._number(layer), whole) for one_pass in self._passes]) / queries

    def keys(self, layer: int, *, whole: bool = False) -> torch.Tensor:
        """See `VisionReadings`."""
        return self._of_row([one_pass.keys(self._number(layer), whole) for one_pass in self._passes])

    def features(self) -> torch.Tensor:
        """See `VisionReadings`."""
        return self._of_row([one_pass.features() for one_pass in self._passes])

    def project(self, features: torch.Tensor) -> torch.Tensor:
        """See `VisionReadings`."""
        with torch.no_grad():
            return self._recorder.project(self._passes[0], features).to(self._device)

    def _number(self, layer: int) -> int:
        return self._recorder.from_start(layer)

    def _of_row(self, of_passes: Sequence[torch.Tensor]) -> torch.Tensor:
        of_all = of_passes[0] if len(of_passes) == 1 else torch.cat(list(of_passes))
        of_row = of_all.index_select(0, self._tokens.to(of_all.device, non_blocking=True)).to(self._device)
        return of_row if self._places is None else of_row.index_select(0, self._places)


def _module(model: nn.Module, paths: Sequence[str]) -> nn.Module:
    """The module at the first of the dotted paths that the model has."""
    for path in paths:
        with suppress(AttributeError):
            return model.get_submodule(path)
    raise ModelError("the model has no vision tower where its family says", expected=" or ".join(paths))
