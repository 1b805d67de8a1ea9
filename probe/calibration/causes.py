"""What follows from the causal curves: where Stage III begins, what it is, and whether these samples can tell.

The treatment of Stage III is the one that saves most FLOPs from its own onset on: freezing (`layer_inactivity`) or
keeping few tokens (`token_sparsity`). Stage III begins at that onset, whatever the entropy curve looks like; the curve
proposes a layer, and the record says whether it agrees. `none` is a result: neither treatment is harmless anywhere.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from halfv_core.cost import DecoderShape, cost_of, tokens_by_layer
from halfv_core.plan import Plan
from halfv_core.records import CausalCurve, CausalTest, CausalTreatment, Causes, Saturation, SaturationType, Treatment
from probe.analyzers.causal_curves import LEVEL, TREATMENTS, CausalLosses, Onset, treatment_plan
from probe.common.resamples import Indices, with_replacement
from probe.common.risk import CONFIDENCE, is_positive
from probe.trials.readings import Quality, Readings

MIN_CONTROL = 0.2
"""Smallest mean loss without any visual token at which the questions count as needing the picture."""
MIN_SAMPLES = 10
"""With fewer samples, nothing is said about whether the questions need the picture."""
TYPES: dict[CausalTreatment, Treatment] = {"freeze": "layer_inactivity", "few": "token_sparsity"}
"""The treatments of Stage III, and the saturation types that they establish."""


class StageThreeStart(NamedTuple):
    """Where Stage III begins, and what it is."""

    layer: int
    treatment: CausalTreatment


class Tried(NamedTuple):
    """One treatment from one layer on."""

    plan: Plan
    quality: Quality
    flops_ratio: float
    """What it saves alone."""


class CausalEvidence(NamedTuple):
    """The causal curves, and what each treatment saves."""

    losses: CausalLosses
    tried: Mapping[tuple[CausalTreatment, int], Tried]
    """By treatment and first layer."""

    @classmethod
    def of(
        cls, losses: CausalLosses, readings: Sequence[Readings], shape: DecoderShape, tokens: tuple[int, int]
    ) -> "CausalEvidence":
        """From what was measured under each of `causal_plans`.

        Args:
            tokens: visual and text tokens of the mean prompt.
        """
        tried, rows = {}, iter(readings[1:])
        for name in TREATMENTS:
            for layer in losses.layers:
                plan = treatment_plan(name, layer, shape.layers, losses.few)
                ratio = cost_of(shape, tokens_by_layer(plan, shape.layers, *tokens)).flops_ratio
                tried[name, layer] = Tried(plan, next(rows).quality(), ratio)
        return cls(losses, tried)

    @property
    def is_conclusive(self) -> bool:
        """Whether the questions need the picture, and a treatment that costs nothing could be proven to."""
        return self._verdict() == "measured"

    @property
    def picture_needed(self) -> bool:
        """Whether the questions need the picture, as far as is known."""
        return self._verdict() != "picture_not_needed"

    @property
    def sentence(self) -> str:
        """The verdict and what follows from it."""
        return self._sentence({name: self.losses.onset(name) for name in TREATMENTS})

    def between(self) -> tuple[int, ...]:
        """Layers still to be tried, so that each onset is known to the layer; none where nothing can be known."""
        return self.losses.between() if self.is_conclusive else ()

    def joined(self, other: "CausalEvidence") -> "CausalEvidence":
        """This evidence and that of the same samples at other layers."""
        return CausalEvidence(self.losses.joined(other.losses), {**self.tried, **other.tried})

    def start(self, samples: Indices | Sequence[int] | None = None) -> StageThreeStart | None:
        """Where Stage III begins by the samples with these indices, all by default; None if nowhere."""
        losses = self.losses if samples is None else self.losses.resampled(samples)
        onsets = {name: losses.onset(name).layer for name in TYPES}
        found = [StageThreeStart(layer, name) for name, layer in onsets.items() if layer is not None]
        return max(found, key=lambda start: self.tried[start.treatment, start.layer].flops_ratio, default=None)

    def record(self, by_curves: int | None) -> Causes:
        """The curves as a profile stores them.

        Args:
            by_curves: start of Stage III as the entropy curve proposes it.
        """
        losses = self.losses
        onsets = {name: losses.onset(name) for name in TREATMENTS}
        return Causes(
            verdict=self._verdict(),
            sentence=self._sentence(onsets),
            layers=losses.layers,
            few=losses.few,
            curves=tuple(
                CausalCurve(
                    treatment=name,
                    loss=tuple(losses.losses[name].mean(1).tolist()),
                    use_kept=tuple(losses.use_kept(name).tolist()),
                    onset=onset.layer,
                    earliest=onset.earliest,
                    flops_ratio=None if onset.layer is None else self.tried[name, onset.layer].flops_ratio,
                )
                for name, onset in onsets.items()
            ),
            control=float(losses.control.mean()),
            level=LEVEL,
            confidence=CONFIDENCE,
            samples=len(losses.control),
            by_curves=by_curves,
        )

    def saturation(self, by_curves: int | None, seed: int) -> Saturation:
        """The saturation type, with the two treatments where Stage III begins.

        Args:
            by_curves: start of Stage III as the entropy curve proposes it, which stands where the causes cannot tell.
            seed: of the resamples behind the confidence.
        """
        draws = with_replacement(len(self.losses.control), seed).tolist()
        if self.is_conclusive:
            start = self.start()
            layer, kind = start and start.layer, _type_of(start)
            same = [_type_of(self.start(samples)) == kind for samples in draws]
        else:
            layer, kind = by_curves, self._estimated_type(self.losses, by_curves)
            same = [self._estimated_type(self.losses.resampled(samples), by_curves) == kind for samples in draws]
        return Saturation(
            type=kind,
            reason=self._reason(kind, layer),
            tests=() if layer is None else tuple(self._test(name, layer) for name in TYPES),
            level=LEVEL,
            confidence=sum(same) / len(same),
        )

    def _estimated_type(self, losses: CausalLosses, layer: int | None) -> SaturationType:
        """The first treatment that leaves enough at a layer, by the mean over the samples."""
        if layer is None or self._verdict() == "picture_not_needed":
            return "none"
        return next((TYPES[name] for name in TYPES if _use_at(losses, name, layer) >= LEVEL), "none")

    def _test(self, name: CausalTreatment, layer: int) -> CausalTest:
        tried, kept = self.tried[name, layer], _use_at(self.losses, name, layer)
        return CausalTest(
            treatment=TYPES[name], plan=tried.plan, use_kept=kept, safe=kept >= LEVEL, **tried.quality._asdict()
        )

    def _verdict(self) -> Literal["measured", "too_few_samples", "picture_not_needed"]:
        control = self.losses.control
        if len(control) >= MIN_SAMPLES and control.mean() < MIN_CONTROL:
            return "picture_not_needed"
        provable = bool(is_positive((1.0 - LEVEL) * control, -1.0, 1.0 - LEVEL))
        return "measured" if provable and len(self.losses.layers) > 1 else "too_few_samples"

    def _sentence(self, onsets: Mapping[CausalTreatment, Onset]) -> str:
        verdict, control = self._verdict(), self.losses.control
        if verdict == "picture_not_needed":
            return (
                f"These questions do not need the picture: without any visual token, the answers keep "
                f"{1.0 - control.mean():.0%} of their likelihood. Nothing about visual tokens can be learnt from them."
            )
        if verdict == "too_few_samples":
            return (
                f"{len(control)} samples cannot show from which layer on visual tokens are idle; the curves decide "
                "where Stage III begins, and the treatments are judged by their means."
            )
        found = [f"{_VERBS[name]} {_place(onset)}" for name, onset in onsets.items()]
        return f"{', '.join(found[:-1])}, and {found[-1]}.".capitalize()

    def _reason(self, kind: SaturationType, layer: int | None) -> str:
        if self._verdict() == "picture_not_needed":
            return "The questions do not need the picture, so no treatment of Stage III can be judged by them."
        if layer is None:
            if self.is_conclusive:
                return "Neither freezing visual tokens nor keeping few of them is proven harmless from any layer on."
            return "The curves show no Stage III, and these samples cannot show one."
        kept = "; ".join(f"{_VERBS[name]} leaves {_use_at(self.losses, name, layer):.1%}" for name in TYPES)
        kept = f"from layer {layer} on, of what the picture gives to the answers, {kept}"
        if kind == "none":
            return f"Neither treatment of Stage III is harmless: {kept}."
        if not self.is_conclusive:
            return f"By the mean over the samples, {kept}."
        saving = {name: self._saving(name) for name in TYPES}
        return f"{saving['freeze']}, {saving['few']}: {kept}.".capitalize()

    def _saving(self, name: CausalTreatment) -> str:
        onset = self.losses.onset(name).layer
        if onset is None:
            return f"{_VERBS[name]} is proven harmless from no layer on"
        ratio = self.tried[name, onset].flops_ratio
        return f"{_VERBS[name]} is proven harmless from layer {onset} on and saves {ratio:.2f}x alone"


_VERBS: dict[CausalTreatment, str] = {
    "freeze": "freezing visual tokens",
    "few": "keeping few of them",
    "drop": "dropping all of them",
}


def _place(onset: Onset) -> str:
    if onset.layer is None:
        return "is proven harmless from no layer on"
    earlier = "" if onset.earliest in (None, onset.layer) else f" (perhaps from {onset.earliest})"
    return f"is harmless from layer {onset.layer} on{earlier}"


def _use_at(losses: CausalLosses, name: CausalTreatment, layer: int) -> float:
    return float(losses.use_kept(name)[losses.layers.index(layer)])


def _type_of(start: StageThreeStart | None) -> SaturationType:
    return "none" if start is None else TYPES[start.treatment]
