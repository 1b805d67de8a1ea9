"""Where the visual tokens of a prompt are on the grids of its images, from what the vision tower was given."""

import math
from collections.abc import Sequence
from contextlib import suppress
from functools import wraps
from typing import Any

import torch
from transformers import PreTrainedModel

from halfv_core.errors import UnsupportedError
from halfv_core.families import Family, family_of, parts_of
from halfv_core.runtime.patching import Forward, Wrap
from halfv_core.runtime.prompt_view import Grids
from halfv_core.runtime.vision_readings import VisionRecorder


class GridRecorder:
    """Records the grids of one prompt while the model runs it, without a pass of its own."""

    def __init__(self, model: PreTrainedModel, input_ids: torch.Tensor, family: Family | None = None) -> None:
        """Prepare to record.

        Args:
            input_ids: (1, N) token ids of the prompt.
        """
        # Before the default: parts_of takes a family that it is given for one described by hand.
        self._core = parts_of(model, family).core
        family = family or family_of(model)
        self._input_ids = input_ids
        self._tiles = family.tower is not None and family.tower.tiles
        # Without a tower that is described, it is not known where tokens are.
        self._vision = None if family.tower is None else VisionRecorder(model, family, ())
        self._grids: Grids | None = None

    def wraps(self) -> list[Wrap]:
        """The methods to wrap while the model runs."""
        if self._vision is None:
            return []
        return [*self._vision.wraps(), Wrap(self._core, "forward", self._around_core)]

    def _around_core(self, forward: Forward) -> Forward:
        vision = self._vision
        assert vision is not None

        @wraps(forward)
        def run(*args: Any, **kwargs: Any) -> Any:
            vision.begin(kwargs.get("mm_encoder_outputs"))
            try:
                output = forward(*args, **kwargs)
                with suppress(UnsupportedError):  # the tokens form no grid
                    self._grids = vision.rows(self._input_ids, torch.device("cpu"))[0].grids
                return output
            finally:
                vision.end()

        return run

    def result(self) -> tuple[torch.Tensor, ...] | None:
        """Of each grid, (frames, height, width) indices into the visual tokens; None if the grids are not known.

        An image of LLaVA-NeXT has two grids, the view of the whole and the tiles put together. The newline tokens
        behind each row of the latter are on no grid.
        """
        return None if self._grids is None else places(self._grids, tiles=self._tiles)


def places(grids: Sequence[tuple[int, int, int]], *, tiles: bool = False) -> tuple[torch.Tensor, ...]:
    """Number the tokens of grids that follow each other, each frame by frame and row by row.

    Args:
        grids: (frames, height, width) of each.
        tiles: whether the last column of every second grid are newline tokens, which are left out.
    """
    found, first = [], 0
    for index, grid in enumerate(grids):
        tokens = torch.arange(first, first + math.prod(grid)).view(grid)
        first += tokens.numel()
        found.append(tokens[..., :-1] if tiles and index % 2 else tokens)
    return tuple(found)
