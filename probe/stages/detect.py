"""Detects the three stages of visual processing in curves over layers, by rules that a person can check in a plot.

Stage II starts where the alignment of Stage I has ended: where the collapse of the text entropy is over, and that of
the KL curve if there is one; the later of the two counts (HalfV, arXiv 2604.16462). The early peak of the visual curve
is used only if neither shows a collapse, since it can come later (Qwen2.5-VL: peak near layer 5, pruned at layer 2).

Stage III starts where the visual entropy has stopped falling. If the curve rises again after a short floor, Stage III
starts after that turn. A long floor is saturated from its beginning. A curve that is still falling has no Stage III.
"""

from typing import NamedTuple

import numpy as np

from halfv_core.errors import DataError
from halfv_core.profile import Stages
from probe.stages.curve_shapes import Array, CurveLike, Knee, as_curve, knee, noise, unit, valley

NOISE_FACTOR = 5.0
"""A fall or a rise counts if it is larger than this many standard deviations of the curve's noise."""
MIN_FALL = 0.05
"""Smallest fall that counts, as a share of the curve's range."""
FLOOR = 0.1
"""The floor begins where at most this share of the visual entropy's fall is left."""
CLEAR_RISE = 0.25
"""Smallest rise that counts as a turn, as a share of the fall."""
LONG_TAIL = 0.25
"""A floor that reaches the end is long if it covers this share of the layers."""
LONG_FLOOR = 0.4
"""A floor that rises again is long if it covers this share of the layers; a parabola stays on its floor for a third."""
KL_COLLAPSE = 10.0
"""Smallest factor by which a collapsing KL curve falls (published: about 80 for Qwen2.5-VL, no collapse for LLaVA)."""
LAYERS_AFTER_COLLAPSE = 3
"""Layers that must show that a collapse is over; the slope of two varies too much from sample to sample."""
KL_ROUNDING = 1e-8
"""KL, nats, below which differences are float32 rounding of the logits."""


class Boundary(NamedTuple):
    """The layer at which one signal places the start of a stage, if it does, and a sentence that explains it."""

    layer: int | None
    evidence: str


def detect_stages(
    visual: CurveLike,
    text: CurveLike | None = None,
    kl: CurveLike | None = None,
    *,
    settled: Boundary | None = None,
) -> Stages:
    """Find the starts of Stage II and Stage III.

    Args:
        visual: entropy of the visual tokens, L+1 points; index i is the input of layer i. Any positive scale and any
            shift give the same stages.
        text: entropy of the text tokens, likewise.
        kl: KL divergence when layer l leaves the visual tokens unchanged, L points, nats.
        settled: the start of Stage II, if it was decided by something other than the curves.

    Returns:
        Stages with 1 <= aggregation_start < saturation_start < L, or saturation_start None; `evidence` has a sentence
        for each.

    Raises:
        DataError: fewer than 3 points, lengths that disagree, values that are not finite, or a negative KL.
    """
    visual, text, kl = _checked(visual, text, kl)
    aggregation, why = _aggregation(visual, text, kl)
    if settled is not None and settled.layer is not None:
        aggregation, why = settled.layer, settled.evidence
    saturation, why_saturation = _saturation(visual, aggregation)
    return Stages(
        aggregation_start=aggregation,
        saturation_start=saturation,
        evidence={"aggregation_start": why, "saturation_start": why_saturation},
    )


def aggregation_candidates(
    visual: CurveLike, text: CurveLike | None = None, kl: CurveLike | None = None
) -> dict[str, Boundary]:
    """The start of Stage II according to each signal (`text`, `kl`, `visual`) that shows one.

    Args, Raises: as `detect_stages`.
    """
    visual, text, kl = _checked(visual, text, kl)
    boundaries = {"text": _text_collapse(text), "kl": _kl_collapse(kl), "visual": _early_peak(visual)}
    return {signal: boundary for signal, boundary in boundaries.items() if boundary.layer is not None}


def _checked(
    visual: CurveLike, text: CurveLike | None, kl: CurveLike | None
) -> tuple[Array, Array | None, Array | None]:
    visual = as_curve("visual", visual)
    if len(visual) < 3:
        raise DataError(
            "the visual curve is too short", got=f"{len(visual)} points", expected="3 or more, for 2 layers"
        )
    text = None if text is None else as_curve("text", text, len(visual))
    return visual, text, None if kl is None else as_kl(kl, len(visual) - 1)


def as_kl(values: CurveLike, points: int | None = None) -> Array:
    """Convert a KL curve to a float64 array.

    Raises:
        DataError: as `as_curve`, or a value is negative beyond rounding.
    """
    kl = as_curve("kl", values, points)
    if kl.min(initial=0.0) < -KL_ROUNDING:
        got = f"{kl.min():.3g} at layer {int(kl.argmin())}"
        raise DataError("the kl curve is negative", got=got, expected="KL in nats", remedy="give it without z-scoring")
    return kl


def _aggregation(visual: Array, text: Array | None, kl: Array | None) -> tuple[int, str]:
    ends, evidence = [], []
    for collapse in (_text_collapse(text), _kl_collapse(kl)):
        evidence.append(collapse.evidence)
        if collapse.layer is not None:
            ends.append(collapse.layer)
    if not ends:
        peak = _early_peak(visual)
        evidence.append(peak.evidence)
        ends.append(peak.layer or 1)
    return max(ends), " ".join(evidence)


def _early_peak(visual: Array) -> Boundary:
    early = unit(visual)[1 : max(3, len(visual) // 3 + 1)]
    layer = 1 + int(early.argmax())
    if layer == len(early) or early.min() == early.max():
        return Boundary(None, "The visual entropy has no early peak either: layer 1, the first possible, is assumed.")
    return Boundary(layer, f"The visual entropy's early peak, layer {layer}, stands in; Stage II can start before it.")


def _text_collapse(text: Array | None) -> Boundary:
    if text is None:
        return Boundary(None, "No text curve was given.")
    shape = unit(text)
    end = _early_knee(shape)
    if end is None or end.drop <= max(MIN_FALL, NOISE_FACTOR * noise(shape)):
        return Boundary(None, "The text entropy shows no early collapse that comes to rest.")
    layer = end.layer
    return Boundary(layer, f"The text entropy's collapse ({text[0]:.3g} to {text[layer]:.3g}) ends at layer {layer}.")


def _kl_collapse(kl: Array | None) -> Boundary:
    if kl is None:
        return Boundary(None, "No KL curve was given.")
    end = _early_knee(np.log(np.maximum(kl, KL_ROUNDING)))
    if end is None or end.drop <= np.log(KL_COLLAPSE):
        return Boundary(None, "The KL curve shows no early collapse that comes to rest.")
    layer = end.layer
    return Boundary(layer, f"The KL curve's collapse ({kl[0]:.2g} to {kl[layer]:.2g} nats) ends at layer {layer}.")


def _early_knee(curve: Array) -> Knee | None:
    """The knee in the first third of the curve, where Stage I ends; the fit also sees the layers up to the middle."""
    last = len(curve) // 3
    return knee(curve[: max(len(curve) // 2, last + LAYERS_AFTER_COLLAPSE) + 1], last)


class _Valley(NamedTuple):
    """The valley of the visual curve; heights are shares of the curve's range, positions are layers."""

    fall: float
    rise: float
    first: int
    """First layer of the floor."""
    last: int
    """Last layer of the floor."""
    turn: int
    """Last layer at the minimum."""
    end: int
    """Last layer that the fit covers."""


def _find_valley(visual: Array) -> _Valley:
    layers = len(visual) - 1
    # The first point is the projector's output. The last tenth is too short for a stage, and curves often drop there.
    end = layers - max(1, round(layers / 10))
    fit = valley(unit(visual)[1 : end + 1])  # (end,), entry i is layer i + 1
    fall, rise = float(fit[0] - fit.min()), float(fit[-1] - fit.min())
    floor = 1 + np.flatnonzero(fit <= fit.min() + FLOOR * fall)
    lowest = 1 + np.flatnonzero(np.isclose(fit, fit.min(), rtol=0.0, atol=1e-9))
    return _Valley(fall, rise, int(floor[0]), int(floor[-1]), int(lowest[-1]), end)


def _saturation(visual: Array, aggregation: int) -> Boundary:
    found = _find_valley(visual)
    least = NOISE_FACTOR * noise(unit(visual))
    if found.fall <= max(MIN_FALL, least):
        evidence = (
            "The visual entropy falls after layer 1 by no more than its unevenness from layer to layer: no Stage III."
        )
        return Boundary(None, evidence)
    rises = found.rise > max(CLEAR_RISE * found.fall, least)
    low = f"{visual[found.turn]:.3g} at layer {found.turn}"
    if rises and found.last - found.first < LONG_FLOOR * found.end:
        evidence = f"The visual entropy falls to {low} and rises again to {visual[found.end]:.3g} at layer {found.end}."
        return _after(aggregation, found.turn + 1, evidence)
    if found.end - found.first < LONG_TAIL * found.end:
        return Boundary(None, f"The visual entropy still falls near the end, to {low}: no Stage III.")
    evidence = (
        f"{1 - FLOOR:.0%} of the visual entropy's fall, {visual[1 : found.first + 1].max():.3g} to {low}, is over at "
        f"layer {found.first} ({visual[found.first]:.3g}), and it stays on that floor until layer {found.last}."
    )
    return _after(aggregation, found.first, evidence)


def _after(aggregation: int, start: int, evidence: str) -> Boundary:
    """Stage III at `start`, but at the earliest one layer after the start of Stage II."""
    if start > aggregation:
        return Boundary(start, evidence)
    return Boundary(aggregation + 1, f"{evidence} Stage II starts no earlier, so Stage III follows at the next layer.")
