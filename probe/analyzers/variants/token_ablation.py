"""Token ablation: which visual tokens the answer needs: those with a large norm, the most attended ones, or any.

    kept      share of samples whose first answer token stays the same
    change    log p' - log p of the full model's first answer token      nats, mean over samples

The tokens are replaced by the mean of the image's visual tokens as they enter layer 0, or hidden: in no layer does
another token see them. Sets of the V visual tokens:

    registers                 norm above the mean plus two standard deviations, of the projector's output
    random, as many           as there are registers
    top / bottom 10 %         by the last prompt token's attention, mean over layers and heads of the full model
    top 10 % by gradient      those whose replacement costs most to first order (see `attribution`)
    random 10 %
    all

After llava-interp (arXiv 2410.07149), which replaces tokens by the mean embedding of many images; a single prompt has
only its own. Samples without registers say nothing about them, and quantised or sharded models, of which no gradient
is taken, nothing about the set that is chosen by it. Where the model adds features of the vision tower between layers,
they are replaced by their mean, too.

Cost: about three passes for the gradient; one for each set that is replaced, without the vision tower; and one of the
tokens that remain for each that is hidden. These begin at layer 0, so that they share nothing with the full model's run
but the text before the image.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from halfv_core.precision import widened
from halfv_core.runtime.prompt_view import PromptView
from probe.analyzers.findings import AnyFinding, SampleTable, bars
from probe.analyzers.probe import PROBES, Item, Probe
from probe.analyzers.variants.attribution import attribution
from probe.analyzers.variants.effects import NextToken
from probe.analyzers.variants.groups import TEXT_SHARE, Groups, these
from probe.capture.backward import has_gradients
from probe.capture.changes import Change, changed_rows
from probe.capture.layer_calls import LayerCalls
from probe.capture.prompt_run import PromptRun
from probe.capture.variants import run_variants, with_vision

SETS = ("registers", "random, as many", "top 10 %", "bottom 10 %", "top 10 % by gradient", "random 10 %", "all")
TREATMENTS = ("mean", "hidden")
SHARE = 0.1
SEED = 0


def registers(states: torch.Tensor) -> torch.Tensor:
    """(V, D) visual tokens as they enter layer 0 -> indices of those with an unusually large norm."""
    norms = widened(states).norm(dim=1)
    large: torch.Tensor = norms > norms.mean() + 2 * norms.std(correction=0)
    return large.nonzero()[:, 0].cpu()


def token_sets(
    states: torch.Tensor, attention: torch.Tensor, attributed: torch.Tensor | None = None
) -> list[torch.Tensor]:
    """Indices of the visual tokens in each of `SETS`; none in the first two where there are no registers.

    Args:
        states: (V, D), as they enter layer 0.
        attention: (V,).
        attributed: (V,) their attribution; without it, none are chosen by gradient.
    """
    count = len(states)
    few = max(1, int(SHARE * count))
    drawn = torch.randperm(count, generator=torch.Generator().manual_seed(SEED))
    ranked = attention.argsort(descending=True, stable=True)
    by_gradient = drawn[:0] if attributed is None else attributed.argsort(descending=True, stable=True)[:few]
    large = registers(states)
    return [large, drawn[: len(large)], ranked[:few], ranked[-few:], by_gradient, drawn[:few], drawn]


def replaced(calls: LayerCalls, visual: torch.Tensor, some: torch.Tensor) -> torch.Tensor:
    """(1, D) the last token after the last layer if some of the visual tokens, by index, are replaced by the mean."""

    def mean_there(states: torch.Tensor) -> torch.Tensor:
        states = states.clone()
        states[some.to(states.device)] = widened(states).mean(0).to(states.dtype)
        return states

    return with_vision(calls, visual, mean_there).states[-1][0, -1:]


def hidden(calls: LayerCalls, visual: torch.Tensor, some: torch.Tensor) -> torch.Tensor:
    """(1, D) likewise if no other token sees them in any layer."""
    gone = these(visual, some)
    rows = changed_rows(calls, [{0: Change(put=(gone, calls.states[0][0]))}]) & ~gone
    variant = dict.fromkeys(range(calls.layers), Change(unseen=(rows, gone)))
    return run_variants(calls, [variant], rows=rows)[0]


@PROBES.register("token_ablation")
class TokenAblation(Probe):
    """The answer's first token without some of the visual tokens."""

    title = "Visual tokens that the answer needs"
    question = "Does the answer need the visual tokens with large norms, or those that attention or gradients point to?"
    looks = True

    def look(self, layer: int, prompt: PromptView, run: PromptRun) -> torch.Tensor:
        """(V,) the last token's attention."""
        return prompt.attention(prompt.question[-1:], at="own")[:, 0, prompt.visual].mean(0).cpu()

    def measure(self, run: PromptRun, looked: Sequence[Any], *, example: bool) -> Item:
        """By treatment and set, whether the token is the same, and its change; None for a set without tokens."""
        groups, calls, full = Groups.of(run), run.calls, NextToken.of(run)
        states = calls.states[0][0, groups.visual.to(calls.states[0].device)]
        attributed = attribution(calls, groups.visual, full.token) if has_gradients(run.parts) else None
        sets = token_sets(states, torch.stack(list(looked)).mean(0), attributed)
        found: dict[str, Any] = {"registers": len(sets[0]) / len(states)}
        for name, treat in zip(TREATMENTS, (replaced, hidden), strict=True):
            last = [treat(calls, groups.visual, some) if len(some) else None for some in sets]
            effects = full.effects(torch.stack([state for state in last if state is not None]))
            same, changes = iter(effects.same.tolist()), iter(effects.change.tolist())
            found[name] = {
                "same": [None if state is None else next(same) for state in last],
                "change": [None if state is None else next(changes) for state in last],
            }
        return found

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """Bars by set, for each treatment."""
        found: list[AnyFinding] = []
        for name, words in zip(TREATMENTS, ("replaced by their mean", "hidden"), strict=True):
            rows = {
                what: np.array([item[name][what] for item in items.values()], dtype=np.float64)
                for what in ("same", "change")
            }
            known = np.flatnonzero(np.isfinite(rows["change"]).any(0))
            names = [SETS[index] for index in known]
            title = f"Share of samples whose first answer token stays the same, visual tokens {words}"
            found.append(bars(f"{name}_kept", names, rows["same"][:, known], title=title))
            title = f"Change of the first answer token's log-probability, visual tokens {words}"
            found.append(bars(f"{name}_change", names, rows["change"][:, known], title=title, unit="nats"))
        shares = tuple((item["registers"],) for item in items.values())
        title = "Share of visual tokens that are registers, by their norm"
        return [*found, SampleTable(name="register_share", title=title, values=shares)]

    def passes(self, layers: int) -> float:
        return 3.0 + len(SETS) + sum((0.97, 0.97, 0.9, 0.9, 0.9, 0.9, TEXT_SHARE))
