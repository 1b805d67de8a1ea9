"""TokenLayout: which positions of a prompt hold visual tokens, by token id."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch


@dataclass(frozen=True)
class TokenLayout:
    """Where visual, text and padding tokens are in a batch of B prompts of padded length N."""

    visual: torch.Tensor
    """(B, N) bool: the position holds a visual token."""
    real: torch.Tensor
    """(B, N) bool: the position is not padding."""

    @classmethod
    def find(
        cls, input_ids: torch.Tensor, visual_ids: Sequence[int], attention_mask: torch.Tensor | None = None
    ) -> "TokenLayout":
        """Read the layout off the token ids.

        Args:
            input_ids: (B, N) token ids, with one id for each visual token (image placeholders expanded).
            visual_ids: ids that stand for visual tokens.
            attention_mask: (B, N), nonzero at real tokens; None if there is no padding.
        """
        real = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        visual = torch.zeros_like(real)
        for visual_id in visual_ids:  # a few Python numbers; a tensor of them would wait for the device
            visual = visual | (input_ids == visual_id)
        return cls(visual=visual & real, real=real)

    @property
    def rows(self) -> int:
        """Rows of the batch, B."""
        return self.visual.shape[0]

    @property
    def length(self) -> int:
        """Padded length, N."""
        return self.visual.shape[1]

    @property
    def text(self) -> torch.Tensor:
        """(B, N) bool: the position holds a text token; padding is neither text nor visual."""
        return self.real & ~self.visual

    @property
    def last(self) -> torch.Tensor:
        """(B,) position of each row's last real token, which predicts the first answer token; -1 in an empty row."""
        positions = torch.arange(self.length, device=self.real.device)
        return torch.where(self.real, positions, -1).amax(dim=1)

    @property
    def prunable(self) -> torch.Tensor:
        """(B, N) bool: visual tokens, except a row's last real token, which has to predict the answer."""
        return self.visual.scatter(1, self.last.clamp_min(0)[:, None], False)

    @cached_property
    def counts(self) -> "TokenCounts":
        """How many tokens of each kind each row has; the only wait for the device."""
        kinds = (self.visual, self.prunable, self.real)
        return TokenCounts(*map(tuple, torch.stack([kind.sum(1) for kind in kinds]).tolist()))

    @property
    def ends_in_visual(self) -> bool:
        """Whether the last real token of any row is visual."""
        return self.counts.visual != self.counts.prunable

    @property
    def has_visual(self) -> bool:
        """Whether any row holds a visual token."""
        return any(self.counts.visual)


class TokenCounts(NamedTuple):
    """Numbers of tokens, one for each row of the batch."""

    visual: tuple[int, ...]
    prunable: tuple[int, ...]
    real: tuple[int, ...]
