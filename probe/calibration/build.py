"""Builds the profile and the observations from what a calibration found; runs no model and reads no file."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from halfv_core.cost import DecoderShape, cost_of, tokens_by_layer
from halfv_core.method_records import PublishedMethod
from halfv_core.plan import Plan
from halfv_core.plan_records import SearchEffort
from halfv_core.profile import Expected, Profile, Provenance
from halfv_core.records import Causes, Check, Saturation, Uncertainty
from probe.analyzers.marginal_utility import UtilitySurface
from probe.calibration.cautions import cautions
from probe.calibration.choose_plan import ChosenPlan
from probe.calibration.decide import Decision
from probe.calibration.measurements import Measurements
from probe.calibration.observations import Example, Observations, SampleCurves
from probe.trials.readings import Quality

_CURVES = ("visual", "text", "joint", "kl")


@dataclass(frozen=True)
class Findings:
    """What the steps and the decisions between them found."""

    shape: DecoderShape
    sample_ids: tuple[str, ...]
    """Ids of the samples that the curves and trials come from."""
    held_out_ids: tuple[str, ...]
    """Ids of the held-out samples."""
    measurements: Measurements
    checks: tuple[Check, ...]
    surface: UtilitySurface | None
    """Marginal utility; None if it was not measured."""
    decision: Decision
    uncertainty: Uncertainty
    saturation: Saturation
    chosen: ChosenPlan
    examples: tuple[Example, ...]
    method: PublishedMethod | None = None
    """The published method that the plan is, with what was measured for it."""
    causes: Causes | None = None
    """The causal curves; None if a published method's plan was asked for."""
    search: SearchEffort | None = None
    """What the search cost; None if there was none."""


def profile_of(findings: Findings, provenance: Provenance) -> Profile:
    """Build the profile, including its cautions."""
    surface, chosen = findings.surface, findings.chosen
    profile = Profile(
        plan=chosen.plan,
        stages=findings.decision.stages,
        saturation=findings.saturation,
        pruning_tests=chosen.tests,
        curves=findings.measurements.curves(),
        expected=expected(
            chosen.plan, findings.shape, findings.measurements, len(provenance.held_out_ids), chosen.held_out_quality
        ),
        uncertainty=findings.uncertainty,
        utility=None if surface is None else surface.record(findings.decision.candidates),
        checks=findings.checks,
        method=findings.method,
        causes=findings.causes,
        certificate=chosen.certificate,
        search=findings.search,
        provenance=provenance,
    )
    return profile.model_copy(update={"cautions": cautions(profile)})


def expected(
    plan: Plan, shape: DecoderShape, measurements: Measurements, held_out: int, held_out_quality: Quality | None
) -> Expected:
    """What a plan promises for the mean prompt.

    Args:
        held_out: number of held-out samples.
        held_out_quality: the plan's quality on them; None if there are none.
    """
    cost = cost_of(shape, tokens_by_layer(plan, shape.layers, *measurements.mean_tokens))
    return Expected(
        flops_ratio=cost.flops_ratio,
        kv_ratio=cost.kv_ratio,
        visual_tokens=float(np.mean(measurements.visual_tokens)),
        text_tokens=float(np.mean(measurements.text_tokens)),
        agreement=None if held_out_quality is None else held_out_quality.agreement,
        log_likelihood_drop=None if held_out_quality is None else held_out_quality.log_likelihood_drop,
        held_out=held_out,
    )


def observations_of(findings: Findings, profile: Profile) -> Observations:
    """Build the observations: the curves of every sample, and the examples."""
    rows = zip(*(getattr(findings.measurements, kind) for kind in _CURVES), strict=True)
    return Observations(
        config_fingerprint=profile.provenance.config_fingerprint,
        created=profile.provenance.created,
        samples=tuple(
            SampleCurves(id=name, **{kind: _rounded(curve) for kind, curve in zip(_CURVES, own, strict=True)})
            for name, own in zip(profile.provenance.sample_ids, rows, strict=True)
        ),
        examples=findings.examples,
    )


def _rounded(curve: Iterable[float] | None) -> tuple[float, ...]:
    """Round to 4 significant digits; charts show no more, and the file stays small. Empty if it was not measured."""
    return tuple(float(f"{value:.4g}") for value in (() if curve is None else curve))
