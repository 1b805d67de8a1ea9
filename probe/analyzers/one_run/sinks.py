"""Visual sinks: visual tokens that get much attention and have little to say.

    sink          a visual token whose state is massive in the model's sink channels (`probe.analyzers.sink_channels`)
    share         sum over visual sinks j of a_j;  a_j: attention of the last prompt token to j, mean over heads
    value_j       sum over heads and channels of |v_j|, divided by its median over the visual tokens
    correlation   Spearman's, of a_j and value_j over the visual tokens

VisiPruner (arXiv 2510.17205) draws a_j and the undivided value_j over the image and calls tokens with much attention
and small values passive sinks: the correlation says how far that holds. The sinks are those of VisAttnSink (arXiv
2503.03321). Points are shown of three layers in the first third, where VisiPruner finds them. Unit: a number of tokens,
a share, -1..1. Cost: one row of attention and the values in each layer; no pass beside the shared run.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata

from halfv_core.runtime.prompt_view import PromptView
from probe.analyzers.findings import AnyFinding, ScatterPoints, bars, layer_series, significant
from probe.analyzers.probe import PROBES, Item, Probe
from probe.analyzers.sink_channels import massiveness, model_channels, visual_sinks
from probe.capture.prompt_run import PromptRun

POINTS = 150
"""Visual tokens of a layer of an example that are shown: a third of them those with the most attention."""
MOST_POINTS = 3000
"""Points that are shown in all."""
SHOWN_CHANNELS = 4
"""Channels that are listed where prompts do not agree on two."""


class Seen(NamedTuple):
    """One layer's visual tokens, (V,) each, float32 on the CPU."""

    attention: torch.Tensor
    """Of the last prompt token, mean over heads."""
    value: torch.Tensor
    """Length of the value, in medians."""


def relative_values(values: torch.Tensor) -> torch.Tensor:
    """Sum of the magnitudes of values (H_kv, V, d), divided by the median over the V tokens: (V,); 1 if that is 0."""
    lengths = values.abs().sum((0, 2))
    median = lengths.median()
    return lengths / median if median > 0 else torch.ones_like(lengths)


def rank_correlation(x: torch.Tensor, y: torch.Tensor) -> float:
    """Spearman's correlation of x and y, (V,) each; 0 where one of them is constant."""
    ranks = np.stack([rankdata(values.numpy()) for values in (x, y)])
    centred = ranks - ranks.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1).prod()
    return float(centred[0] @ centred[1] / length) if length > 0 else 0.0


def shown_tokens(attention: torch.Tensor, count: int = POINTS) -> list[int]:
    """Indices of up to `count` tokens: the most attended third, and evenly spaced ones of the others, ascending."""
    order = attention.argsort(descending=True, stable=True)
    most, others = order[: count // 3], order[count // 3 :].sort().values
    left = count - len(most)
    spaced = others[:: max(1, -(-len(others) // left))]
    return sorted([*most.tolist(), *spaced.tolist()])


def shown_layers(layers: int) -> list[int]:
    """Up to three layers of the first third, without layer 0."""
    return sorted(set(np.linspace(1, max(1, layers // 3), 3).round().astype(int).tolist()))


@PROBES.register("sinks")
class Sinks(Probe):
    """Number and attention of sinks by layer, their channels; of examples attention against value."""

    title = "Visual attention sinks"
    question = "Which visual tokens draw attention without a value to pass on, and how much of it?"
    looks = True

    def look(self, layer: int, prompt: PromptView, run: PromptRun) -> Seen:
        """The visual tokens' attention and values."""
        row = prompt.attention(prompt.question[-1:], at="own")[:, 0, prompt.visual]  # (H, V)
        values = prompt.values(at="own")[:, prompt.visual]
        return Seen(row.mean(0).cpu(), relative_values(values).cpu())

    def measure(self, run: PromptRun, looked: Sequence[Seen], *, example: bool) -> Item:
        """Numbers by layer, the sink channels, and points of an example."""
        sinks, channels = visual_sinks(run), model_channels(run)
        massive = massiveness(run.states[:, 0], channels).median(0).values
        item: dict[str, Any] = {
            "count": sinks.sum(1).tolist(),
            "share": [float(seen.attention[own].sum()) for seen, own in zip(looked, sinks, strict=True)],
            "correlation": [rank_correlation(*seen) for seen in looked],
            "channels": dict(zip(map(str, channels.tolist()), massive.tolist(), strict=True)),
        }
        if example:
            item["points"] = [_points(layer, looked[layer], sinks[layer]) for layer in shown_layers(run.layers)]
        return item

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """Means over the samples, the channels, and the examples' points."""

        def series(name: str, title: str) -> AnyFinding:
            return layer_series(name, [item[name] for item in items.values()], axis="layers", title=title)

        found = [
            series("count", "Number of visual sinks"),
            series("share", "Share of the last prompt token's attention that goes to visual sinks"),
            series("correlation", "Rank correlation of attention and value length over visual tokens"),
            _channels([item["channels"] for item in items.values()]),
        ]
        points = _joined({sample: item["points"] for sample, item in items.items() if "points" in item})
        return found if points is None else [*found, points]


def _points(layer: int, seen: Seen, sinks: torch.Tensor) -> dict[str, Any]:
    tokens = shown_tokens(seen.attention)
    return {
        "layer": layer,
        "tokens": tokens,
        "attention": significant(seen.attention[tokens]),
        "value": significant(seen.value[tokens]),
        "sinks": sinks[tokens].int().tolist(),
    }


def _joined(examples: Mapping[str, Sequence[Mapping[str, Any]]]) -> ScatterPoints | None:
    """The points of the first examples, as many as may be shown."""
    rows: list[tuple[int, float, float, str]] = []
    for sample, layers in examples.items():
        own = [
            (at["layer"], attention, value, f"{sample}, token {token}{', a sink' * sink}")
            for at in layers
            for attention, value, token, sink in zip(
                at["attention"], at["value"], at["tokens"], at["sinks"], strict=True
            )
        ]
        if len(rows) + len(own) > MOST_POINTS:
            break
        rows += own
    if not rows:
        return None
    layers_of, x, y, labels = zip(*rows, strict=True)
    return ScatterPoints(
        name="points",
        title="Attention and value length of visual tokens",
        x_title="share of the last prompt token's attention",
        y_title="length of the value, in medians",
        layers=layers_of,
        x=x,
        y=y,
        labels=labels,
    )


def _channels(found: Sequence[Mapping[str, float]]) -> AnyFinding:
    """The channels that most samples name. Those of samples differ only where the prompts begin differently."""
    names = [name for name, _ in Counter(name for own in found for name in own).most_common(SHOWN_CHANNELS)]
    rows = [[own.get(name, np.nan) for name in names] for own in found]
    title = "Activation of the first token in the sink channels, by the RMS of the others, median over the states"
    return bars("channels", [f"channel {name}" for name in names], rows, title=title)
