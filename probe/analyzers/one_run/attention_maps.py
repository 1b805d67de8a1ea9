"""Attention maps: how much of the last prompt token's attention each visual token of an example gets, layer by layer.

    map[l, j] = mean over heads h of A_h[last, j]        j: visual token; a layer's map sums to its visual share

VisiPruner (arXiv 2510.17205) and FastV (arXiv 2403.06764) draw them over the image. Unit: a share, 0..1. Cost: one row
of attention in each layer; no pass beside the shared run.
"""

from collections.abc import Mapping, Sequence

import torch

from halfv_core.runtime.prompt_view import PromptView
from probe.analyzers.findings import AnyFinding, TokenMap, significant
from probe.analyzers.probe import PROBES, Item, Probe
from probe.capture.prompt_run import PromptRun


@PROBES.register("attention_maps")
class AttentionMaps(Probe):
    """Maps of examples; it says nothing about the other samples."""

    title = "Attention over the image"
    question = "Which parts of the image does the last prompt token look at, layer by layer?"
    looks = True

    def look(self, layer: int, prompt: PromptView, run: PromptRun) -> torch.Tensor:
        """(V,) shares."""
        row = prompt.attention(prompt.question[-1:], at="own")[:, 0]  # (H, n)
        return row[:, prompt.visual].mean(0).cpu()

    def measure(self, run: PromptRun, looked: Sequence[torch.Tensor], *, example: bool) -> Item:
        """(L, V) shares of an example, else null."""
        return significant(torch.stack(list(looked))) if example else None

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """One map for each example."""
        title = "Share of the last prompt token's attention, mean over heads"
        return [
            TokenMap(name=f"map_{index}", title=title, example=sample, axis="layers", values=item)
            for index, (sample, item) in enumerate(items.items())
            if item is not None
        ]
