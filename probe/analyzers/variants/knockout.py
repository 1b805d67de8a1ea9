"""Attention knock-out: through which layers information flows between the image, the question and the last token.

    change[l] = 100 (p_l - p) / p      percent;      log-probability: log p_l - log p      nats

p is the full model's probability of the answer's first token, p_l the one of a run in which tokens of one group do not
see those of another in a window of layers centred on l, cut off at the first and the last layer (cross-modal
information flow, arXiv 2411.18620). Pairs: the image is hidden from the last token, the image from the question, the
question from the last token, and the last token from itself, as in the original.

The window is 9 of 32 layers wide in the original; of L layers, it is the odd number nearest to 9 L / 32. The question
is all text that can see an image, without the last token, the chat template's own tokens included: information could
take the way through any of them. A relative change has no upper bound where p is small, hence the logarithm beside it.

Cost: of the pairs that end in the last token, one token in half of the layers; of image to question, the text behind
the image in two thirds of the layers, L times.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from probe.analyzers.findings import AnyFinding, layer_series
from probe.analyzers.probe import PROBES, Item, Probe
from probe.analyzers.variants.effects import effects_of
from probe.analyzers.variants.groups import TEXT_SHARE, Groups
from probe.capture.changes import Change, Variant
from probe.capture.prompt_run import PromptRun

PAIRS = ("image -> last", "image -> question", "question -> last", "last -> last")


def window_of(layer: int, layers: int) -> range:
    """The layers of the window centred on `layer`."""
    reach = round((9 * layers / 32 - 1) / 2)
    return range(max(0, layer - reach), min(layers, layer + reach + 1))


def knockouts(rows: torch.Tensor, columns: torch.Tensor, layers: int) -> list[Variant]:
    """One variant for each layer: in its window, the tokens `rows` do not see the tokens `columns`, (N,) bool each."""
    change = Change(unseen=(rows, columns))
    return [dict.fromkeys(window_of(layer, layers), change) for layer in range(layers)]


@PROBES.register("knockout")
class Knockout(Probe):
    """The answer's first token with attention cut in windows of layers."""

    title = "Attention knock-out"
    question = "In which layers does information flow from the image to the question, and from there to the answer?"

    def measure(self, run: PromptRun, looked: Sequence[Any], *, example: bool) -> Item:
        """By pair, L changes of the log-probability."""
        groups = Groups.of(run)
        ends = dict(zip(PAIRS, (
            (groups.last, groups.visual),
            (groups.question, groups.visual),
            (groups.last, groups.question),
            (groups.last, groups.last),
        ), strict=True))  # fmt: skip
        return {
            pair: effects_of(run, knockouts(rows, columns, run.layers)).change.tolist()
            for pair, (rows, columns) in ends.items()
        }

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """By pair, the relative change of the probability and that of its logarithm."""
        found: list[AnyFinding] = []
        for pair in PAIRS:
            changes = np.array([item[pair] for item in items.values()])  # (samples, L)
            name = pair.replace(" -> ", "_")
            found += [
                layer_series(
                    f"{name}_percent", 100.0 * np.expm1(changes), axis="layers", unit="%", group=pair,
                    title="Change of the first answer token's probability, attention cut in a window of layers",
                ),
                layer_series(
                    f"{name}_nats", changes, axis="layers", unit="nats", group=pair,
                    title="Change of the first answer token's log-probability, attention cut in a window of layers",
                ),
            ]  # fmt: skip
        return found

    def passes(self, layers: int) -> float:
        evaluated = sum(layers - window_of(layer, layers)[0] for layer in range(layers))
        return TEXT_SHARE * evaluated / layers
