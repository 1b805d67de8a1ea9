"""Activation patching between two images: where in the depth that sits in which they differ.

    share[l] = sum (odds_l - odds_other) / sum (odds_own - odds_other)      over the pairs

A pair is one question about two images, the sample's own and another one, to which the full model begins different
answers, with tokens a and b. odds is log p(a) / p(b). Run l is the one over the other image, in which the hidden states
of one group of tokens at the input of layer l are those of the run over the own image. l = 0 .. L; at L only the last
token counts. The odds are above 0 with the own image and below 0 with the other one, so every pair says something.

The other image is that of another sample, preferably one with the same question, then one of the same question family
(see `probe.analysis.partners`). All tokens have to be in the same places, so that states can be exchanged: as many
visual tokens in the same grid. The first images are tried in this order, and samples without a pair are left out.

Unlike in `patching`, which destroys the image, both runs are such as the model knows, and it is followed what decides
between two answers, not all that the image tells. What both images have in common is in no curve. After ROME (arXiv
2202.05262), with two inputs as in interchange interventions (Geiger et al., arXiv 2106.02997).

Cost: one pass for each image that is tried, and L(L+1)/2 evaluations of a layer for each of the three groups, of the
text behind the image alone.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch

from probe.analyzers.findings import AnyFinding, bars, ratio_series
from probe.analyzers.probe import PROBES, Item, Probe
from probe.analyzers.variants.effects import NextToken
from probe.analyzers.variants.groups import TEXT_SHARE, Groups
from probe.analyzers.variants.patching import GROUPS, patched
from probe.capture.layer_calls import LayerCalls
from probe.capture.prompt_run import PromptRun

TRIED = 4
"""Other images about which a question is asked, at most."""
OUTCOMES = ("another answer", "same answer", "no other image fits")
"""Of the search for a pair: found; not found among the images that were tried; or there was none to try."""


class OtherRun(NamedTuple):
    """The same question about another image."""

    calls: LayerCalls
    token: int
    """The first one of its answer."""


def other_run(run: PromptRun, token: int) -> tuple[str, OtherRun | None]:
    """What came of the search for a pair, and the first run over another image whose answer begins with another token.

    Args:
        token: the first one of the full model's answer to the prompt.
    """
    outcome = OUTCOMES[2]
    for inputs in islice(run.over_others(), TRIED):
        calls = LayerCalls.record(run.model, inputs, family=run.family)
        found = NextToken(run.parts, calls.states[-1][0, -1:]).token
        if found != token:
            return OUTCOMES[0], OtherRun(calls, found)
        outcome = OUTCOMES[1]
    return outcome, None


@PROBES.register("image_patching")
class ImagePatching(Probe):
    """Log-odds of two images' answers with the states of some tokens exchanged at one layer."""

    title = "Activation patching between two images"
    question = "At which depth does what two images differ in leave the visual tokens, and where does it go?"
    pairs = True

    def measure(self, run: PromptRun, looked: Sequence[Any], *, example: bool) -> Item:
        """What came of the search; of a pair the log-odds of both runs, and by group L+1 of the restored ones."""
        groups, own = Groups.of(run), run.calls
        full = NextToken.of(run)
        outcome, other = other_run(run, full.token)
        found: dict[str, Any] = {"outcome": OUTCOMES.index(outcome)}
        if other is None:
            return found
        restored = {
            # The other image with this one's visual tokens is this one with the other's text.
            "visual": patched(own, groups.after, other.calls),
            "question": patched(other.calls, groups.question, own),
            "last": patched(other.calls, groups.last, own),
            "ends": torch.stack([calls.states[-1][0, -1:] for calls in (own, other.calls)]),
        }
        return found | {name: full.against(other.token, states).tolist() for name, states in restored.items()}

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """How many samples have a pair; and if any has, the restored share by group and the log-odds of both runs."""
        outcomes = np.eye(len(OUTCOMES))[[item["outcome"] for item in items.values()]]
        title = "Share of samples that have a pair: another image to which the same question has another answer"
        found: list[AnyFinding] = [bars("pairs", OUTCOMES, outcomes, title=title)]
        pairs = [item for item in items.values() if "ends" in item]
        if not pairs:
            return found
        ends = np.array([item["ends"] for item in pairs])
        title = (
            "Share of the log-odds of two images' answers that is restored by the tokens' states at the layer's input"
        )
        series = [
            ratio_series(
                f"restored_{group}",
                np.array([item[group] for item in pairs]) - ends[:, 1:],
                ends[:, 0] - ends[:, 1],
                axis="states", group=group, title=title,
            )
            for group in GROUPS
        ]  # fmt: skip
        title = "Log-odds of the first answer tokens of two images, with either image"
        return [*series, bars("log_odds", ("own image", "other image"), ends, title=title, unit="nats"), *found]

    def passes(self, layers: int) -> float:
        return 1.5 + TEXT_SHARE * (layers + 1)
