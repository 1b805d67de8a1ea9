"""How sure the stages are: bootstrap intervals of both boundaries, and whether there were enough samples.

    interval   5th to 95th percentile of a boundary over 200 resamples of the samples, with replacement
    enough     half of the samples, drawn without replacement, puts both stages where all do in 90 % of 50 draws

Percentiles are inverse distribution functions, so each is an answer that some resample gave; "no Stage III" is one of
the answers and counts as later than every layer. Half, because the mean of n of N samples differs from that of all N by
a variance of s^2 (1/n - 1/N), which for n = N/2 is s^2/N: as much as the mean of all N differs from the truth.
A resample adds its noise to a mean that is noisy already, so the intervals err on the wide side. All this speaks of
chance in the draw of samples, not of data of another kind; `compare` is for that.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from halfv_core.errors import DataError
from halfv_core.records import BoundaryUncertainty, SampleSize, Uncertainty, Winner
from probe.analyzers.marginal_utility import UtilitySurface
from probe.calibration.decide import decide_stages
from probe.calibration.measurements import Measurements
from probe.common.resamples import RESAMPLES, Indices, with_replacement, without_replacement

TAIL_SHARE = 0.05
"""Share of the resamples that each end of the interval leaves out."""
SUBSET_DRAWS = 50
"""Draws at each size of the sample-size curve."""
ENOUGH_AGREEMENT = 0.9
"""Share of draws of half of the samples that must agree with all."""
MIN_SAMPLES = 10
"""Samples below which even perfect agreement of the halves shows nothing."""


class StageStarts(NamedTuple):
    """Both boundaries, as one set of samples gives them."""

    aggregation: int
    saturation: int | None


def stage_uncertainty(
    measurements: Measurements, surface: UtilitySurface | None = None, seed: int = 0, resamples: int = RESAMPLES
) -> Uncertainty:
    """Decide the stages again and again on parts of what was measured; no model is run.

    Args:
        found: two samples or more.
        surface: marginal utility on the same samples, in the same order.
        seed: same seed, same answer; samples in another order are like another seed.

    Raises:
        DataError: a single sample, which cannot differ from itself.
    """
    count = len(measurements.visual)
    if count < 2:
        raise DataError("one sample cannot say how sure it is", got=count, expected="2 samples or more")
    detector = _Detector(measurements, surface)
    resampled = list(detector.of_draws(with_replacement(count, seed, resamples)))
    sizes = tuple(_sample_sizes(detector, count, seed))
    half = sizes[-2]
    enough = count >= MIN_SAMPLES and half.same >= ENOUGH_AGREEMENT
    return Uncertainty(
        resamples=resamples,
        aggregation_start=boundary_uncertainty(stages.aggregation for stages in resampled),
        saturation_start=boundary_uncertainty(stages.saturation for stages in resampled),
        sample_sizes=sizes,
        enough=enough,
        verdict=_verdict(count, half, enough),
    )


def boundary_uncertainty(answers: Iterable[int | None]) -> BoundaryUncertainty:
    """Shares and percentiles of the answers, one or more."""
    counted = sorted(Counter(answers).items(), key=lambda item: math.inf if item[0] is None else item[0])
    layers, shares = [layer for layer, _ in counted], np.array([float(times) for _, times in counted])
    shares /= shares.sum()
    reached = np.cumsum(shares)

    def percentile(share: float) -> int | None:
        # The tolerance is for shares like 1/20, whose sums miss their value by rounding.
        return layers[int(np.argmax(reached >= share - 1e-9))]

    return BoundaryUncertainty(
        low=percentile(TAIL_SHARE),
        median=percentile(0.5),
        high=percentile(1 - TAIL_SHARE),
        wins=tuple(Winner(layer=layer, share=share) for layer, share in zip(layers, shares.tolist(), strict=True)),
    )


class _Detector:
    """Stages of any choice among the samples."""

    def __init__(self, measurements: Measurements, surface: UtilitySurface | None) -> None:
        self._surface = surface
        self._curves = [
            np.stack(curves) for curves in (measurements.visual, measurements.text, measurements.kl)
        ]  # each (samples, points)

    def __call__(self, indices: Indices) -> StageStarts:
        # A mean over rows, not a product with weights: it adds every column in the same order, so flat stays flat.
        visual, text, kl = (curves[indices].mean(0) for curves in self._curves)
        surface = None if self._surface is None else self._surface.resampled(indices)
        stages = decide_stages(visual, text, kl, surface).stages
        return StageStarts(stages.aggregation_start, stages.saturation_start)

    def of_draws(self, draws: Indices) -> Iterator[StageStarts]:
        return map(self, draws)


def _sample_sizes(detector: _Detector, count: int, seed: int) -> Iterator[SampleSize]:
    """All samples, and half, a quarter ... of them, the fewest first."""
    reference = detector(np.arange(count))
    for halvings in range(count.bit_length() - 1, -1, -1):
        size = count >> halvings
        # All samples leave nothing to draw.
        draws = without_replacement(count, size, seed, SUBSET_DRAWS) if halvings else [np.arange(count)]
        results = [detector(indices) for indices in draws]
        yield SampleSize(
            samples=size,
            same=float(np.mean([starts == reference for starts in results])),
            within_one=float(np.mean([_within_one_layer(starts, reference) for starts in results])),
        )


def _within_one_layer(starts: StageStarts, reference: StageStarts) -> bool:
    return all(
        first == second if first is None or second is None else abs(first - second) <= 1
        for first, second in zip(starts, reference, strict=True)
    )


def _verdict(count: int, half: SampleSize, enough: bool) -> str:
    if count < MIN_SAMPLES:
        return f"{count} samples are too few to say whether they place the stages; calibrate on {MIN_SAMPLES} or more."
    agreement = f"half of them put both at the same layers in {half.same:.0%} of {SUBSET_DRAWS} draws"
    if enough:
        return f"{count} samples were enough to place the stages: {agreement}."
    nearly = f"and within one layer of them in {half.within_one:.0%}"
    advice = "calibrate on more samples, or mind the intervals"
    return f"{count} samples were not enough to place the stages: {agreement} {nearly}; {advice}."
