"""Sources: what selectors may look at beside the decoder's hidden states, in one prefill."""

from collections.abc import Sequence

import torch

from halfv_core.errors import UnsupportedError
from halfv_core.families.base import Parts
from halfv_core.plan import Plan
from halfv_core.runtime.token_slots import TokenSlots, true_indices
from halfv_core.selectors.prompt import VisionReadings


class Sources:
    """What the sub-layers changed so far, what the vision tower saw, and where visual tokens are on the image."""

    def __init__(self, parts: Parts, plan: Plan) -> None:
        self._parts = parts
        self.observed: frozenset[int] = observed_layers(plan)
        """The layers whose sub-layers are looked at."""
        self._weights: dict[tuple[int, int], torch.Tensor] = {}  # by layer and sub-layer, (B, q)

    def note_sublayer(
        self, index: int, sublayer: int, before: torch.Tensor, after: torch.Tensor, slots: TokenSlots, whole: TokenSlots
    ) -> None:
        """See `PrefillState.note_sublayer`; `whole` are all tokens of the prefill."""
        from halfv_core.selectors.transprune import transition_weights

        weights = before.new_zeros(whole.positions.shape, dtype=torch.float32)
        for row, count in enumerate(slots.real_counts):
            where = true_indices(slots.real[row : row + 1], count)[0]
            indices = (slots.positions - whole.positions[:, :1])[row, where]
            weights[row, indices] = transition_weights(before[row, where], after[row, where])
        self._weights[index, sublayer] = weights

    def transitions(self, row: int, indices: torch.Tensor) -> torch.Tensor:
        """See `Prompt.transitions`."""
        layers = sorted({layer for layer, _ in self._weights})
        rows = [torch.stack([self._weights[layer, sublayer][row][indices] for sublayer in (0, 1)]) for layer in layers]
        return torch.stack(rows)

    def vision(self, row: int, indices: torch.Tensor) -> VisionReadings:
        """What the vision tower saw at the visual tokens with these indices among the q tokens of the prefill."""
        raise UnsupportedError("the vision tower of this family cannot be read")

    def grids(self, row: int) -> Sequence[tuple[int, int, int]]:
        """See `Prompt.grids`."""
        raise UnsupportedError("the visual tokens of this family are not known to form a grid")


def observed_layers(plan: Plan) -> frozenset[int]:
    """The layers whose sub-layers are looked at: from the one before the first Keep that asks to the last such Keep."""
    asking = [keep.layer for keep in plan.keeps if "transitions" in keep.reads()]
    return frozenset(range(asking[0] - 1, asking[-1])) if asking else frozenset()
