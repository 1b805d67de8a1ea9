"""Profiles with causal curves, a certificate and the effort of the search, for tests of what reads them."""

from halfv_core.plan import Freeze, Keep, Plan
from halfv_core.profile import Causes, Certificate, Profile, PruningTest, Saturation, SearchEffort
from halfv_core.records import BoundaryUncertainty, CausalCurve, CausalTest, Uncertainty, Winner
from tests.profiles import IVR, build, uncertainty

EXIT = Keep(layer=9, keep_ratio=0.05, selector="attention")
TAKEN = Plan((Keep(layer=2, keep_ratio=0.25, options=IVR), EXIT))
MILD = Plan((Keep(layer=4, keep_ratio=0.5, options=IVR), EXIT))
LAYERS = (1, 2, 5, 7, 9, 12, 15, 18, 21, 24, 27)
FREEZE = (-0.64, 0.16, 0.71, 0.73, 0.73, 0.73, 0.78, 0.84, 0.96, 0.98, 1.0)
FEW = (0.31, 0.92, 0.94, 0.94, 0.95, 0.97, 0.98, 0.99, 0.99, 1.0, 1.0)
DROP = (0.0, 0.0, 0.13, 0.16, 0.22, 0.22, 0.31, 0.5, 0.95, 0.97, 0.99)
CONTROL = 0.46


def proven() -> Profile:
    """28 layers, few tokens suffice from layer 9 on; 97 % by estimate, and a milder plan proven."""
    profile = build(28, 2, 9, TAKEN, "token_sparsity", model_id="qwen3-vl-8b", model_type="qwen3_vl")
    found = {
        "saturation": _saturation(),
        "pruning_tests": _tests(),
        "causes": causes(),
        "certificate": certificate(),
        "search": SearchEffort(considered=1240, plans=62, plan_samples=1830, exhaustive=99_200, passes=33.4),
        "uncertainty": _uncertainty(),
        "expected": profile.expected.model_copy(update={"held_out": 225}),
    }
    return profile.model_copy(update=found)


def not_needed() -> Profile:
    """The same model on questions that do not need the picture: no onset, and no held-out sample."""
    verdict = causes().model_copy(
        update={
            "verdict": "picture_not_needed",
            "sentence": "These questions do not need the picture: without it the answers lose 4% on average.",
            "curves": tuple(curve.model_copy(update={"onset": None, "earliest": None}) for curve in causes().curves),
            "control": 0.04,
        }
    )
    nothing = certificate().model_copy(
        update={
            "samples": 0,
            "retention": None,
            "proven": None,
            "proven_plan": None,
            "proven_flops_ratio": None,
            "sentence": "No sample was held out, so nothing is proven.",
        }
    )
    tests = tuple(
        test.model_copy(update={"held_out_retention": None, "proven": None}) for test in proven().pruning_tests
    )
    less = {"causes": verdict, "certificate": nothing, "pruning_tests": tests, "search": None}
    return proven().model_copy(update=less)


def causes() -> Causes:
    """Few suffice from layer 9 [2, 9] on, freezing from 21 [18, 21], dropping from 21."""
    return Causes(
        verdict="measured",
        sentence="Few tokens suffice from layer 9 on (2-9), freezing is safe from 21 (18-21), dropping from 21.",
        layers=LAYERS,
        few=0.05,
        curves=(
            _curve("freeze", FREEZE, 21, 18, 1.18),
            _curve("few", FEW, 9, 2, 2.31),
            _curve("drop", DROP, 21, 21, 1.29),
        ),
        control=CONTROL,
        level=0.9,
        confidence=0.9,
        samples=80,
        by_curves=15,
    )


def certificate() -> Certificate:
    """97 % wanted and 94.1 % proven for the plan, 97.2 % for a milder one."""
    return Certificate(
        target=0.97,
        confidence=0.9,
        score="graded",
        samples=225,
        noise_floor=0.004,
        retention=0.968,
        proven=0.941,
        proven_plan=MILD,
        proven_flops_ratio=2.1,
        samples_needed=None,
        sentence="With 90% confidence the plan keeps at least 94.1% of the score on data like these.",
    )


def _uncertainty() -> Uncertainty:
    """Stage III at layer 9 for almost sure."""
    wins = (Winner(layer=7, share=0.04), Winner(layer=9, share=0.96))
    third = BoundaryUncertainty(low=9, median=9, high=9, wins=wins)
    return uncertainty().model_copy(update={"saturation_start": third})


def _curve(
    treatment: str, use_kept: tuple[float, ...], onset: int | None, earliest: int | None, ratio: float
) -> CausalCurve:
    loss = tuple(round(CONTROL * (1 - kept), 6) for kept in use_kept)
    fields = {"treatment": treatment, "loss": loss, "use_kept": use_kept, "onset": onset, "earliest": earliest}
    return CausalCurve.model_validate({**fields, "flops_ratio": ratio})


def _saturation() -> Saturation:
    tests = (
        _causal("layer_inactivity", Plan((Freeze(layers=range(9, 28)),)), 0.73, safe=False),
        _causal("token_sparsity", Plan((EXIT,)), 0.95, safe=True),
    )
    return Saturation(type="token_sparsity", reason="keeping few saves most at its own onset", tests=tests, level=0.9)


def _causal(treatment: str, plan: Plan, use_kept: float, *, safe: bool) -> CausalTest:
    fields = {"treatment": treatment, "plan": plan, "use_kept": use_kept, "safe": safe}
    return CausalTest.model_validate({**fields, "agreement": 0.9, "log_likelihood_drop": 0.02})


def _tests() -> tuple[PruningTest, ...]:
    """The frontier, cheapest first, with two published methods, one of them unbeaten."""
    third = Plan((Keep(layer=1, keep_ratio=0.1), EXIT))
    steep = Plan((Keep(layer=1, keep_ratio=0.25), EXIT))
    half = Plan((Keep(layer=2, keep_ratio=0.5),))
    fastv = Plan((Keep(layer=2, keep_ratio=0.5, selector="attention"),))
    vtw = Plan((Keep(layer=14, keep_ratio=0.0),))
    return (
        _test(third, 5.2, 0.921, safe=False),
        _test(steep, 4.0, 0.958, safe=False, held_out=0.949, proven=0.92),
        _test(TAKEN, 3.3, 0.978, safe=True, held_out=0.968, proven=0.941),
        _test(MILD, 2.1, 0.991, safe=True, held_out=0.988, proven=0.972),
        _test(fastv, 1.8, 0.994, safe=True, method="fastv"),
        _test(half, 1.7, 0.993, safe=True),
        _test(vtw, 1.6, 0.9, safe=False, method="vtw"),
        _test(Plan(()), 1.0, 1.0, safe=True, held_out=1.0, proven=1.0),
    )


def _test(
    plan: Plan,
    ratio: float,
    retention: float,
    *,
    safe: bool,
    held_out: float | None = None,
    proven: float | None = None,
    method: str | None = None,
) -> PruningTest:
    return PruningTest(
        plan=plan,
        flops_ratio=ratio,
        kv_ratio=0.9 * ratio,
        agreement=retention - 0.05,
        log_likelihood_drop=1 - retention,
        safe=safe,
        samples=80,
        retention=retention,
        held_out_retention=held_out,
        proven=proven,
        latency_ratio=0.8 * ratio,
        method=method,
    )
