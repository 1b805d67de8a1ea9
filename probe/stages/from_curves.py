"""Stages, and a guess at the saturation type, from curves alone, without a model.

    largest KL of any layer in Stage III  <  0.003 nats:  layer_inactivity,   else token_sparsity

In the published curves (HalfV, arXiv 2604.16462), LLaVA-1.5 stays below 1e-4 nats from 60 % of the depth on and can be
frozen; Qwen2.5-VL has its minimum of 6e-4 at 82 %, rises to 0.1 or more at the end, and cannot. The threshold is the
geometric mean of 1e-4 and 0.1. The KL of single layers says little about freezing many together; `calibrate` tests
that.
"""

from typing import NamedTuple

from halfv_core.errors import DataError
from halfv_core.profile import SaturationType
from probe.stages.curve_shapes import CurveLike, as_curve
from probe.stages.detect import as_kl, detect_stages

INACTIVE_KL = 3e-3
"""KL, nats, below which a layer counts as inactive: leaving the visual tokens unchanged there changes nothing."""


ONLY_CURVES = (
    "Only curves were seen. They propose layers; what interventions do to answers decides, which `calibrate` measures."
)


class StagesOfCurves(NamedTuple):
    """Stages and saturation type according to the curves, with a sentence of evidence for each."""

    aggregation_start: int
    saturation_start: int | None
    saturation_type: SaturationType | None
    """A guess, or None without a KL curve."""
    evidence: dict[str, str]


class TypeGuess(NamedTuple):
    """The saturation type that the KL curve suggests, and why."""

    type: SaturationType
    reason: str


def stages_of_curves(
    visual: CurveLike, text: CurveLike | None = None, joint: CurveLike | None = None, kl: CurveLike | None = None
) -> StagesOfCurves:
    """Stages and a guess at the saturation type from curves alone.

    Args:
        visual, text, kl: as in `detect_stages`.
        joint: entropy of all tokens, L+1 points; it is described in the evidence, but no rule uses it.

    Raises:
        DataError: as `detect_stages`.
    """
    found = detect_stages(visual, text, kl)
    guess = None if kl is None else saturation_type_from_kl(kl, found.saturation_start)
    reason = "No KL curve was given, and the entropies do not tell the type." if guess is None else guess.reason
    evidence = found.evidence | {"saturation_type": reason}
    if joint is not None:
        curve = as_curve("joint", joint, len(visual))
        ends = f"starts at {curve[0]:.3g}, is lowest at layer {int(curve.argmin())} ({curve.min():.3g})"
        evidence["joint"] = f"The joint entropy {ends} and ends at {curve[-1]:.3g}; no rule uses it."
    evidence["basis"] = ONLY_CURVES
    return StagesOfCurves(found.aggregation_start, found.saturation_start, guess and guess.type, evidence)


def saturation_type_from_kl(kl: CurveLike, saturation_start: int | None) -> TypeGuess:
    """Guess the saturation type: inactive if no single layer of Stage III matters for the visual tokens.

    The last layer does not count, since no later layer could see the change.

    Args:
        kl: L points, nats.
        saturation_start: first layer of Stage III; None gives the type `none`.

    Raises:
        DataError: values that are not finite, a negative KL, or fewer layers than `saturation_start` needs.
    """
    if saturation_start is None:
        return TypeGuess("none", "The curves show no Stage III, so there is no redundancy of its own to treat.")
    kl = as_kl(kl)
    if saturation_start >= len(kl):
        raise DataError("the kl curve is too short", got=f"{len(kl)} points", expected=f"more than {saturation_start}")
    deep = kl[saturation_start:-1] if saturation_start < len(kl) - 1 else kl[-1:]
    layer = saturation_start + int(deep.argmax())
    inactive = bool(deep.max() < INACTIVE_KL)
    reason = (
        f"Leaving visual tokens unchanged in one layer of Stage III costs up to {deep.max():.2g} nats (layer {layer}), "
        f"{'below' if inactive else 'not below'} {INACTIVE_KL:g}. This is a guess from the curve: calibrate tries both "
        "treatments on the model and decides by the answers."
    )
    return TypeGuess("layer_inactivity" if inactive else "token_sparsity", reason)
