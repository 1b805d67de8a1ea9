"""MeanSample: how long the model took on the samples measured so far, from which all estimates come."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from halfv_core.cost import tokens_by_layer
from halfv_core.plan import Plan


class MeanSample(NamedTuple):
    """Seconds and sizes of the mean sample."""

    layers: int
    """Of the decoder."""
    visual: int
    """Visual tokens of its prompt."""
    text: int
    """Text tokens of its prompt."""
    inputs: float
    """Seconds to open and prepare it."""
    prefill: float
    """Seconds from the prompt to the first token, without a plan."""
    reading: float
    """Seconds to read the rest of the answer."""
    answer: float
    """Seconds to generate the answer and to read it."""
    sample: float
    """Seconds for all of it, curves included."""

    @classmethod
    def of(cls, items: Sequence[Mapping[str, Any]], layers: int) -> "MeanSample":
        """Mean of the items of `Curves`; the seconds of the first, which pays for warming up, count only if alone."""
        visual, text = (round(_mean(items, name)) for name in ("visual_tokens", "text_tokens"))
        timings = [item["seconds"] for item in items[1:] or items]
        return cls(layers, visual, text, **{name: _mean(timings, name) for name in cls._fields[3:]})

    def trial_seconds(self, plans: Sequence[Plan]) -> float:
        """Seconds for a sample under many plans: a whole run, and each plan from its first layer on; 0 without plans.

        A run that begins at layer l costs the share of the layers' rows that is left: (L-l)/L of the layers times the
        tokens that the plan keeps. The answer is then read through all layers.
        """
        if not plans:
            return 0.0
        return self.inputs + self.prefill + sum(self.reading + self._share(plan) * self.prefill for plan in plans)

    def _share(self, plan: Plan) -> float:
        """Rows of the decoder that are computed, of all; a frozen layer still makes keys and values of visual rows."""
        rows = tokens_by_layer(plan, self.layers, self.visual, self.text)[plan.first_layer :]
        computed = sum(row.text + (0 if row.frozen else row.visual) for row in rows)
        return computed / (self.layers * (self.visual + self.text))


def _mean(items: Sequence[Mapping[str, Any]], name: str) -> float:
    return sum(float(item[name]) for item in items) / len(items)
