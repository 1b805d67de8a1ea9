"""What a mapping from visual tokens to places is: a function of one prompt, registered for a `model_type`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from halfv_core.errors import ModelError
from halfv_core.families import Family, parts_of
from halfv_core.processors import PromptProcessor
from halfv_core.registry import Registry
from halfv_core.runtime.layout import TokenLayout
from probe.calibration.observations import Region

Size = tuple[int, int]
"""(width, height), pixels."""


class Prompt(NamedTuple):
    """What a mapping may look at."""

    inputs: Mapping[str, torch.Tensor]
    """Model inputs, batch of one."""
    sizes: Sequence[Size]
    """Of the images as they were given, in the order of the prompt, then of the frames of videos."""
    tokens: int
    """Visual tokens."""
    config: PreTrainedConfig
    image_processor: Any


Places = Iterator[Region | None]
"""Of each visual token in the order of the prompt, None where it looks at no place."""

REGIONS: Registry[Callable[[Prompt], Places]] = Registry("mapping to regions", ModelError)
"""By the checkpoint's `config.model_type`."""


def regions_of(
    model: PreTrainedModel,
    processor: PromptProcessor,
    inputs: Mapping[str, torch.Tensor],
    sizes: Sequence[Size],
    *,
    family: Family | None = None,
) -> tuple[Region | None, ...] | None:
    """What each visual token of a prompt looks at, in order.

    Args:
        inputs: of one prompt, as the processor made them.
        sizes: of its images, as they were given to the processor.

    Returns:
        None where there is no mapping for the model's family, or it does not fit what this processor made.
    """
    tokens = int(TokenLayout.find(inputs["input_ids"], parts_of(model, family).visual_ids).visual.sum())
    if model.config.model_type not in REGIONS:
        return None
    prompt = Prompt(inputs, sizes, tokens, model.config, processor.backend.image_processor)
    try:
        found = tuple(REGIONS[model.config.model_type](prompt))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return None  # a processor of another make, without the settings or outputs that the mapping reads
    return found if len(found) == tokens else None


class View(NamedTuple):
    """What a grid of tokens covers of an image, as shares of its sides; padding lies beyond 0..1."""

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0

    def part(self, left: float, top: float, right: float, bottom: float) -> "View":
        """A box in this one, given in shares of this one."""
        width, height = self.right - self.left, self.bottom - self.top
        return View(
            self.left + left * width, self.top + top * height, self.left + right * width, self.top + bottom * height
        )


WHOLE = View()


def grid(image: int, rows: int, columns: int, view: View = WHOLE) -> Places:
    """Cells of equal size, row by row, cut to the image; None where a cell shows padding only."""
    for row in range(rows):
        for column in range(columns):
            cell = view.part(column / columns, row / rows, (column + 1) / columns, (row + 1) / rows)
            left, top, right, bottom = (min(max(edge, 0.0), 1.0) for edge in cell)
            yield Region(image, left, top, right, bottom) if left < right and top < bottom else None
