"""Shallow block: whether the answer needs the text to see the image in the first layers, and which visual tokens there.

    kept             share of samples whose first answer token stays the same
    log-probability  log p' - log p of the full model's first answer token      nats, mean over samples

Text does not see visual tokens in the first k layers, k = 1 .. K with K = ceil(6 L / 32), the depth that VisiPruner
(arXiv 2510.17205) calls shallow. Then, in all of the first K layers, for the "masking paradox": it does not see the
10 % of them that the question attends to most in that layer, the other 90 %, or a random half.

VisiPruner's code sets weights to zero after the softmax and moves them to the first visual token in layer 0; here a
hidden token is hidden, and the weights of the others sum to 1. With a softmax that has to put its weight somewhere, the
two differ only in what the visual tokens' values add.

Cost: K + 3 variants of the text behind the image, through all layers.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from halfv_core.runtime.prompt_view import PromptView
from probe.analyzers.findings import AnyFinding, bars
from probe.analyzers.probe import PROBES, Item, Probe
from probe.analyzers.variants.effects import effects_of
from probe.analyzers.variants.groups import TEXT_SHARE, Groups, these
from probe.capture.changes import Change, Variant
from probe.capture.prompt_run import PromptRun

TOP = 0.1
SEED = 0


def shallow_layers(layers: int) -> int:
    """K: number of layers that are called shallow, of L."""
    return math.ceil(6 * layers / 32)


def conditions(shallow: int) -> tuple[str, ...]:
    """Their names, for K shallow layers."""
    blocked = ("layer 0", *(f"layers 0-{last}" for last in range(1, shallow)))
    return (*blocked, "top 10 %", "other 90 %", "random half")


def blocks(groups: Groups, attention: Sequence[torch.Tensor]) -> list[Variant]:
    """One variant for each of `conditions`.

    Args:
        attention: for each of the K shallow layers (V,), how much each visual token is attended to.
    """
    shallow, count = len(attention), len(attention[0])
    whole = Change(unseen=(groups.after, groups.visual))
    variants: list[Variant] = [dict.fromkeys(range(end), whole) for end in range(1, shallow + 1)]
    tops = [scores.argsort(descending=True, stable=True)[: max(1, int(TOP * count))] for scores in attention]
    others = [torch.arange(count)[~torch.isin(torch.arange(count), top)] for top in tops]
    half = torch.randperm(count, generator=torch.Generator().manual_seed(SEED))[: count // 2]
    for hidden in (tops, others, [half] * shallow):
        variants.append(
            {layer: Change(unseen=(groups.after, these(groups.visual, some))) for layer, some in enumerate(hidden)}
        )
    return variants


@PROBES.register("shallow_block")
class ShallowBlock(Probe):
    """The answer's first token while text does not see visual tokens in the first layers."""

    title = "Blocking the image in shallow layers"
    question = "Does the answer need the text to see the image in the first layers, and if so, which visual tokens?"
    looks = True

    def look(self, layer: int, prompt: PromptView, run: PromptRun) -> torch.Tensor | None:
        """(V,) mean attention from the question in a shallow layer."""
        if layer >= shallow_layers(run.layers):
            return None
        return prompt.attention(prompt.question, at="own").mean((0, 1))[prompt.visual].cpu()

    def measure(self, run: PromptRun, looked: Sequence[Any], *, example: bool) -> Item:
        """By condition, whether the token is the same, and its change in log-probability."""
        attention = [scores for scores in looked if scores is not None]
        effects = effects_of(run, blocks(Groups.of(run), attention))
        return {"same": effects.same.tolist(), "change": effects.change.tolist()}

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """Bars by condition."""
        same = np.array([item["same"] for item in items.values()], dtype=np.float64)
        changes = [item["change"] for item in items.values()]
        names = conditions(same.shape[1] - 3)
        what = "text does not see the image, or a part of it, in the first layers"
        return [
            bars("kept", names, same, title=f"Share of samples whose first answer token stays the same, {what}"),
            bars("log_probability", names, changes, title=f"Change of its log-probability, {what}", unit="nats"),
        ]

    def passes(self, layers: int) -> float:
        return TEXT_SHARE * (shallow_layers(layers) + 3)
