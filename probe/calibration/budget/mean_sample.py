"""MeanSample: the mean size and measured times of the samples so far, from which all cost estimates are derived."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from halfv_core.cost import tokens_by_layer
from halfv_core.plan import Plan


class MeanSample(NamedTuple):
    """Sizes and seconds of the mean sample."""

    layers: int
    """Number of decoder layers."""
    visual: int
    """Visual tokens in the prompt."""
    text: int
    """Text tokens in the prompt."""
    inputs: float
    """Seconds to open and prepare the inputs."""
    prefill: float
    """Seconds from the prompt to the first token, without a plan."""
    reading: float
    """Seconds to score the rest of the answer under teacher forcing."""
    answer: float
    """Seconds to generate the answer and to score it."""
    sample: float
    """Seconds for everything, including the curves, but not the KL curve."""
    kl: float = 0.0
    """Seconds for the KL curve, the mean of the samples that have one."""

    @classmethod
    def of(cls, items: Sequence[Mapping[str, Any]], layers: int) -> "MeanSample":
        """Average the items of the step `Curves`."""
        visual, text = (round(_mean(items, name)) for name in ("visual_tokens", "text_tokens"))
        means = {
            name: _mean([item["seconds"] for item in _warm(items)], name) for name in cls._fields[3:] if name != "kl"
        }
        with_kl = [item["seconds"] for item in _warm([item for item in items if item["kl"] is not None])]
        return cls(layers, visual, text, **means, kl=_mean(with_kl, "kl") if with_kl else 0.0)

    def in_passes(self) -> "MeanSample":
        """The same sample with forward passes of the prompt in the place of seconds.

        A sample's curves take a capture of the states, and the answer a prefill to generate it and one to score it.
        The KL curve takes (L+1)/2 passes (see probe.analyzers.layer_redundancy).
        """
        return self._replace(inputs=0.0, prefill=1.0, reading=0.0, answer=2.0, sample=3.0, kl=(self.layers + 1) / 2)

    def trial_seconds(self, plans: Sequence[Plan]) -> float:
        """Seconds to run a sample in full once and then under each plan from its first layer on; 0 without plans.

        A run that starts at layer l costs the share of the decoder that remains: (L-l)/L of the layers, times the
        tokens that the plan keeps. The rest of the answer is then scored through all layers.
        """
        if not plans:
            return 0.0
        return self.inputs + self.prefill + sum(self.reading + self._share(plan) * self.prefill for plan in plans)

    def _share(self, plan: Plan) -> float:
        """Share of the decoder's (layer, token) pairs that are computed.

        A frozen visual token counts as free, although its keys and values are still computed.
        """
        rows = tokens_by_layer(plan, self.layers, self.visual, self.text)[plan.first_layer :]
        computed = sum(row.text + row.visual - row.frozen for row in rows)
        return computed / (self.layers * (self.visual + self.text))


def _warm(items: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Without the first item, whose times include warm-up, unless it is alone."""
    return items[1:] or items


def _mean(items: Sequence[Mapping[str, Any]], name: str) -> float:
    return sum(float(item[name]) for item in items) / len(items)
