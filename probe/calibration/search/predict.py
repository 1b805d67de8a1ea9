"""What candidates are expected to lose, from what their parts did alone.

    fall(candidate) = sum over its parts of the fall in the answer's log-likelihood that the part causes alone
    loss            = sum w (1 - exp(-max(0, fall))) / sum w          over the samples

The parts are the prunings of the marginal utility and the treatments of the causal curves, on the same samples. Between
measured shares, the fall is interpolated in the logarithm of the share; a pruning later than all measured ones is
taken to be as bad as the last. Parts whose falls add up is a coarse model: it proposes, and real runs decide.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from probe.analyzers.causal_curves import CausalLosses, losses_of
from probe.analyzers.marginal_utility import UtilitySurface
from probe.calibration.search.candidate import RATIOS, Array, Candidate, Form, PriceTable

MAX_LOSS = 0.5
"""Parts that lose more than this alone are not considered."""
MAX_KEEP_LAYERS = 10
"""Number of layers at which candidates prune."""


@dataclass(frozen=True)
class Parts:
    """The falls in log-likelihood that single interventions cause, nats, summed over the answer's tokens."""

    prunings: Mapping[tuple[int, float], Array]
    """Layer and share -> (samples,)."""
    treatments: Mapping[tuple[str, int], Array]
    """Treatment and first layer -> (samples,)."""
    weights: Array
    """(samples,), how much each sample counts, above 0."""

    @classmethod
    def of(
        cls,
        form: Form,
        surface: UtilitySurface | None,
        causes: CausalLosses | None,
        tokens: Array,
        weights: Array,
        samples: Sequence[int],
    ) -> "Parts":
        """From what was measured on the samples with these indices.

        Args:
            surface: None if it was not measured; then nothing is known of prunings.
            causes: None likewise of treatments.
            tokens: (all samples,) number of tokens of each answer.
            weights: (all samples,).
        """
        chosen = list(samples)
        prunings = {} if surface is None else _prunings(form, surface.resampled(np.array(chosen)), tokens[chosen])
        treatments: dict[tuple[str, int], Array] = {}
        if causes is not None:
            few = causes.resampled(np.array(chosen))
            for name, table in few.losses.items():
                falls = -np.log(np.maximum(1.0 - table, 1e-12))  # (layers, samples)
                treatments |= {(name, layer): row for layer, row in zip(causes.layers, falls, strict=True)}
        return cls(prunings, treatments, weights[chosen])

    def loss(self, falls: Array) -> Array:
        """Mean losses, (...,), of falls (..., samples)."""
        found: Array = losses_of(falls) @ self.weights / self.weights.sum()
        return found


def _prunings(form: Form, surface: UtilitySurface, tokens: Array) -> dict[tuple[int, float], Array]:
    falls = surface.drops * tokens  # (layers, ratios, samples)
    ratios, zero = [*surface.keep_ratios, 1.0], np.zeros((1, falls.shape[2]))
    places = np.log(ratios)
    tables = {}
    last = max(surface.layers)
    deepest = max(last, 2 * form.layers // 3)
    layers = np.linspace(min(surface.layers), deepest, min(MAX_KEEP_LAYERS, deepest)).round().astype(int)
    for layer in sorted(set(layers.tolist()) | set(surface.layers)):
        measured = np.concatenate([falls[surface.layers.index(min(layer, last))], zero])  # (ratios + 1, samples)
        for ratio in RATIOS:
            if ratio >= ratios[0]:
                right = max(1, int(np.searchsorted(places, math.log(ratio) - 1e-9)))
                share = (math.log(ratio) - places[right - 1]) / (places[right] - places[right - 1])
                tables[layer, ratio] = (1 - share) * measured[right - 1] + share * measured[right]
    return tables


@dataclass(frozen=True)
class Predicted:
    """A candidate with what is expected of it."""

    candidate: Candidate
    ratio: float
    """Cost without a plan, divided by that of the candidate."""
    loss: float
    """Expected loss, 0..1."""


def predictions(form: Form, parts: Parts, prices: PriceTable) -> list[Predicted]:
    """All candidates of at most two Keeps, a treatment and a drop, with what is expected of them."""
    prunings = {key: falls for key, falls in parts.prunings.items() if parts.loss(falls) <= MAX_LOSS}
    treatments = {key: falls for key, falls in parts.treatments.items() if parts.loss(falls) <= MAX_LOSS}
    ends = list(_ends(treatments))
    end_falls = np.array([sum((treatments[part] for part in end), np.zeros(len(parts.weights))) for end in ends])
    found = []
    for keeps in _ladders(prunings):
        falls = sum((prunings[keep] for keep in keeps), np.zeros(len(parts.weights)))
        losses = parts.loss(falls + end_falls)  # (ends,)
        for end, loss in zip(ends, losses.tolist(), strict=True):
            candidate = _candidate(keeps, end)
            if candidate.is_valid(form):
                found.append(Predicted(candidate, prices.ratio(candidate), loss))
    return found


def _ladders(prunings: Mapping[tuple[int, float], Array]) -> Iterator[tuple[tuple[int, float], ...]]:
    yield ()
    yield from ((keep,) for keep in prunings)
    for first, second in product(prunings, prunings):
        if first[0] < second[0] and first[1] > second[1]:
            yield first, second


def _ends(treatments: Mapping[tuple[str, int], Array]) -> Iterator[tuple[tuple[str, int], ...]]:
    """No treatment, one, a drop of all tokens, or both."""
    drops = [part for part in treatments if part[0] == "drop"]
    yield ()
    yield from ((part,) for part in treatments)
    for part, drop in product(treatments, drops):
        if part[0] != "drop" and part[1] < drop[1]:
            yield part, drop


def _candidate(keeps: tuple[tuple[int, float], ...], end: tuple[tuple[str, int], ...]) -> Candidate:
    treatment = next((part for part in end if part[0] != "drop"), None)
    drop = next((layer for name, layer in end if name == "drop"), None)
    return Candidate(keeps, treatment, drop)  # type: ignore[arg-type]
