"""Drop from l: what is lost when all visual tokens are gone from layer l on, and where each sample could drop them.

    divergence[l]    KL(P_full || P_l)                  nats, at the last prompt token
    change[l]        log p_l - log p                    nats, of the full model's first answer token

P_l is the next-token distribution of a run in which no token sees a visual one from layer l on (VTW, arXiv 2405.05803;
the same as `withdrawal`). The earliest exit of a sample is the first layer l from which on, at l and all later layers,
the first answer token stays the likeliest and

    published    its loss, -log p_l, is below 1.03 times the full model's (the label by which DyVTE trains its router)
    probability  its probability is above 1/1.03 times the full model's

If there is none, it is L. The published rule is relative to a loss that is near 0 where the model is certain, so that a
change of p from 0.9999 to 0.9998 counts as twice the loss; the second rule is what a reader expects of 3 %. DyVTE's
labels are of all answer tokens; these are of the first.

Cost: L(L+1)/2 evaluations of a layer, of the text behind the image alone.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from probe.analyzers.findings import AnyFinding, SampleTable, layer_series
from probe.analyzers.probe import PROBES, Item, Probe
from probe.analyzers.variants.effects import NextToken, effects_of
from probe.analyzers.variants.groups import TEXT_SHARE, Groups
from probe.analyzers.withdrawal import gone_from_each
from probe.capture.prompt_run import PromptRun

SLACK = 1.03


def earliest_exit(harmless: ArrayLike) -> int:
    """The first layer from which on dropping is harmless; L if it is not even at the last.

    Args:
        harmless: (L,) bool.
    """
    failures = np.flatnonzero(~np.asarray(harmless, dtype=bool))
    return int(failures[-1]) + 1 if len(failures) else 0


@PROBES.register("drop_from")
class DropFrom(Probe):
    """The answer's first token without visual tokens from each layer on."""

    title = "Dropping all visual tokens"
    question = "From which layer on does the model no longer need to see the image?"

    def measure(self, run: PromptRun, looked: Sequence[Any], *, example: bool) -> Item:
        """The full model's log-probability, and L divergences, changes, and whether the token is the same."""
        groups = Groups.of(run)
        effects = effects_of(run, gone_from_each(run.layers, groups.after, groups.visual), rows=groups.after)
        return {
            "full": NextToken.of(run).log_probability,
            "divergence": effects.divergence.tolist(),
            "change": effects.change.tolist(),
            "same": effects.same.tolist(),
        }

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """Both curves, and the earliest exits by both rules."""
        same, changes = (np.array([item[name] for item in items.values()]) for name in ("same", "change"))
        full = np.array([item["full"] for item in items.values()])[:, None]
        what = "all visual tokens gone from the layer on"
        rules = {
            "published": (-(full + changes) < SLACK * -full, "loss below 1.03 times the full model's"),
            "probability": (changes > -math.log(SLACK), "probability above 1/1.03 times the full model's"),
        }
        return [
            layer_series(
                "divergence", [item["divergence"] for item in items.values()], axis="layers", unit="nats",
                title=f"KL divergence from the full model, {what}",
            ),
            layer_series(
                "change", changes, axis="layers", unit="nats",
                title=f"Change of the first answer token's log-probability, {what}",
            ),
            *(
                SampleTable(
                    name=f"exit_{name}",
                    title=f"First layer from which on all visual tokens can go: same token, {words}",
                    values=tuple((float(earliest_exit(row)),) for row in same & harmless),
                )
                for name, (harmless, words) in rules.items()
            ),
        ]  # fmt: skip

    def passes(self, layers: int) -> float:
        return TEXT_SHARE * (layers + 1) / 2
