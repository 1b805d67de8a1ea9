"""Variation: how much each layer changes the hidden states of visual and of text tokens.

    length   |x^{l+1} - x^l|                     of a layer (V2Drop, CVPR 2026; it ranks tokens by this)
    ratio    |x^{l+1} - x^l| / |x^l|
    turn     1 - cos(x^{l+1}, x^l)
    transition   |f| / |b| exp(1 - cos(b, f))    of a sub-layer, attention or MLP (TransPrune, CVPR 2026)
    update       |f| / |x|

x^l is the input of layer l; b what a sub-layer gets, after its norm, and f what it adds to the residual stream x. All
are means over the tokens of a modality.

A length is on the scale of the model's hidden states, which grow with depth: compare it between tokens of one layer,
and ratios or turns between layers. TransPrune's |b| is the length behind a norm, much the same for all tokens and set
by the norm's weights, so its transition says little about the stream; `update` does. TransPrune also divides
exp(1 - cos) by its sum over all tokens, which makes the mean depend on their number and is left out here. Features that
are added between layers (Qwen3-VL) count as change of the layer before.

Unit: that of hidden states for the length, none for the others. Cost: a few norms of hidden states; what is needed of
sub-layers is recorded in the shared run, so there is no pass beside it.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch

from halfv_core.precision import widened
from halfv_core.selectors.v2drop import variation
from probe.analyzers.findings import AnyFinding, layer_series
from probe.analyzers.one_run.modalities import MODALITIES, by_modality
from probe.analyzers.probe import PROBES, Item, Probe
from probe.capture.prompt_run import PromptRun
from probe.capture.sublayers import SubLayers

SUBLAYERS = ("attention", "mlp")


class Change(NamedTuple):
    """What each layer does to each token: (L, N) float32 on the CPU."""

    length: torch.Tensor
    ratio: torch.Tensor
    turn: torch.Tensor


def changes(states: torch.Tensor) -> Change:
    """Length, ratio and turn of the change by each layer.

    Args:
        states: (L+1, N, D) hidden states.
    """
    return Change(*torch.stack([_change(before, after) for before, after in pairwise(states)], 1).cpu())


def _change(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """(N, D) and (N, D) -> (3, N)."""
    length = variation(before, after)
    turn = 1 - torch.cosine_similarity(widened(before), widened(after), dim=-1)
    return torch.stack([length, _ratio(length, torch.linalg.vector_norm(widened(before), dim=-1)), turn.clamp(min=0)])


def transitions(sublayers: SubLayers) -> torch.Tensor:
    """TransPrune's transition of each token in each sub-layer, not normalised over tokens; (L, 2, N)."""
    return _ratio(sublayers.after, sublayers.before) * torch.exp(1 - sublayers.cosine)


def updates(sublayers: SubLayers) -> torch.Tensor:
    """How long what a sub-layer adds is, compared with the residual stream; (L, 2, N)."""
    return _ratio(sublayers.after, sublayers.stream)


def _ratio(above: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    """0 where `below` is 0."""
    return torch.where(below > 0, above / below.clamp(min=torch.finfo(below.dtype).tiny), 0.0)


_OF_LAYERS = {
    "length": ("Length of the change by each layer", "length of a hidden state"),
    "ratio": ("Length of the change by each layer, divided by the hidden state's", ""),
    "turn": ("Turn of the hidden state by each layer, 1 - cosine", ""),
}
_OF_SUBLAYERS = {
    "transition": "Transition in each sub-layer: length ratio to its normed input times exp(1 - cosine)",
    "update": "Length of what each sub-layer adds, divided by the residual stream's",
}


@PROBES.register("variation")
class Variation(Probe):
    """Change by layers and sub-layers, by modality."""

    title = "How much each layer changes"
    question = "Which layers change visual tokens, which change text, and is it attention or the MLP?"
    records = frozenset({"sublayers"})

    def measure(self, run: PromptRun, looked: Sequence[Any], *, example: bool) -> Item:
        """By quantity and modality, (L,), or (L, 2) by sub-layer."""
        tokens: dict[str, torch.Tensor] = changes(run.states)._asdict()
        tokens |= {"transition": transitions(run.sublayers), "update": updates(run.sublayers)}
        groups = by_modality(run.visual)
        return {
            quantity: {name: of_tokens[..., group].mean(-1).tolist() for name, group in groups.items()}
            for quantity, of_tokens in tokens.items()
        }

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """Means over the samples."""

        def rows(quantity: str, modality: str) -> np.ndarray:
            return np.array([item[quantity][modality] for item in items.values()])

        return [
            *(
                layer_series(
                    f"{quantity}_{modality}", rows(quantity, modality), axis="layers", title=title, unit=unit,
                    group=modality,
                )
                for quantity, (title, unit) in _OF_LAYERS.items()
                for modality in MODALITIES
            ),
            *(
                layer_series(
                    f"{quantity}_{sublayer}_{modality}", rows(quantity, modality)[..., index], axis="layers",
                    title=title, group=f"{modality}, {sublayer}",
                )
                for quantity, title in _OF_SUBLAYERS.items()
                for index, sublayer in enumerate(SUBLAYERS)
                for modality in MODALITIES
            ),
        ]  # fmt: skip
