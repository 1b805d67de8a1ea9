"""Selector horizon: from which layer on choosing visual tokens well is no better than choosing them at random.

    gain[l, s] = log-likelihood of the full model's answer with selector s  -  the same with random tokens

in nats per token. 10 % of the visual tokens go on from layer l, chosen by a registered selector or at random, the mean
of two draws. The horizon is the first of the tried layers at which no selector's 95 % interval lies above 0. Three
selectors have three chances: where none is better than chance, one appears to be in up to 8 % of the cases. The best
selector's gain alone would be above 0 by being the best. After an idea of Information-Horizon, which has published no
code.

Layers: up to six, evenly spaced; no selector that looks at the layer before can choose at layer 0.

Cost: five runs of a tenth of the visual tokens from each tried layer on, and the answer's tokens.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from halfv_core.plan import Keep, Plan
from halfv_core.runtime import apply
from probe.analyzers.findings import AnyFinding, Bars, bars
from probe.analyzers.probe import PROBES, Item, Probe
from probe.analyzers.variants.effects import NextToken
from probe.analyzers.variants.groups import TEXT_SHARE
from probe.capture.prompt_run import PromptRun
from probe.trials.answers import read_answer

SELECTORS = ("attention", "anchor_coverage", "divprune")
"""By relevance, by relevance and coverage, by diversity alone."""
DRAWS = 2
KEEP_RATIO = 0.1
MAX_LAYERS = 6


def tried_layers(layers: int) -> tuple[int, ...]:
    """The layers at which tokens are chosen, of L."""
    count = min(MAX_LAYERS, layers - 1)
    return tuple(sorted(set(np.linspace(1, layers - 1, count).round().astype(int).tolist())))


def plans_at(layer: int) -> list[Plan]:
    """Those of `SELECTORS`, then the random draws."""
    chosen = [Keep(layer=layer, keep_ratio=KEEP_RATIO, selector=name) for name in SELECTORS]
    drawn = [
        Keep(layer=layer, keep_ratio=KEEP_RATIO, selector="random", options={"seed": seed}) for seed in range(DRAWS)
    ]
    return [Plan((keep,)) for keep in (*chosen, *drawn)]


def horizon(layers: Sequence[int], gains: Sequence[Bars]) -> int | None:
    """The first of the layers at which no selector is better than chance; None if one is at each of them.

    Args:
        gains: of each selector, by layer.
    """
    lows = np.array([selector.low for selector in gains]).max(0)
    return next((layer for layer, low in zip(layers, lows, strict=True) if low <= 0.0), None)


@PROBES.register("selector_horizon")
class SelectorHorizon(Probe):
    """The answer's log-likelihood with a tenth of the visual tokens, well chosen or at random."""

    title = "Selector horizon"
    question = "Up to which layer does it matter which visual tokens are kept?"

    def measure(self, run: PromptRun, looked: Sequence[Any], *, example: bool) -> Item:
        """The layers, and for each the gain of each selector."""
        answer = run.answer or (NextToken.of(run).token,)
        ids = torch.tensor(answer, device=run.inputs["input_ids"].device)
        layers, gains = tried_layers(run.layers), []
        for layer in layers:
            found = []
            for plan in plans_at(layer):
                with run.replay.from_layer(layer), apply(run.model, plan, family=run.family):
                    found.append(read_answer(run.model, run.inputs, ids).log_likelihood)
            chosen, drawn = found[: len(SELECTORS)], found[len(SELECTORS) :]
            gains.append([value - float(np.mean(drawn)) for value in chosen])
        return {"layers": layers, "gains": gains}

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """The gain of each selector by layer, and the horizon where there is one."""
        layers = next(iter(items.values()))["layers"]
        gains = np.array([item["gains"] for item in items.values()])  # (samples, layers, selectors)
        names = [f"layer {layer}" for layer in layers]
        title = "Log-likelihood of the answer with a tenth of the visual tokens, above that with a random choice"
        found = [
            bars(name, names, gains[..., index], title=f"{title}: {name}", unit="nats per token")
            for index, name in enumerate(SELECTORS)
        ]
        reached = horizon(layers, found)
        if reached is None:
            return list(found)
        title = "First tried layer at which no selector is better than chance"
        return [*found, bars("horizon", ("all selectors",), [[float(reached)]] * len(items), title=title, unit="layer")]

    def passes(self, layers: int) -> float:
        left = sum((layers - layer) / layers for layer in tried_layers(layers))
        return (len(SELECTORS) + DRAWS) * left * (KEEP_RATIO + TEXT_SHARE)
