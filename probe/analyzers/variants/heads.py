"""Heads: what it costs the answer when one head is switched off where the answer is made.

    importance[l, h] = log p - log p_lh      nats, of the full model's first answer token; negative if it gets likelier

p_lh is the probability in a run in which head h of layer l gives zero at the last prompt token. What it does at other
tokens stays, unlike in HAWK's importance (`head_importance`, of layer 0 alone), so that only the last token has to be
computed, and all H L heads can be.

Cost: H L (L+1) / 2 evaluations of a layer, of one token each: of a prompt of N tokens H (L+1) / 2N passes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from probe.analyzers.findings import AnyFinding, head_map
from probe.analyzers.probe import PROBES, Item, Probe
from probe.analyzers.variants.effects import effects_of
from probe.capture.changes import Change, Variant
from probe.capture.prompt_run import PromptRun


def heads_off(layers: int, heads: int, rows: torch.Tensor) -> list[Variant]:
    """One variant for each head of each layer, layer by layer, off at the tokens `rows`, (N,) bool."""
    return [{layer: Change(head_off=(rows, head))} for layer in range(layers) for head in range(heads)]


@PROBES.register("heads")
class Heads(Probe):
    """The answer's first token without each of the heads."""

    title = "Heads that the answer needs"
    question = "Which heads does the answer depend on where it is made, at the last prompt token?"

    def measure(self, run: PromptRun, looked: Sequence[Any], *, example: bool) -> Item:
        """(L, H) drops of the log-probability."""
        heads = run.parts.decoder.config.num_attention_heads
        last = torch.arange(len(run.visual)) == len(run.visual) - 1
        effects = effects_of(run, heads_off(run.layers, heads, last))
        return (-effects.change).reshape(run.layers, heads).tolist()

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """The mean drop of each head."""
        title = "Fall of the first answer token's log-probability when a head is off at the last prompt token"
        return [head_map("drop", np.array(list(items.values())), title=title, unit="nats")]

    def passes(self, layers: int) -> float:
        heads, tokens = 32, 1000  # of a model of usual size
        return heads * (layers + 1) / (2 * tokens)
