"""Layer contribution: what one layer does for the answer by updating visual tokens, by showing them, by updating text.

    contribution[l] = KL(P_full || P_l)      nats, at the last prompt token

P_l is the next-token distribution of a run in which, in layer l alone,

    freeze visual    the hidden states of visual tokens pass through unchanged (ShortV, arXiv 2504.00502; the same as
                     `layer_redundancy`)
    hide visual      no text token sees a visual token (this ranks the layers in which ViCA keeps cross-attention)
    freeze text      the hidden states of text tokens pass through unchanged (ShortV's contribution for text)

Freezing visual tokens in the last layer gives exactly 0, because no later layer could see the change. Freezing text
there removes the last layer from the answer.

Cost: L(L-1)/2 evaluations of a layer for each of the two freezes, L(L+1)/2 of the text behind the image for hiding.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from probe.analyzers.findings import AnyFinding, layer_series
from probe.analyzers.layer_redundancy import frozen_in_one
from probe.analyzers.probe import PROBES, Item, Probe
from probe.analyzers.variants.effects import effects_of
from probe.analyzers.variants.groups import TEXT_SHARE, Groups
from probe.capture.changes import Change, Variant
from probe.capture.layer_calls import LayerCalls
from probe.capture.prompt_run import PromptRun

KINDS = ("freeze visual", "hide visual", "freeze text")


def hidden_in_one(calls: LayerCalls, rows: torch.Tensor, columns: torch.Tensor) -> list[Variant]:
    """One variant for each layer, in which the tokens `rows` do not see the tokens `columns`, (N,) bool each."""
    return [{layer: Change(unseen=(rows, columns))} for layer in range(calls.layers)]


@PROBES.register("layer_contribution")
class LayerContribution(Probe):
    """Three contributions of every layer."""

    title = "What single layers contribute"
    question = (
        "Which layers could leave visual tokens alone, which could hide them from the text, and which text needs?"
    )

    def measure(self, run: PromptRun, looked: Sequence[Any], *, example: bool) -> Item:
        """By kind, L divergences."""
        groups = Groups.of(run)
        variants = (
            frozen_in_one(run.calls, groups.visual),
            hidden_in_one(run.calls, groups.after, groups.visual),
            frozen_in_one(run.calls, ~groups.visual),
        )
        return {kind: effects_of(run, some).divergence.tolist() for kind, some in zip(KINDS, variants, strict=True)}

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """A series for each kind."""
        return [
            layer_series(
                kind.replace(" ", "_"), [item[kind] for item in items.values()], axis="layers", unit="nats", group=kind,
                title="KL divergence from the full model when one layer does less",
            )
            for kind in KINDS
        ]  # fmt: skip

    def passes(self, layers: int) -> float:
        return (layers - 1) + TEXT_SHARE * (layers + 1) / 2
