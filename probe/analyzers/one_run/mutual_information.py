"""Mutual information of text and image: whether different words look at different places.

    I = sum_xy p_xy log2(p_xy / (p_x p_y))      p_xy = A_h[x, y] / sum A_h,  p_x and p_y its sums over rows and columns

over the text tokens x behind the first visual token and the visual tokens y, at layer l and head h; then the mean over
heads. 0 if all words look at the same places, at most log2 of the smaller number of tokens.

AutoPrune (NeurIPS 2025) steers its pruning by a number of this name, read at layer 1. Its code takes p_x = 1 / T for T
words and p_xy = A_h[x, y] / T, which sums to the image's share of attention, not to 1; so the number falls with that
share. It adds 1e-6 to p_x p_y, which is often no larger itself, so that the number can be negative; and it sums over
heads, so that it grows with their number. Here the block is a distribution, in which a word counts as much as it looks
at the image.

Unit: bits. Cost: the text rows of attention in each layer, recomputed from the layer's input; no pass beside the shared
run.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from halfv_core.runtime.prompt_view import PromptView
from halfv_core.selectors.attended import ROWS_AT_ONCE, attention_from
from probe.analyzers.findings import AnyFinding, head_map, layer_series
from probe.analyzers.probe import PROBES, Item, Probe
from probe.capture.prompt_run import PromptRun


def mutual_information(blocks: Iterable[torch.Tensor]) -> torch.Tensor:
    """Mutual information of rows and columns of non-negative matrices, each taken as a joint distribution.

    Args:
        blocks: the matrices, some rows after the other: at least one (..., rows, V) tensor of the same (...) and V.

    Returns:
        (...), bits, float32; 0 for a matrix of zeros.
    """
    cells = rows = columns = torch.tensor(0.0)
    for block in blocks:
        # I = H(x) + H(y) - H(x, y), and each of them is a sum over the block, up to its total.
        cells = cells.to(block.device) + torch.special.entr(block).sum((-2, -1))
        rows = rows.to(block.device) + torch.special.entr(block.sum(-1)).sum(-1)
        columns = columns.to(block.device) + block.sum(-2)
    total = columns.sum(-1)
    entropies = rows + torch.special.entr(columns).sum(-1) - cells
    nats = entropies / total + total.log()
    return torch.where(total > 0, nats / math.log(2), 0.0).clamp(min=0)


@PROBES.register("mutual_information")
class MutualInformation(Probe):
    """Mutual information by layer and by head."""

    title = "Whether words look at places of their own"
    question = "Do different words of the prompt look at different places of the image?"
    looks = True

    def look(self, layer: int, prompt: PromptView, run: PromptRun) -> torch.Tensor | None:
        """(H,) bits; None if no text follows the first visual token."""
        rows = prompt.text[prompt.text > prompt.visual[0]]
        if not len(rows):
            return None
        return mutual_information(attention_from(prompt, some, "own") for some in rows.split(ROWS_AT_ONCE)).cpu()

    def measure(self, run: PromptRun, looked: Sequence[torch.Tensor | None], *, example: bool) -> Item:
        """(L, H) bits, or None."""
        by_layer = [bits for bits in looked if bits is not None]
        return torch.stack(by_layer).tolist() if by_layer else None

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """The mean over heads, and each head."""
        bits = np.array([item for item in items.values() if item is not None])  # (samples, L, H)
        if not len(bits):
            return []
        title = "Mutual information of words and places they look at"
        return [
            layer_series(
                "information", bits.mean(2), axis="layers", title=f"{title}, mean over heads", unit="bits"
            ),
            head_map("information_by_head", bits, title=title, unit="bits"),
        ]  # fmt: skip
