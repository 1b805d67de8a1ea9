"""Attention entropy: over how many tokens the last prompt token spreads its attention.

    H_h = -sum_j p_j ln p_j      p_j = A_h[last, j] over all keys j, or over the visual keys alone, where p sums to 1

at layer l and head h; from 0, all attention on one key, to ln n for n keys. Entropies are of single heads, and then
averaged: the entropy of the mean head would be higher. AgilePruner reads attention entropy; the formula is Shannon's.
Over visual keys the softmax is taken anew from the logits, so that it is exact however little attention they get; where
the token sees none of them, as may happen in a sliding window, the entropy is 0.

Unit: nats. Cost: one row of attention in each layer, recomputed from the layer's input; no pass beside the shared run.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from halfv_core.runtime.prompt_view import PromptView
from halfv_core.selectors.attended import question_rows
from probe.analyzers.findings import AnyFinding, head_map, layer_series
from probe.analyzers.probe import PROBES, Item, Probe
from probe.capture.prompt_run import PromptRun

KEYS = ("all", "visual")


def attention_entropy(logits: torch.Tensor) -> torch.Tensor:
    """Entropy of the softmax of attention logits.

    Args:
        logits: (..., n) float32, -inf at keys that are not seen.

    Returns:
        (...), nats; 0 where no key is seen.
    """
    weights = torch.where((logits != -torch.inf).any(-1, keepdim=True), logits.softmax(-1), 0.0)
    return torch.special.entr(weights).sum(-1)  # type: ignore[no-any-return]


@PROBES.register("attention_entropy")
class AttentionEntropy(Probe):
    """Entropies by layer and by head."""

    title = "How widely the last prompt token looks"
    question = "Does the last prompt token attend to few tokens or to many, and in which layers and heads?"
    looks = True

    def look(self, layer: int, prompt: PromptView, run: PromptRun) -> torch.Tensor:
        """(H, 2) entropies over all keys and over visual keys."""
        logits = prompt.attention_logits(question_rows(prompt)[-1:], at="own")[:, 0]  # (H, n)
        return torch.stack([attention_entropy(logits), attention_entropy(logits[:, prompt.visual])], -1).cpu()

    def measure(self, run: PromptRun, looked: Sequence[torch.Tensor], *, example: bool) -> Item:
        """(L, H, 2) entropies."""
        return torch.stack(list(looked)).tolist()

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """The mean over heads, and each head."""
        entropies = np.array(list(items.values()))  # (samples, L, H, 2)
        by_layer = entropies.mean(2)
        title = "Entropy of the last prompt token's attention, mean over heads"
        return [
            *(
                layer_series(
                    f"entropy_{keys}", by_layer[..., index], axis="layers", title=title, unit="nats",
                    group=f"{keys} keys",
                )
                for index, keys in enumerate(KEYS)
            ),
            *(
                head_map(
                    f"entropy_{keys}_by_head", entropies[..., index], unit="nats",
                    title=f"Entropy of attention over {keys} keys",
                )
                for index, keys in enumerate(KEYS)
            ),
        ]  # fmt: skip
