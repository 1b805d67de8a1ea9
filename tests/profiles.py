"""Realistic profiles without a model, for tests of what reads them: one like Qwen, one like LLaVA, one of type none."""

import base64
import math
from io import BytesIO

from halfv_core.plan import Freeze, Keep, Plan
from halfv_core.profile import (
    CausalTest,
    Curve,
    Curves,
    Expected,
    Profile,
    Provenance,
    PruningTest,
    Saturation,
    SaturationType,
    Stages,
    Uncertainty,
)
from halfv_core.records import BoundaryUncertainty, SampleSize, Winner
from probe.calibration.observations import Attention, Example, Observations, Picture, SampleCurves, Selection
from probe.common.region import Region
from tests.pictures import noise

IVR = {"anchor_share": 0.1, "scoring": "attention"}


def qwen_like() -> Profile:
    """28 layers, token sparsity from layer 21 on."""
    sparse = Keep(layer=21, keep_ratio=0.05, selector="attention")
    plan = Plan((Keep(layer=2, keep_ratio=0.25, options=IVR), sparse))
    profile = build(28, 2, 21, plan, "token_sparsity", model_id="qwen2.5-vl-7b", model_type="qwen2_5_vl")
    saturation = profile.saturation.model_copy(update={"confidence": 0.94})
    tests = (profile.pruning_tests[0], profile.pruning_tests[1].model_copy(update={"safe_share": 0.92}))
    sure = {"saturation": saturation, "pruning_tests": tests, "uncertainty": uncertainty()}
    return profile.model_copy(update=sure)


def llava_like() -> Profile:
    """32 layers, layer inactivity from layer 15 on."""
    plan = Plan((Keep(layer=3, keep_ratio=0.5, options=IVR), Freeze(layers=range(15, 32))))
    return build(32, 3, 15, plan, "layer_inactivity", model_id="llava-1.5-7b", model_type="llava")


def unsaturated() -> Profile:
    """12 layers, no Stage III, so no test of it, and nothing held out."""
    plan = Plan((Keep(layer=4, keep_ratio=0.5, selector="uniform"),))
    profile = build(12, 4, None, plan, "none", model_id="tiny-qwen2.5-vl", model_type="qwen2_5_vl")
    saturation = profile.saturation.model_copy(update={"tests": (), "reason": "no layer was found to test from"})
    expected = profile.expected.model_copy(update={"agreement": None, "log_likelihood_drop": None, "held_out": 0})
    return profile.model_copy(update={"saturation": saturation, "expected": expected})


def uncertainty(verdict: str = "80 samples were enough.") -> Uncertainty:
    """Stage II at layer 2 for sure, Stage III at 21, perhaps a layer earlier."""
    second = BoundaryUncertainty(low=2, median=2, high=2, wins=(Winner(layer=2, share=1.0),))
    wins = (Winner(layer=20, share=0.15), Winner(layer=21, share=0.8), Winner(layer=None, share=0.05))
    third = BoundaryUncertainty(low=20, median=21, high=21, wins=wins)
    sizes = (SampleSize(samples=40, same=0.92, within_one=1.0), SampleSize(samples=80, same=1.0, within_one=1.0))
    return Uncertainty(
        resamples=200,
        aggregation_start=second,
        saturation_start=third,
        sample_sizes=sizes,
        enough=True,
        verdict=verdict,
    )


def build(
    layers: int,
    aggregation: int,
    saturation: int | None,
    plan: Plan,
    kind: SaturationType,
    *,
    model_id: str = "some/model",
    model_type: str = "some_model",
    data: str = "scenes",
    sample_ids: tuple[str, ...] = tuple(f"scene-{index:03d}" for index in range(80)),
) -> Profile:
    """A profile with curves of the shapes that the paper shows."""
    signals = {
        "aggregation_start": "text entropy has fallen by half, and the KL drops",
        "saturation_start": "visual entropy is at its lowest and rises again",
    }
    return Profile(
        plan=plan,
        stages=Stages(aggregation_start=aggregation, saturation_start=saturation, evidence=signals),
        saturation=_saturation(layers, saturation or layers - 2, kind),
        pruning_tests=(_pruning(plan, 0.62, 0.31, safe=False), _pruning(plan, 0.97, 0.011, safe=True)),
        curves=_curves(layers, saturation or layers),
        expected=Expected(
            flops_ratio=3.31,
            kv_ratio=2.84,
            visual_tokens=400,
            text_tokens=30.5,
            agreement=0.95,
            log_likelihood_drop=0.0123,
            held_out=20,
        ),
        provenance=Provenance(
            model_id=model_id,
            model_type=model_type,
            config_fingerprint="9f" * 32,
            data=data,
            data_fingerprint="1c" * 32,
            sample_ids=sample_ids,
            held_out_ids=tuple(f"held-{index:03d}" for index in range(20)),
            seed=0,
            arguments_given={"model": model_id, "samples": 100},
            arguments_resolved={
                "model": model_id,
                "data": data,
                "samples": 100,
                "entropy_k": 50,
                "ratios": [0.25, 0.5],
            },
            versions={"torch": "2.13.0", "transformers": "5.23.0", "nnsight": "0.8.1", "halfv-probe": "0.1.0"},
            device="cpu",
            dtype="float32",
            created="2026-11-21T05:00:00+00:00",
            seconds=141.2,
        ),
    )


def _pruning(plan: Plan, agreement: float, drop: float, *, safe: bool) -> PruningTest:
    return PruningTest(plan=plan, flops_ratio=3.3, agreement=agreement, log_likelihood_drop=drop, safe=safe)


def _saturation(layers: int, start: int, kind: SaturationType) -> Saturation:
    freeze, sparse = Freeze(layers=range(start, layers)), Keep(layer=start, keep_ratio=0.05, selector="attention")
    tests = (
        CausalTest(
            treatment="layer_inactivity",
            plan=Plan((freeze,)),
            agreement=0.98 if kind == "layer_inactivity" else 0.41,
            log_likelihood_drop=0.004 if kind == "layer_inactivity" else 1.73,
            safe=kind == "layer_inactivity",
        ),
        CausalTest(
            treatment="token_sparsity",
            plan=Plan((sparse,)),
            agreement=0.99 if kind == "token_sparsity" else 0.77,
            log_likelihood_drop=0.002 if kind == "token_sparsity" else 0.21,
            safe=kind == "token_sparsity",
        ),
    )
    reason = "of the two treatments, the safe one changes at most 2 % of the answers"
    return Saturation(type=kind, reason=reason, tests=tests, min_agreement=0.95, max_log_likelihood_drop=0.05)


def _curves(layers: int, start: int) -> Curves:
    points = range(layers + 1)
    visual = [2.6 - 1.4 * min(i, start) / start + 0.06 * max(0, i - start) + 0.05 * math.sin(i) for i in points]
    text = [2.1 * math.exp(-i / 2.5) + 0.7 + 0.03 * math.cos(i) for i in points]
    joint = [0.6 * v + 0.4 * t + 0.2 for v, t in zip(visual, text, strict=True)]
    kl = [0.4 * math.exp(-0.35 * i) + 2e-5 for i in range(layers - 1)] + [0.0]
    return Curves(
        visual=_curve(visual, 0.15),
        text=_curve(text, 0.08),
        joint=_curve(joint, 0.1),
        kl=Curve(mean=tuple(kl), std=tuple(0.7 * value for value in kl)),
        spectrum=tuple(_shares(50, 0.08 + 0.5 * i / layers) for i in points),
        entropy_k=50,
    )


def _curve(mean: list[float], spread: float) -> Curve:
    return Curve(mean=tuple(mean), std=tuple(spread * (1 + 0.3 * math.sin(i)) for i in range(len(mean))))


def _shares(count: int, decay: float) -> tuple[float, ...]:
    weights = [math.exp(-decay * rank) for rank in range(count)]
    return tuple(weight / sum(weights) for weight in weights)


def observations(profile: Profile, *, samples: int = 100, examples: int = 2, text: str = "red circle") -> Observations:
    """What a calibration of this profile may have seen; `text` is in every id, question and answer."""
    seen = tuple(_sample(f"{text} {index}", profile.curves, 0.01 * (index - samples / 2)) for index in range(samples))
    where = profile.provenance
    return Observations(
        config_fingerprint=where.config_fingerprint,
        created=where.created,
        samples=seen,
        examples=tuple(example(f"{text} {index}", text, same=index % 2 == 0) for index in range(examples)),
    )


def example(id: str, text: str, *, same: bool) -> Example:
    """A picture of four by four tokens, a quarter kept at layer 2 and one of them at layer 21."""
    regions = tuple(
        Region(0, column / 4, row / 4, (column + 1) / 4, (row + 1) / 4) for row in range(4) for column in range(4)
    )
    second = Selection(layer=2, selector="anchor_coverage", kept=(0, 5, 10, 15), anchors=(5,))
    third = Selection(layer=21, selector="attention", kept=(5,), anchors=())
    return Example(
        id=id,
        question=f"What is this? {text}",
        references=(text,),
        full=text,
        accelerated=text if same else f"no {text}",
        pictures=(Picture(width=64, height=48, webp=tiny_webp()),),
        regions=regions,
        selections=(second, third),
        attentions=tuple(Attention(layer=layer, shares=(0.05,) * 16) for layer in (1, 21)),
    )


def _sample(id: str, curves: Curves, offset: float) -> SampleCurves:
    visual, text, joint = (
        tuple(value + offset for value in curve.mean) for curve in (curves.visual, curves.text, curves.joint)
    )
    return SampleCurves(id=id, visual=visual, text=text, joint=joint, kl=curves.kl.mean)


def tiny_webp() -> str:
    file = BytesIO()
    noise(64, 48, 60).save(file, "WEBP")
    return base64.b64encode(file.getvalue()).decode()
