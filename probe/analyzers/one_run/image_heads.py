"""Image heads: heads that look at the image, and there mostly at tokens which are no sinks.

    image head    visual_h >= 0.2 and sinks_h <= 0.5 visual_h        at layer l, head h
    visual_h      sum over visual tokens j of A_h[last, j]
    sinks_h       the same sum over the visual sinks (`probe.analyzers.sink_channels`)

VisAttnSink (arXiv 2503.03321, ICLR 2025). Its code calls no head an image head in a layer without visual sinks, and
leaves the first two layers out; here sinks_h is 0 there, and all layers are shown. Unit: a share of samples, a number
of heads. Cost: one row of attention in each layer; no pass beside the shared run.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from halfv_core.runtime.prompt_view import PromptView
from probe.analyzers.findings import AnyFinding, head_map, layer_series
from probe.analyzers.probe import PROBES, Item, Probe
from probe.analyzers.sink_channels import visual_sinks
from probe.capture.prompt_run import PromptRun

LEAST_VISUAL = 0.2
"""Share of its attention that an image head gives to visual tokens."""
MOST_SINKS = 0.5
"""Share of that which it gives to sinks at most."""


def are_image_heads(attention: torch.Tensor, sinks: torch.Tensor) -> torch.Tensor:
    """Which heads are image heads.

    Args:
        attention: (H, V), from one query to visual tokens.
        sinks: (V,) bool.

    Returns:
        (H,) bool.
    """
    visual, lost = attention.sum(-1), attention[:, sinks].sum(-1)
    return (visual >= LEAST_VISUAL) & (lost <= MOST_SINKS * visual)


@PROBES.register("image_heads")
class ImageHeads(Probe):
    """Share of samples by head, and number by layer."""

    title = "Image heads"
    question = "Which heads look at the image, beyond its attention sinks?"
    looks = True

    def look(self, layer: int, prompt: PromptView, run: PromptRun) -> torch.Tensor:
        """(H, V) attention: the sinks are known only after the run."""
        return prompt.attention(prompt.question[-1:], at="own")[:, 0, prompt.visual].cpu()

    def measure(self, run: PromptRun, looked: Sequence[torch.Tensor], *, example: bool) -> Item:
        """(L, H), 1 for image heads."""
        sinks = visual_sinks(run)
        return [are_image_heads(row, own).int().tolist() for row, own in zip(looked, sinks, strict=True)]

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """Each head's share, and the count."""
        found = np.array(list(items.values()), dtype=np.float64)  # (samples, L, H)
        return [
            layer_series("count", found.sum(2), axis="layers", title="Number of image heads"),
            head_map("share", found, title="Share of samples in which a head is an image head"),
        ]
