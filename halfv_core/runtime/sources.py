"""Sources: what selectors may look at beside the decoder's hidden states, in one prefill."""

from collections.abc import Sequence

import torch

from halfv_core.plan import Plan
from halfv_core.runtime.token_slots import TokenSlots, true_indices
from halfv_core.runtime.vision_readings import RowReadings, VisionRecorder
from halfv_core.selectors.prompt import VisionReadings


class Sources:
    """What the sub-layers changed so far, what the vision tower saw, and where visual tokens are on the image."""

    def __init__(
        self, plan: Plan, recorder: VisionRecorder | None = None, input_ids: torch.Tensor | None = None
    ) -> None:
        """Begin a prefill.

        Args:
            plan: says what is looked at.
            recorder: of the vision tower, if the plan looks at it.
            input_ids: (B, q) token ids of the prefill, if the plan looks at the vision tower.
        """
        self.observed: frozenset[int] = observed_layers(plan)
        """The layers whose sub-layers are looked at."""
        self._recorder = recorder
        self._input_ids = input_ids
        self._weights: dict[tuple[int, int], torch.Tensor] = {}  # by layer and sub-layer, (B, q)
        self._readings: list[RowReadings] | None = None

    def note_sublayer(
        self, index: int, sublayer: int, before: torch.Tensor, after: torch.Tensor, slots: TokenSlots, whole: TokenSlots
    ) -> None:
        """See `PrefillState.note_sublayer`; `whole` are all tokens of the prefill."""
        from halfv_core.selectors.transprune import transition_weight

        weights = before.new_zeros(whole.positions.shape, dtype=torch.float32)
        for row, count in enumerate(slots.real_counts):
            where = true_indices(slots.real[row : row + 1], count)[0]
            indices = (slots.positions - whole.positions[:, :1])[row, where]
            weights[row, indices] = transition_weight(before[row, where], after[row, where])
        self._weights[index, sublayer] = weights

    def transitions(self, row: int, indices: torch.Tensor) -> torch.Tensor:
        """See `Prompt.transitions`."""
        layers = sorted({layer for layer, _ in self._weights})
        rows = [torch.stack([self._weights[layer, sublayer][row][indices] for sublayer in (0, 1)]) for layer in layers]
        return torch.stack(rows)

    def token_ids(self, row: int, indices: torch.Tensor) -> torch.Tensor:
        """Ids of the tokens with these indices among the q tokens of the prefill."""
        assert self._input_ids is not None, "a prefill with visual tokens has token ids"
        return self._input_ids[row].to(indices.device)[indices]

    def vision(self, row: int, indices: torch.Tensor) -> VisionReadings:
        """What the vision tower saw at the visual tokens with these indices among the q tokens of the prefill."""
        assert self._recorder is not None and self._input_ids is not None, "who reads the vision tower says so"
        is_visual = self._recorder.is_visual(self._input_ids[row]).to(indices.device)
        return self._of_row(row, indices.device).at(is_visual.cumsum(0)[indices] - 1)

    def grids(self, row: int) -> Sequence[tuple[int, int, int]]:
        """See `Prompt.grids`."""
        return self._of_row(row, torch.device("cpu")).grids

    def _of_row(self, row: int, device: torch.device) -> RowReadings:
        assert self._recorder is not None and self._input_ids is not None, "who reads the vision tower says so"
        if self._readings is None:
            self._readings = self._recorder.rows(self._input_ids, device)
        return self._readings[row]


def observed_layers(plan: Plan) -> frozenset[int]:
    """The layers whose sub-layers are looked at: from the one before the first Keep that asks to the last such Keep."""
    asking = [keep.layer for keep in plan.keeps if "transitions" in keep.reads()]
    return frozenset(range(asking[0] - 1, asking[-1])) if asking else frozenset()
