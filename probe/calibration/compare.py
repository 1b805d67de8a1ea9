"""Compares two profiles: of one model with other data, other samples or another dtype, or of two models.

    boundary      agrees if it is equal, or if each lies in the other's 90 % interval, with a tolerance of half a layer
                  of the shallower model
    profiles      agree if both boundaries, the saturation type and the share kept at Stage II agree

Without intervals, a boundary's interval is its own layer alone. Boundaries are compared by relative depth, layer / L,
so that models of different depth can be compared; for models of the same depth the tolerance changes nothing. "No
Stage III" agrees with itself, and with an interval that includes it.
"""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

from pydantic import JsonValue

from halfv_core.profile import Profile
from halfv_core.records import BoundaryUncertainty, Record, SaturationType
from probe.calibration.certainty import interval_label
from probe.calibration.curve_distance import CurvePair, curve_distances
from probe.calibration.settings import Settings

BoundaryName = Literal["aggregation_start", "saturation_start"]


_NOT_CONDITIONS = ("examples", "kl_samples")
"""Settings that affect only the report, or that are compared by what was measured."""


class Interval(Record):
    """One boundary in one profile; null means "no such stage"."""

    layer: int | None
    low: int | None
    """Ends of the 90 % interval; the layer itself if the profile has none."""
    high: int | None


class BoundaryPair(Record):
    """One boundary in both profiles."""

    name: BoundaryName
    a: Interval
    b: Interval
    agree: bool


class NumberPair(Record):
    """An expected value, or one of the certificate, in both profiles."""

    name: str
    a: float | None
    b: float | None


class ProfileComparison(Record):
    """What two profiles have in common, and where they differ."""

    same_model: bool
    """Whether the fingerprints of the configs are equal, whatever the names and paths."""
    differs: dict[str, tuple[JsonValue, JsonValue]]
    """Conditions in which the calibrations differ: data, samples, dtype, seed, settings."""
    boundaries: tuple[BoundaryPair, ...]
    types: tuple[SaturationType, SaturationType]
    keep_ratios: tuple[float, float]
    """Share kept at Stage II; 1 if the plan does not prune there."""
    same_plan: bool
    curves: tuple[CurvePair, ...]
    expected: tuple[NumberPair, ...]

    @property
    def agree(self) -> bool:
        """Whether the stages and the saturation type agree.

        Conditions and the distance of the curves do not matter, nor do the plans: a search finds many that are alike.
        """
        return self.types[0] == self.types[1] and all(pair.agree for pair in self.boundaries)


def compare(a: Profile, b: Profile) -> ProfileComparison:
    """Compare the results of two calibrations; no model is run."""
    names = ("flops_ratio", "kv_ratio", "agreement", "log_likelihood_drop")
    return ProfileComparison(
        same_model=a.provenance.config_fingerprint == b.provenance.config_fingerprint,
        differs=dict(_differences(a, b)),
        boundaries=tuple(_boundaries(a, b)),
        types=(a.saturation.type, b.saturation.type),
        keep_ratios=(keep_ratio(a), keep_ratio(b)),
        same_plan=a.plan == b.plan,
        curves=tuple(curve_distances(a.curves, b.curves)),
        expected=(
            *(NumberPair(name=name, a=getattr(a.expected, name), b=getattr(b.expected, name)) for name in names),
            *(NumberPair(name=name, a=_certified(a, name), b=_certified(b, name)) for name in ("retention", "proven")),
        ),
    )


def _certified(profile: Profile, name: str) -> float | None:
    """A number of the certificate, which older profiles do not have."""
    return None if profile.certificate is None else getattr(profile.certificate, name)


def verdict(comparison: ProfileComparison) -> str:
    """Say in a sentence or two what agrees, or what does not."""
    phrases = [_boundary_phrase(pair) for pair in comparison.boundaries]
    phrases.append(_phrase("the saturation type is", *comparison.types))
    findings = "; ".join(phrase.text for phrase in phrases if phrase.agree == comparison.agree)
    sentence = f"The profiles {'agree' if comparison.agree else 'disagree'}: {findings}."
    if comparison.same_model:
        return sentence
    return f"{sentence} They are of different models, so layers were compared as shares of the depth."


def keep_ratio(profile: Profile) -> float:
    """Share of the visual tokens that the plan keeps before Stage III."""
    start = profile.stages.saturation_start
    visual = max(1, round(profile.expected.visual_tokens))
    before = (keep.share(visual) for keep in profile.plan.keeps if start is None or keep.layer < start)
    return min(before, default=1.0)


def _boundaries(a: Profile, b: Profile) -> Iterator[BoundaryPair]:
    names: tuple[BoundaryName, ...] = ("aggregation_start", "saturation_start")
    tolerance = 0.5 / min(a.layers, b.layers)
    for name in names:
        interval_a, interval_b = _interval(a, name), _interval(b, name)
        agree = _within(interval_a, a.layers, interval_b, b.layers, tolerance) and _within(
            interval_b, b.layers, interval_a, a.layers, tolerance
        )
        yield BoundaryPair(name=name, a=interval_a, b=interval_b, agree=agree)


def _interval(profile: Profile, name: BoundaryName) -> Interval:
    layer: int | None = getattr(profile.stages, name)
    if profile.uncertainty is None:
        return Interval(layer=layer, low=layer, high=layer)
    interval: BoundaryUncertainty = getattr(profile.uncertainty, name)
    return Interval(layer=layer, low=interval.low, high=interval.high)


def _within(
    boundary: Interval, boundary_layers: int, interval: Interval, interval_layers: int, tolerance: float
) -> bool:
    """Whether a boundary lies in another profile's interval."""
    low, high = _depth(interval.low, interval_layers) - tolerance, _depth(interval.high, interval_layers) + tolerance
    return (
        low <= _depth(boundary.layer, boundary_layers) <= high
        or boundary.layer == interval.layer
        and boundary_layers == interval_layers
    )


def _depth(layer: int | None, layers: int) -> float:
    return math.inf if layer is None else layer / layers


def _differences(a: Profile, b: Profile) -> Iterator[tuple[str, tuple[JsonValue, JsonValue]]]:
    conditions_a, conditions_b = _conditions(a), _conditions(b)
    for name in conditions_a | conditions_b:
        if conditions_a.get(name) != conditions_b.get(name):
            yield name, (conditions_a.get(name), conditions_b.get(name))


def _conditions(profile: Profile) -> dict[str, JsonValue]:
    """The conditions of a calibration, by name."""
    provenance = profile.provenance
    conditions: dict[str, JsonValue] = {
        "model": provenance.model_id,
        "layers": profile.layers,
        "data": provenance.data,
        "data fingerprint": provenance.data_fingerprint[:12],
        "samples": len(provenance.sample_ids),
        "samples with a KL curve": profile.curves.kl_samples or "all",
        "held-out samples": len(provenance.held_out_ids),
        "dtype": provenance.dtype,
        "device": provenance.device,
    }
    conditions |= {f"images: {name}": value for name, value in provenance.image_processor.items()}
    # A setting that an older version did not have counts as today's default, but it measured KL on all samples.
    settings = Settings().model_dump(mode="json") | provenance.arguments_resolved
    conditions |= {f"setting {name}": value for name, value in settings.items() if name not in _NOT_CONDITIONS}
    return conditions | {f"version of {name}": value for name, value in provenance.versions.items()}


class _Phrase(NamedTuple):
    agree: bool
    text: str


def _boundary_phrase(pair: BoundaryPair) -> _Phrase:
    stage = "Stage II begins" if pair.name == "aggregation_start" else "Stage III begins"
    layers = ("nowhere" if side.layer is None else f"at layer {side.layer}" for side in (pair.a, pair.b))
    phrase = _phrase(stage, *layers)._replace(agree=pair.agree)
    if pair.a == pair.b:
        return phrase
    intervals = " and ".join(interval_label(side.low, side.high) for side in (pair.a, pair.b))
    return phrase._replace(text=f"{phrase.text} (90% intervals {intervals})")


def _phrase(subject: str, a: str, b: str) -> _Phrase:
    return _Phrase(a == b, f"{subject} {a} in both" if a == b else f"{subject} {a} in A and {b} in B")
