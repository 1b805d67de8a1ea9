"""Findings: what a probe says about a model, in the few shapes that a page can draw and a data frame can hold.

    layer_series("entropy", rows, axis="layers", title="Attention entropy", unit="nats")      # rows: samples x layers

Means come with 95 % bootstrap intervals over the samples. A finding holds no sample but where it says so.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from halfv_core.records import Record
from probe.common.resamples import with_replacement

Array = NDArray[np.float64]
Axis = Literal["states", "layers"]
"""`states`: L+1 points, entry i is the input of layer i; `layers`: L points, entry l is layer l itself."""

CONFIDENCE = 0.95
DRAWS = 1000
SEED = 0


class Finding(Record):
    """What all findings have in common."""

    name: str
    """Unique among the findings of one probe."""
    title: str
    unit: str = ""
    """Of the values; empty for a share or a count, which the title says."""


class LayerSeries(Finding):
    """One number at each layer: mean over the samples, with an interval."""

    kind: Literal["series"] = "series"
    axis: Axis
    group: str = ""
    """What the series is of, such as `visual`; series of one probe with the same title share a chart."""
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    samples: int
    """Number of samples that have a value at some layer."""

    @model_validator(mode="after")
    def _same_length(self) -> "LayerSeries":
        if not len(self.mean) == len(self.low) == len(self.high):
            raise ValueError("mean, low and high have different lengths")
        return self


class HeadMap(Finding):
    """One number for each head of each layer, mean over the samples."""

    kind: Literal["heads"] = "heads"
    mean: tuple[tuple[float, ...], ...]
    """L rows of H values."""


class StateMatrix(Finding):
    """One number for each pair of hidden states, mean over the samples."""

    kind: Literal["matrix"] = "matrix"
    group: str = ""
    mean: tuple[tuple[float, ...], ...]
    """L+1 rows of L+1 values; entry i is the input of layer i."""


class Bars(Finding):
    """One number for each of several conditions, with an interval."""

    kind: Literal["bars"] = "bars"
    conditions: tuple[str, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    samples: int

    @model_validator(mode="after")
    def _same_length(self) -> "Bars":
        if not len(self.conditions) == len(self.mean) == len(self.low) == len(self.high):
            raise ValueError("conditions, mean, low and high have different lengths")
        return self


class SampleTable(Finding):
    """Numbers of single samples, for histograms and for what a reader recomputes; a few numbers a sample and layer."""

    kind: Literal["samples"] = "samples"
    axis: Axis | None = None
    """Of the values of one sample; None for one value a sample."""
    values: tuple[tuple[float, ...], ...]
    """One row for each sample, in the order of `Analysis.sample_ids`."""


class ScatterPoints(Finding):
    """Points of two numbers each, at one layer, such as visual tokens of a few examples."""

    kind: Literal["points"] = "points"
    x_title: str
    y_title: str
    layers: tuple[int, ...]
    """Layer of each point."""
    x: tuple[float, ...]
    y: tuple[float, ...]
    labels: tuple[str, ...] = ()
    """What each point is, if it has a name."""


class TokenMap(Finding):
    """One number for each visual token of one example at each layer."""

    kind: Literal["map"] = "map"
    example: str
    """Id of the sample."""
    axis: Axis
    values: tuple[tuple[float, ...], ...]
    """L or L+1 rows of V values, in the order of `Example.regions`."""


class Words(Finding):
    """The likeliest words at each layer of one example, with their probabilities."""

    kind: Literal["words"] = "words"
    example: str
    axis: Axis
    rows: tuple[tuple[tuple[str, float], ...], ...]
    """For each layer, the likeliest words first."""


class HeadWords(Finding):
    """The likeliest words of each head of each layer of one example, with their probabilities."""

    kind: Literal["head_words"] = "head_words"
    example: str
    rows: tuple[tuple[tuple[tuple[str, float], ...], ...], ...]
    """L rows of H heads, the likeliest words of each first."""


class TokenWords(Finding):
    """The likeliest word of each visual token of one example at each layer."""

    kind: Literal["token_words"] = "token_words"
    example: str
    axis: Axis
    words: tuple[tuple[str, ...], ...]
    """L or L+1 rows of V words."""


AnyFinding = Annotated[
    LayerSeries
    | HeadMap
    | StateMatrix
    | Bars
    | SampleTable
    | ScatterPoints
    | TokenMap
    | Words
    | HeadWords
    | TokenWords,
    Field(discriminator="kind"),
]


def layer_series(name: str, rows: ArrayLike, *, axis: Axis, title: str, unit: str = "", group: str = "") -> LayerSeries:
    """A series from the values of single samples.

    Args:
        rows: (samples, points), at least one sample; NaN where a sample has no value, not at all samples of a point.
    """
    mean, low, high = mean_and_interval(rows)
    samples = int(np.isfinite(np.asarray(rows, dtype=np.float64)).any(1).sum())
    return LayerSeries(
        name=name, title=title, unit=unit, axis=axis, group=group, mean=mean, low=low, high=high, samples=samples
    )


def bars(name: str, conditions: Sequence[str], rows: ArrayLike, *, title: str, unit: str = "") -> Bars:
    """Bars from the values of single samples, (samples, conditions)."""
    mean, low, high = mean_and_interval(rows)
    return Bars(
        name=name, title=title, unit=unit, conditions=tuple(conditions), mean=mean, low=low, high=high,
        samples=len(np.asarray(rows)),
    )  # fmt: skip


def head_map(name: str, tables: ArrayLike, *, title: str, unit: str = "") -> HeadMap:
    """A map from the tables of single samples, (samples, L, H)."""
    mean = np.asarray(tables, dtype=np.float64).mean(0)
    return HeadMap(name=name, title=title, unit=unit, mean=tuple(map(tuple, mean.tolist())))


def significant(values: ArrayLike, digits: int = 4) -> Any:
    """Nested lists of the values with so many significant digits: what a map needs, in a third of the space."""
    rows = np.asarray(values, dtype=np.float64)
    return [significant(row, digits) for row in rows] if rows.ndim else float(f"{rows:.{digits}g}")


def mean_and_interval(rows: ArrayLike) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Mean over samples, and its 95 % percentile interval over bootstrap resamples (Efron, 1979).

    Args:
        rows: (samples, points); NaN is left out. A resample in which a point has no value says nothing about it.
    """
    table = np.asarray(rows, dtype=np.float64)
    known = np.isfinite(table)
    filled = np.where(known, table, 0.0)
    times = np.zeros((DRAWS, len(table)))
    drawn = with_replacement(len(table), SEED, DRAWS)
    np.add.at(times, (np.arange(DRAWS)[:, None], drawn), 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (times @ filled) / (times @ known)  # (draws, points)
    mean = filled.sum(0) / known.sum(0)
    edge = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(means, [edge, 1 - edge], axis=0)
    # Rounding may put the mean of equal values a little outside of the interval.
    return tuple(mean.tolist()), tuple(np.minimum(low, mean).tolist()), tuple(np.maximum(high, mean).tolist())
