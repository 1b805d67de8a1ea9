"""Marginal utility of pruning: the loss in answer quality per share of compute saved.

    MU(l, r) = -(change of the metric) / (change of the cost + eps)

for one pruning at the input of layer l that keeps the share r of the visual tokens (HalfV, arXiv 2604.16462, inherited
redundancy). The metric is the log-likelihood of the full model's answer under teacher forcing, in nats per token; the
cost is the decoder's prefill FLOPs as a share of the full model's, and a saving counts as positive. Lower is better:
the paper reports 0.21 at the start of Stage II and 0.29-0.87 elsewhere.
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
"""Added to the saving, so that a pruning that saves next to nothing does not divide by almost 0."""
RULE_OUT_SHARE = 0.95
"""A layer is ruled out if it is worse than the best one in at least this share of the resamples."""


@dataclass(frozen=True)
class UtilitySurface:
    """Marginal utility over a grid of layers and keep ratios, measured on the same samples throughout."""

    layers: tuple[int, ...]
    keep_ratios: tuple[float, ...]
    saved: Array
    """(layers, ratios), share of the decoder's prefill FLOPs that the pruning saves for the mean prompt, 0..1."""
    drops: Array
    """(layers, ratios, samples), drop in the log-likelihood of the full model's answer, nats per token."""
    agrees: Array
    """(layers, ratios, samples), 1 where the greedy answer equals the full model's."""

    @property
    def utility(self) -> Array:
        """(layers, ratios), MU averaged over the samples, nats per token for the full model's whole cost."""
        return self.drops.mean(2) / (self.saved + EPS)  # type: ignore[no-any-return]

    @property
    def agreement(self) -> Array:
        """(layers, ratios), share of samples whose greedy answer equals the full model's."""
        return self.agrees.mean(2)  # type: ignore[no-any-return]

    def resampled(self, samples: Indices) -> "UtilitySurface":
        """The surface of the samples with these indices, which may repeat."""
        return replace(self, drops=self.drops[..., samples], agrees=self.agrees[..., samples])

    def record(self, candidates: Mapping[str, int]) -> records.UtilitySurface:
        """The surface as a profile stores it, with means over the samples.

        Args:
            candidates: signal -> layer at which that signal places the start of Stage II.
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
    """A plan with one pruning for each point of the grid, layer by layer."""
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
    """The surface from the trials of `grid_plans`.

    Args:
        trials: one for each plan, in the order of `grid_plans`.
        visual, text: numbers of visual and text tokens in the mean prompt.
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


def choose_aggregation_start(
    candidates: Sequence[int], surface: UtilitySurface, preferred: int, seed: int = 0
) -> tuple[int, dict[int, float]]:
    """Choose the layer at which Stage II starts from several candidates.

    The mean MU over the keep ratios decides. A candidate is ruled out when it is worse than the best one in at least
    `RULE_OUT_SHARE` of the bootstrap resamples (paired). The preferred candidate is chosen unless it is ruled out;
    otherwise the best one is.

    Args:
        candidates: layers of the surface's grid, including `preferred`.

    Returns:
        The layer, and for each candidate the share of resamples in which it is worse than the best.
    """
    rows = [surface.layers.index(layer) for layer in candidates]
    # MU is linear in the drops, so the mean over samples is the mean of per-sample values.
    samples = (surface.drops / (surface.saved + EPS)[..., None]).mean(1)[rows]  # (candidates, samples)
    best = int(samples.mean(1).argmin())
    resampled = samples[:, with_replacement(samples.shape[1], seed)].mean(2)  # (candidates, resamples)
    worse = dict(zip(candidates, (resampled > resampled[best]).mean(1).tolist(), strict=True))
    return preferred if worse[preferred] < RULE_OUT_SHARE else candidates[best], worse
