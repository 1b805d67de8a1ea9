"""Causal curves: what is lost when all later layers treat the visual tokens in one way, by the layer it begins at.

Three treatments from layer l on: `freeze` leaves all visual tokens as they are, `few` keeps only those that the last
token attends to most, `drop` keeps none. For a sample whose full model gives an answer of the tokens a_1..a_T:

    loss(T, l)  = 1 - exp(-max(0, sum_t (log p_full(a_t) - log p(a_t))))        0..1, under treatment T from layer l on
    control     = loss(drop, 0)                                                 what the picture gives to the answer
    use kept    = 1 - sum loss(T, l) / sum control                              over the samples, monotone in l

The sum over tokens, not the mean, because one changed word of a long answer is a changed answer. The control shows how
much there is to lose: a question that can be answered without its picture says nothing about visual tokens.

    onset       the first layer from which on E[loss - (1 - level) control] <= 0 is proven; the layers are tested from
                the deepest on, and the first failure ends the sequence (see probe.common.risk)
    earliest    the first layer at which the opposite is not proven: the lower end of the onset's interval

In a deep decoder some layers are tried first, and then those between each onset and the layer before it that was tried.

Cost: a run from layer l on for each treatment and layer, of few tokens or none; with 12 layers and 200 visual tokens
about 4 forward passes of the prompt.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from halfv_core.plan import Freeze, Keep, Plan
from halfv_core.records import CausalTreatment
from probe.common.resamples import Indices
from probe.common.risk import CONFIDENCE, is_positive

Array = NDArray[np.float64]

LEVEL = 0.9
"""Share of what the picture gives that a treatment has to leave."""
MAX_LAYERS = 12
"""Number of layers at which the treatments are tried first."""
CONTROL = Plan((Keep(layer=0, keep_ratio=0.0, selector="uniform"),))
"""No layer sees a visual token."""
TREATMENTS: tuple[CausalTreatment, ...] = ("freeze", "few", "drop")


def tried_layers(layers: int, first: int = 1) -> tuple[int, ...]:
    """The layers that are tried first: all from `first` on, or some, evenly spaced, in a deep decoder."""
    count = min(MAX_LAYERS, layers - first)
    return tuple(sorted(set(np.linspace(first, layers - 1, count).round().astype(int).tolist())))


def treatment_plan(treatment: CausalTreatment, start: int, layers: int, few: float) -> Plan:
    """One treatment, alone, from layer `start` on."""
    if treatment == "freeze":
        return Plan((Freeze(layers=range(start, layers)),))
    if treatment == "few":
        return Plan((Keep(layer=start, keep_ratio=few, selector="attention"),))
    return Plan((Keep(layer=start, keep_ratio=0.0, selector="uniform"),))


def causal_plans(starts: Sequence[int], layers: int, few: float) -> list[Plan]:
    """The plans to run: the control, then each treatment from each of the layers `starts` on."""
    return [CONTROL, *(treatment_plan(name, start, layers, few) for name in TREATMENTS for start in starts)]


def losses_of(falls: Array) -> Array:
    """Losses 0..1 of answers whose log-likelihood falls by these amounts, nats, summed over their tokens."""
    return 1.0 - np.exp(-np.maximum(0.0, falls))


class Onset(NamedTuple):
    """Where a treatment begins to be harmless."""

    layer: int | None
    """The layer that is proven; None if none is."""
    earliest: int | None
    """The first layer that is not refuted; None if all are."""


class CausalLosses(NamedTuple):
    """The losses of every sample."""

    layers: tuple[int, ...]
    few: float
    """Share of the visual tokens that `few` keeps."""
    losses: Mapping[CausalTreatment, Array]
    """(layers, samples) each, 0..1."""
    control: Array
    """(samples,), 0..1."""

    @classmethod
    def of(cls, starts: Sequence[int], few: float, falls: Array) -> "CausalLosses":
        """From the falls in log-likelihood, nats, summed over the answer's tokens, under each of `causal_plans`.

        Args:
            starts, few: as in `causal_plans`.
            falls: (plans, samples).
        """
        losses = losses_of(falls)
        parts = losses[1:].reshape(len(TREATMENTS), len(starts), -1)
        return cls(tuple(starts), few, dict(zip(TREATMENTS, parts, strict=True)), losses[0])

    def resampled(self, samples: Indices | Sequence[int]) -> "CausalLosses":
        """The losses of the samples with these indices, which may repeat."""
        chosen = {name: table[:, samples] for name, table in self.losses.items()}
        return self._replace(losses=chosen, control=self.control[samples])

    def joined(self, other: "CausalLosses") -> "CausalLosses":
        """These losses and those of the same samples at other layers."""
        layers = self.layers + other.layers
        order = np.argsort(layers)
        tables = {name: np.concatenate([table, other.losses[name]])[order] for name, table in self.losses.items()}
        return self._replace(layers=tuple(sorted(layers)), losses=tables)

    def between(self) -> tuple[int, ...]:
        """The layers between each treatment's onset and the layer before it that was tried."""
        found: set[int] = set()
        for onset in (self.onset(name).layer for name in TREATMENTS):
            place = 0 if onset is None else self.layers.index(onset)
            if place:
                found.update(range(self.layers[place - 1] + 1, self.layers[place]))
        return tuple(sorted(found))

    def use_kept(self, treatment: CausalTreatment) -> Array:
        """(layers,), at most 1; where the picture gives nothing, all of it is kept."""
        given = float(self.control.sum())
        if given == 0.0:
            return np.ones(len(self.layers))
        from scipy.optimize import isotonic_regression  # half a second to import

        kept = 1.0 - self.losses[treatment].sum(1) / given
        return np.asarray(isotonic_regression(kept).x)

    def onset(self, treatment: CausalTreatment, level: float = LEVEL, confidence: float = CONFIDENCE) -> Onset:
        """Where the treatment leaves the share `level` of what the picture gives."""
        excess = self.losses[treatment] - (1.0 - level) * self.control  # (layers, samples), level - 1 .. 1
        allowed = 1.0 - level
        harmless = is_positive(-excess, -1.0, max(allowed, 1e-3), confidence)  # (layers,)
        harmful = is_positive(excess, -max(allowed, 1e-3), 1.0, confidence)
        failures = np.flatnonzero(~harmless)
        first = 0 if not len(failures) else int(failures[-1]) + 1
        open_ = np.flatnonzero(~harmful)
        return Onset(
            layer=self.layers[first] if first < len(self.layers) else None,
            earliest=self.layers[int(open_[0])] if len(open_) else None,
        )
