"""How certain the stages are: bootstrap intervals of both boundaries, and whether there were enough samples.

    interval   5th to 95th percentile of a boundary over 200 bootstrap resamples of the samples
    enough     half of the samples, drawn without replacement, give the same stages as all of them in 90 % of 50 draws

Percentiles are taken from the inverse distribution function, so each is a value that occurred in some resample; "no
Stage III" is such a value and counts as later than every layer. Half of the samples, because the mean of n of N samples
differs from the mean of all N by a variance of s^2 (1/n - 1/N), which for n = N/2 is s^2/N: as much as the mean of all
N differs from the truth. A resample adds noise to a mean that is already noisy, so the intervals are rather too wide.
They cover chance in the draw of samples; `compare` shows the effect of other data.

Not all samples have a KL curve: a resample takes those of its samples, or all of them if none of its samples has one.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from halfv_core.errors import DataError
from halfv_core.records import BoundaryUncertainty, SampleSize, Uncertainty, Winner
from probe.analyzers.marginal_utility import UtilitySurface
from probe.calibration.causes import CausalEvidence
from probe.calibration.decide import decide_stages, with_causes
from probe.calibration.measurements import Measurements, typical_kl
from probe.common.resamples import RESAMPLES, Indices, with_replacement, without_replacement

TAIL_SHARE = 0.05
"""Share of the resamples that lies outside the interval at each end."""
SUBSET_DRAWS = 50
"""Number of draws for each size of the sample-size curve."""
ENOUGH_AGREEMENT = 0.9
"""Share of draws of half of the samples that must agree with all samples."""
MIN_SAMPLES = 10
"""With fewer samples, even perfect agreement of the halves shows nothing."""


class StageStarts(NamedTuple):
    """Both boundaries, as found on one set of samples."""

    aggregation: int
    saturation: int | None


def stage_uncertainty(
    measurements: Measurements,
    surface: UtilitySurface | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    *,
    causes: CausalEvidence | None = None,
) -> Uncertainty:
    """Decide the stages on resamples and on subsets of the measurements; no model is run.

    Args:
        measurements: at least two samples.
        surface: marginal utility on the same samples, in the same order.
        seed: determines the result for a given order of the samples.
        resamples: number of bootstrap resamples.
        causes: the causal curves of the same samples, in the same order, if they decide where Stage III begins.

    Raises:
        DataError: a single sample, which cannot vary.
    """
    count = len(measurements.visual)
    if count < 2:
        raise DataError("one sample cannot say how sure it is", got=count, expected="2 samples or more")
    detector = _Detector(measurements, surface, causes)
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
    """Shares and percentiles of a boundary's values over resamples, of which there must be at least one."""
    counted = sorted(Counter(answers).items(), key=lambda item: math.inf if item[0] is None else item[0])
    layers, shares = [layer for layer, _ in counted], np.array([float(count) for _, count in counted])
    shares /= shares.sum()
    reached = np.cumsum(shares)

    def percentile(share: float) -> int | None:
        # The tolerance covers rounding errors in the sums of shares such as 1/20.
        return layers[int(np.argmax(reached >= share - 1e-9))]

    return BoundaryUncertainty(
        low=percentile(TAIL_SHARE),
        median=percentile(0.5),
        high=percentile(1 - TAIL_SHARE),
        wins=tuple(Winner(layer=layer, share=share) for layer, share in zip(layers, shares.tolist(), strict=True)),
    )


class _Detector:
    """Finds the stages on any choice of samples, given by indices."""

    def __init__(
        self, measurements: Measurements, surface: UtilitySurface | None, causes: CausalEvidence | None
    ) -> None:
        self._surface = surface
        self._causes = causes
        self._entropies = [np.stack(curves) for curves in (measurements.visual, measurements.text)]  # (samples, L+1)
        self._kl = np.stack(measurements.kl_rows)  # (samples with a KL curve, L)
        numbers = itertools.count()
        self._kl_row = np.array([-1 if row is None else next(numbers) for row in measurements.kl])

    def __call__(self, indices: Indices) -> StageStarts:
        # A mean over rows, not a product with weights: it sums all columns in the same order, so flat curves stay flat.
        visual, text = (curves[indices].mean(0) for curves in self._entropies)
        rows = self._kl_row[indices]
        drawn = rows[rows >= 0]
        kl = typical_kl(self._kl[drawn] if len(drawn) else self._kl)
        surface = None if self._surface is None else self._surface.resampled(indices)
        decision = decide_stages(visual, text, kl, surface)
        if self._causes is not None:
            start = self._causes.start(indices)
            decision = with_causes(decision, start and start.layer, "")
        stages = decision.stages
        return StageStarts(stages.aggregation_start, stages.saturation_start)

    def of_draws(self, draws: Indices) -> Iterator[StageStarts]:
        return map(self, draws)


def _sample_sizes(detector: _Detector, count: int, seed: int) -> Iterator[SampleSize]:
    """Agreement with all samples for subsets of ever larger size: ..., a quarter, half, all."""
    reference = detector(np.arange(count))
    for halvings in range(count.bit_length() - 1, -1, -1):
        size = count >> halvings
        # There is only one subset of all samples.
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
