"""The profiles that the chart tests draw: made-up, shipped, degenerate and hostile ones."""

from collections.abc import Callable
from pathlib import Path

import plotly.graph_objects as go

from halfv_core import Profile
from halfv_core.models import bundled_models
from halfv_core.profile import Curve, Stages
from halfv_core.records import Sinks
from probe.calibration.observations import Observations, SampleCurves
from tests import profiles, proven_profiles

SHIPPED = Path(__file__).parents[4] / "data_samples" / "profiles"
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>%{x}"


def shipped(name: str) -> Profile:
    return Profile.load(SHIPPED / f"{name}.json")


def observed(profile: Profile) -> Observations:
    curves = profile.curves
    sample = {name: getattr(curves, name).mean for name in ("visual", "text", "joint", "kl")}
    where = profile.provenance
    samples = tuple(SampleCurves(id=id, **sample) for id in (HOSTILE, "second"))
    return Observations(
        config_fingerprint=where.config_fingerprint, created=where.created, samples=samples, examples=()
    )


def two_layers() -> Profile:
    """The smallest possible profile: constant curves, KL all zero, no Stage III, no tests."""
    flat, zero = Curve(mean=(0.5,) * 3, std=(0.0,) * 3), Curve(mean=(0.0,) * 2, std=(0.0,) * 2)
    profile = profiles.unsaturated()
    curves = {"visual": flat, "text": flat, "joint": flat, "kl": zero, "spectrum": ((1.0,), (1.0, 0.0), (1.0,))}
    stages = Stages(aggregation_start=1, saturation_start=None, evidence={})
    less = {"curves": profile.curves.model_copy(update=curves), "stages": stages, "pruning_tests": ()}
    return profile.model_copy(update=less)


def hostile() -> Profile:
    """The most complete shipped profile, with HOSTILE in every free text that charts show, also of what is proven."""
    profile, new = shipped("tiny-llava"), proven_profiles.proven()
    assert profile.utility is not None
    where = {"model_id": f"org/{HOSTILE}", "seconds_by_step": {HOSTILE: 1.0}}
    utility = profile.utility.model_copy(update={"candidates": {HOSTILE: 2}})
    provenance = profile.provenance.model_copy(update=where)
    methods = tuple(test.model_copy(update={"method": test.method and HOSTILE}) for test in new.pruning_tests)
    assert new.causes is not None and new.certificate is not None
    found = {
        "plan": new.plan,
        "pruning_tests": methods,
        "causes": new.causes.model_copy(update={"sentence": f"{HOSTILE}."}),
        "certificate": new.certificate.model_copy(update={"sentence": f"{HOSTILE}."}),
    }
    return profile.model_copy(update={"provenance": provenance, "utility": utility, **found})


def with_sinks() -> Profile:
    """A profile of today: KL on few samples with a typical curve, and sinks that matter to the text entropy."""
    profile = profiles.qwen_like()
    curves = profile.curves
    typical = (*(0.1 * value for value in curves.kl.mean[:-1]), 0.0)
    points = len(curves.visual.mean)
    none = Sinks(tokens=(0.0,) * points, norm_ratio=(1.25,) * points, entropy_without=curves.visual.mean)
    text = tuple(value + (0.625 if 3 <= layer < 20 else 0.0) for layer, value in enumerate(curves.text.mean))
    some = Sinks(tokens=(1.5,) * points, norm_ratio=(87.5,) * points, entropy_without=text)
    measured = {"kl_typical": typical, "kl_samples": 16, "visual_sinks": none, "text_sinks": some}
    return profile.model_copy(update={"curves": curves.model_copy(update=measured)})


PROFILES: list[Callable[[], Profile]] = [
    profiles.qwen_like,
    profiles.llava_like,
    profiles.unsaturated,
    proven_profiles.proven,
    proven_profiles.not_needed,
    *(lambda name=name: shipped(name) for name in bundled_models()),
    two_layers,
    hostile,
    with_sinks,
]


def numbers(value: object) -> set[float]:
    """All numbers in nested lists, tuples and dicts."""
    if isinstance(value, bool):
        return set()
    if isinstance(value, int | float):
        return {float(value)}
    if isinstance(value, dict):
        value = list(value.values())
    return set().union(*map(numbers, value)) if isinstance(value, list | tuple) else set()


def trace_of(figure: go.Figure, name: str) -> go.Scatter:
    return next(trace for trace in figure.data if trace.name == name)
