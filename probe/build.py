"""Measurements -> Profile, without a model or a disk."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from halfv_core.cost import DecoderShape, cost_of, tokens_by_layer
from halfv_core.plan import Freeze, Keep, Option, Plan
from halfv_core.profile import Curve, Curves, Expected, Saturation, Stages
from probe.analyzers.saturation import treatments

Array = NDArray[np.float64]


@dataclass
class Measurements:
    """Curves of every sample; a few numbers a layer, so memory does not grow with the prompts."""

    entropy_k: int
    visual: list[Array] = field(default_factory=list)
    """Each (L+1,), nats."""
    text: list[Array] = field(default_factory=list)
    joint: list[Array] = field(default_factory=list)
    kl: list[Array] = field(default_factory=list)
    """Each (L,), nats."""
    spectrum: list[Array] = field(default_factory=list)
    """Each (L+1, entropy_k)."""
    visual_tokens: list[int] = field(default_factory=list)
    text_tokens: list[int] = field(default_factory=list)

    def curves(self) -> Curves:
        """Mean and spread over the samples."""
        spectrum = np.mean(self.spectrum, axis=0)  # (L+1, entropy_k)
        return Curves(
            visual=_curve(self.visual),
            text=_curve(self.text),
            joint=_curve(self.joint),
            kl=_curve(self.kl),
            spectrum=tuple(tuple(row) for row in spectrum.tolist()),
            entropy_k=self.entropy_k,
        )


def _curve(samples: Sequence[Array]) -> Curve:
    stacked = np.stack(samples)  # (samples, points)
    return Curve(mean=tuple(stacked.mean(0).tolist()), std=tuple(stacked.std(0).tolist()))


def candidate_plans(
    stages: Stages,
    saturation: Saturation,
    layers: int,
    keep_ratios: Sequence[float],
    *,
    selector: str,
    options: Mapping[str, Option],
    top_share: float,
) -> Iterator[Plan]:
    """Whole plans by keep ratio at Stage II, from the smallest share to 1.0, with the treatment of Stage III in each.

    Args:
        selector, options: of the pruning at Stage II.
        top_share: share kept in Stage III under `token_sparsity`.
    """
    start = stages.saturation_start
    for ratio in sorted({*keep_ratios, 1.0}):
        items: list[Keep | Freeze] = []
        if ratio < 1.0:
            layer = stages.aggregation_start
            items.append(Keep(layer=layer, keep_ratio=ratio, selector=selector, options=dict(options)))
        if start is not None and saturation.type != "none":
            items += treatments(start, layers, min(top_share, ratio))[saturation.type].interventions
        yield Plan(items)


def expected(
    plan: Plan,
    shape: DecoderShape,
    measured: Measurements,
    held_out: int,
    agreement: float | None,
    log_likelihood_drop: float | None,
) -> Expected:
    """What a plan promises for the mean prompt."""
    visual, text = float(np.mean(measured.visual_tokens)), float(np.mean(measured.text_tokens))
    cost = cost_of(shape, tokens_by_layer(plan, shape.layers, round(visual), round(text)))
    return Expected(
        flops_ratio=cost.flops_ratio,
        kv_ratio=cost.kv_ratio,
        visual_tokens=visual,
        text_tokens=text,
        agreement=agreement,
        log_likelihood_drop=log_likelihood_drop,
        held_out=held_out,
    )
