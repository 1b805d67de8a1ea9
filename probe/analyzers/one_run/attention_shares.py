"""Attention shares: how the last prompt token's attention is split between system text, visual tokens and question.

    share_h(g) = sum over tokens j of group g of A_h[last, j]        at layer l, head h; the groups sum to 1

Groups: text before the first visual token (`before`), visual tokens (`visual`), text after it (`after`; text between
images counts here). FastV (arXiv 2403.06764) draws these shares by layer; YOPO ranks heads by the visual one. Unit: a
share, 0..1. Cost: one row of attention in each layer, recomputed from the layer's input; no pass beside the shared run.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from halfv_core.runtime.prompt_view import PromptView
from probe.analyzers.findings import AnyFinding, head_map, layer_series
from probe.analyzers.probe import PROBES, Item, Probe
from probe.capture.prompt_run import PromptRun

GROUPS = ("before", "visual", "after")


def attention_shares(attention: torch.Tensor, visual: torch.Tensor) -> torch.Tensor:
    """Split attention rows between the groups.

    Args:
        attention: (..., n), non-negative.
        visual: (n,) bool, at least one True.

    Returns:
        (..., 3): before, visual, after.
    """
    first = int(visual.nonzero()[0, 0])
    whole, own = attention.sum(-1), attention[..., visual].sum(-1)
    before = attention[..., :first].sum(-1)
    return torch.stack([before, own, whole - before - own], dim=-1)


@PROBES.register("shares")
class AttentionShares(Probe):
    """Shares by layer and by head."""

    title = "Where the last prompt token looks"
    question = "How much of the last prompt token's attention goes to the image, and in which layers and heads?"
    looks = True

    def look(self, layer: int, prompt: PromptView, run: PromptRun) -> torch.Tensor:
        """(H, 3) shares."""
        row = prompt.attention(prompt.question[-1:], at="own")[:, 0]  # (H, n)
        return attention_shares(row, run.visual.to(row.device)).cpu()

    def measure(self, run: PromptRun, looked: Sequence[torch.Tensor], *, example: bool) -> Item:
        """(L, H, 3) shares."""
        return torch.stack(list(looked)).tolist()

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """The mean over heads, and each head's visual share."""
        shares = np.array(list(items.values()))  # (samples, L, H, 3)
        by_layer = shares.mean(2)
        title = "Share of the last prompt token's attention, mean over heads"
        return [
            *(
                layer_series(f"share_{group}", by_layer[..., index], axis="layers", title=title, group=group)
                for index, group in enumerate(GROUPS)
            ),
            head_map("visual_share_by_head", shares[..., 1], title="Share of attention that goes to visual tokens"),
        ]
