"""Activation patching: where in the depth the image's information sits, in visual tokens, in the question, in the last.

    share[l] = sum (odds_l - odds_corrupt) / sum (odds_full - odds_corrupt)      over the samples

odds is log p / (1 - p) of the full model's first answer token. The corrupt run sees a destroyed image; run l is the
corrupt one, in which the hidden states of one group of tokens at the input of layer l are those of the full run (ROME,
arXiv 2202.05262). l = 0 .. L; at L only the last token counts.

The image is destroyed by shuffling each channel of the visual tokens by itself, with a seed: mean, variance and
outliers of every channel stay, what and where things are is lost. Shuffling whole tokens would leave what is there;
Gaussian noise (as in ROME) leaves the range that the model knows; another image needs another sample, as in
`image_patching`. Where the model adds features of the vision tower between layers, they are shuffled, too.

The state at one layer is restored, not a window of layers as in ROME, which restores outputs of sub-layers: visual
tokens see no question, so once restored they stay so, and what text tokens had of the image at layer l is all in their
state there. The curve of the visual tokens falls from 1 where their information has been read, those of the text rise.

The share is of sums over samples, because a single sample's explodes where the image does not matter; it is left out
if destroying the image does not lower the odds, beyond chance.

Cost: one pass for the corrupt run, and L(L+1)/2 evaluations of a layer for each of the three groups, of the text behind
the image alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from probe.analyzers.findings import AnyFinding, bars, ratio_series
from probe.analyzers.probe import PROBES, Item, Probe
from probe.analyzers.variants.effects import NextToken
from probe.analyzers.variants.groups import TEXT_SHARE, Groups
from probe.capture.changes import Change, Variant
from probe.capture.layer_calls import LayerCalls
from probe.capture.prompt_run import PromptRun
from probe.capture.variants import run_variants, with_vision

GROUPS = ("visual", "question", "last")
SEED = 0


def shuffled(states: torch.Tensor) -> torch.Tensor:
    """(V, D) with each channel in an order of its own."""
    order = torch.rand(states.shape, generator=torch.Generator().manual_seed(SEED)).argsort(0)
    return states.gather(0, order.to(states.device))


def patched(base: LayerCalls, rows: torch.Tensor, source: LayerCalls) -> torch.Tensor:
    """(L+1, 1, D) the last token after the last layer, if `rows` of the base have the source's states at layer l."""
    variants: list[Variant] = [{layer: Change(put=(rows, state[0]))} for layer, state in enumerate(source.states)]
    return run_variants(base, variants)


@PROBES.register("patching")
class Patching(Probe):
    """The answer's log-odds with the states of some tokens restored at one layer."""

    title = "Activation patching"
    question = "At which depth does the image's information leave the visual tokens, and where does it go?"

    def measure(self, run: PromptRun, looked: Sequence[Any], *, example: bool) -> Item:
        """Log-odds of the full and the corrupt run, and by group L+1 of the restored ones."""
        groups, full = Groups.of(run), NextToken.of(run)
        corrupt = with_vision(run.calls, groups.visual, shuffled)
        restored = {
            # Restoring the image in the corrupt run is the full run with the corrupt run's text.
            "visual": patched(run.calls, groups.after, corrupt),
            "question": patched(corrupt, groups.question, run.calls),
            "last": patched(corrupt, groups.last, run.calls),
        }
        ends = torch.stack([calls.states[-1][0, -1:] for calls in (run.calls, corrupt)])
        found: dict[str, Any] = {name: full.effects(states).log_odds.tolist() for name, states in restored.items()}
        found["full"], found["corrupt"] = full.effects(ends).log_odds.tolist()
        return found

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """The recovered share by group, unless the image does not matter; and the log-odds of both runs."""
        ends = np.array([[item["full"], item["corrupt"]] for item in items.values()])
        title = "Log-odds of the first answer token, with the image and with a destroyed one"
        found: list[AnyFinding] = [bars("log_odds", ("full", "corrupt"), ends, title=title, unit="nats")]
        lost = bars("lost", ("lost",), ends[:, :1] - ends[:, 1:], title="")
        if lost.low[0] <= 0.0:
            return found
        title = "Share of the log-odds that is recovered by restoring the tokens' states at the input of the layer"
        return [
            *(
                ratio_series(
                    f"recovered_{group}",
                    np.array([item[group] for item in items.values()]) - ends[:, 1:],
                    ends[:, 0] - ends[:, 1],
                    axis="states", group=group, title=title,
                )
                for group in GROUPS
            ),
            *found,
        ]  # fmt: skip

    def passes(self, layers: int) -> float:
        return 1.0 + TEXT_SHARE * (layers + 1)
