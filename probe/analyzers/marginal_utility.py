"""Marginal utility of pruning: how much the answers lose for each share of the cost that is saved.

    MU(l, r) = -(change of the metric) / (change of the cost + eps)

for one pruning at the input of layer l that keeps the share r (HalfV, arXiv 2604.16462, inherited redundancy). The
metric is the log-likelihood of the full model's answer under teacher forcing, nats a token; the cost is the decoder's
prefill FLOPs as a share of the full model's, and the saving counts as positive. Low is good: in the paper 0.21 at the
start of Stage II against 0.29-0.87 elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from halfv_core import records
from halfv_core.cost import DecoderShape, cost_of, tokens_by_layer
from halfv_core.plan import Keep, Option, Plan
from probe.common.resamples import Indices, with_replacement
from probe.trials.readings import Readings

Array = NDArray[np.float64]

EPS = 1e-3
"""Keeps a pruning that saves next to nothing from dividing by it."""
SURE = 0.95
"""Share of resamples in which a layer must be worse than the best to be ruled out."""


@dataclass(frozen=True)
class UtilitySurface:
    """Measured over a grid of layers and keep ratios on the same samples."""

    layers: tuple[int, ...]
    keep_ratios: tuple[float, ...]
    saved: Array
    """(layers, ratios): share of the decoder's prefill FLOPs that the pruning saves for the mean prompt, 0..1."""
    drops: Array
    """(layers, ratios, samples): fall in the log-likelihood of the full model's answer, nats a token."""
    agrees: Array
    """(layers, ratios, samples): 1 where the greedy answer is the full model's."""

    @property
    def utility(self) -> Array:
        """(layers, ratios): MU of the mean sample, nats a token for the whole cost."""
        return self.drops.mean(2) / (self.saved + EPS)  # type: ignore[no-any-return]

    @property
    def agreement(self) -> Array:
        """(layers, ratios): share of samples that agree."""
        return self.agrees.mean(2)  # type: ignore[no-any-return]

    def of(self, samples: Indices) -> "UtilitySurface":
        """The same measured on some of the samples, which may repeat."""
        return replace(self, drops=self.drops[..., samples], agrees=self.agrees[..., samples])

    def record(self, candidates: Mapping[str, int]) -> records.UtilitySurface:
        """As a profile keeps it: means over the samples.

        Args:
            candidates: signal -> layer at which it sees Stage II begin.
        """
        tables = {"saved": self.saved, "utility": self.utility, "agreement": self.agreement}
        return records.UtilitySurface(
            layers=self.layers,
            keep_ratios=self.keep_ratios,
            log_likelihood_drop=_rows(self.drops.mean(2)),
            candidates=dict(candidates),
            samples=self.drops.shape[2],
            **{name: _rows(table) for name, table in tables.items()},
        )


def _rows(table: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, table.tolist()))


def grid_plans(
    layers: Sequence[int], keep_ratios: Sequence[float], selector: str, options: Mapping[str, Option]
) -> list[Plan]:
    """One pruning for each point of the grid, layer by layer."""
    return [
        Plan((Keep(layer=layer, keep_ratio=ratio, selector=selector, options=dict(options)),))
        for layer in layers
        for ratio in keep_ratios
    ]


def utility_surface(
    layers: Sequence[int],
    keep_ratios: Sequence[float],
    trials: Sequence[Readings],
    shape: DecoderShape,
    visual: int,
    text: int,
) -> UtilitySurface:
    """The surface from the trials of `grid_plans`, in their order.

    Args:
        visual, text: tokens of the mean prompt.
    """
    size = len(layers), len(keep_ratios)
    costs = [
        cost_of(shape, tokens_by_layer(plan, shape.layers, visual, text))
        for plan in grid_plans(layers, keep_ratios, "uniform", {})
    ]
    return UtilitySurface(
        layers=tuple(layers),
        keep_ratios=tuple(keep_ratios),
        saved=np.array([1 - 1 / cost.flops_ratio for cost in costs]).reshape(size),
        drops=np.array([trial.drops for trial in trials]).reshape(*size, -1),
        agrees=np.array([trial.agrees for trial in trials], dtype=np.float64).reshape(*size, -1),
    )


def settle(
    candidates: Sequence[int], surface: UtilitySurface, preferred: int, seed: int = 0
) -> tuple[int, dict[int, float]]:
    """The candidate layer at which Stage II is taken to start.

    Mean MU over the keep ratios decides. A candidate is ruled out when it is worse than the best one in `SURE` of the
    resamples of the samples (paired). The preferred one stays unless it is ruled out; then the best takes its place.

    Args:
        candidates: layers of the surface's grid, `preferred` among them.

    Returns:
        the layer, and for each candidate the share of resamples in which it is worse than the best.
    """
    rows = [surface.layers.index(layer) for layer in candidates]
    # MU is linear in the drops, so each sample has one of its own.
    samples = (surface.drops / (surface.saved + EPS)[..., None]).mean(1)[rows]  # (candidates, samples)
    best = int(samples.mean(1).argmin())
    resampled = samples[:, with_replacement(samples.shape[1], seed)].mean(2)  # (candidates, resamples)
    worse = dict(zip(candidates, (resampled > resampled[best]).mean(1).tolist(), strict=True))
    return preferred if worse[preferred] < SURE else candidates[best], worse
