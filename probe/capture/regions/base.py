"""The interface of mappings from visual tokens to image regions: functions of a prompt, registered by `model_type`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from halfv_core.errors import ModelError
from halfv_core.families import Family, parts_of
from halfv_core.processors import PromptProcessor
from halfv_core.registry import Registry
from halfv_core.runtime.layout import TokenLayout
from probe.common.region import Region

Size = tuple[int, int]
"""(width, height), pixels."""


class Prompt(NamedTuple):
    """Everything that a mapping may depend on."""

    inputs: Mapping[str, torch.Tensor]
    """Model inputs, batch of one."""
    sizes: Sequence[Size]
    """Original sizes of the images in the order of the prompt, followed by those of video frames."""
    tokens: int
    """Number of visual tokens."""
    config: PreTrainedConfig
    image_processor: Any
    frames: Sequence[int] = ()
    """How many frames each video has; they are the last of `sizes`."""


Regions = Iterator[Region | None]
"""The region of each visual token in the order of the prompt; None for a token without a place in an image."""

REGIONS: Registry[Callable[[Prompt], Regions]] = Registry("mapping to regions", ModelError)
"""The mappings by the checkpoint's `config.model_type`."""


def regions_of(
    model: PreTrainedModel,
    processor: PromptProcessor,
    inputs: Mapping[str, torch.Tensor],
    sizes: Sequence[Size],
    *,
    frames: Sequence[int] = (),
    family: Family | None = None,
) -> tuple[Region | None, ...] | None:
    """The image region behind each visual token of a prompt, in order.

    Args:
        inputs: model inputs of one prompt, as the processor returned them.
        sizes: sizes of its images, as they were passed to the processor, followed by those of the frames of its videos.
        frames: how many frames each video has.

    Returns:
        One region or None per visual token; None altogether if there is no mapping for the model's `model_type`, or if
        it does not fit the inputs of this processor.
    """
    tokens = int(TokenLayout.find(inputs["input_ids"], parts_of(model, family).visual_ids).visual.sum())
    if model.config.model_type not in REGIONS:
        return None
    prompt = Prompt(inputs, sizes, tokens, model.config, processor.backend.image_processor, frames)
    try:
        regions = tuple(REGIONS[model.config.model_type](prompt))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return None  # another kind of processor, without the settings or outputs that the mapping reads
    return regions if len(regions) == tokens else None


class View(NamedTuple):
    """The part of an image that a grid of tokens covers, as shares of its width and height; padding is outside 0..1."""

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0

    def part(self, left: float, top: float, right: float, bottom: float) -> "View":
        """A part of this view, given as shares of its width and height."""
        width, height = self.right - self.left, self.bottom - self.top
        return View(
            self.left + left * width, self.top + top * height, self.left + right * width, self.top + bottom * height
        )


WHOLE_IMAGE = View()


def in_order(prompt: Prompt, images: Regions, videos: Regions) -> Regions:
    """The regions of images and those of videos, in the order in which their tokens stand in the prompt."""
    ids = prompt.inputs["input_ids"][0].tolist()
    kinds = {_id_of(prompt.config, "image"): images, _id_of(prompt.config, "video"): videos}
    for token in ids:
        if token in kinds and (region := next(kinds[token], _ABSENT)) is not _ABSENT:
            yield region  # type: ignore[misc]
    yield from images  # more than there are tokens, which `regions_of` takes for a mapping that does not fit
    yield from videos


_ABSENT = object()


def _id_of(config: PreTrainedConfig, kind: str) -> int | None:
    found = (getattr(config, f"{kind}_token_{name}", None) for name in ("id", "index"))
    return next((one for one in found if one is not None), None)


def of_one_kind(prompt: Prompt) -> None:
    """Raise ValueError for a prompt with both images and videos, for families whose inputs do not tell them apart."""
    if sum(prompt.frames) not in (0, len(prompt.sizes)):
        raise ValueError("images and videos")


def grid(image: int, rows: int, columns: int, view: View = WHOLE_IMAGE) -> Regions:
    """The cells of a regular grid, row by row, clipped to the image; None for a cell that shows only padding."""
    for row in range(rows):
        for column in range(columns):
            cell = view.part(column / columns, row / rows, (column + 1) / columns, (row + 1) / rows)
            left, top, right, bottom = (min(max(edge, 0.0), 1.0) for edge in cell)
            yield Region(image, left, top, right, bottom) if left < right and top < bottom else None
