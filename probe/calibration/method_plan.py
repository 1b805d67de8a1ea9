"""The plan of a published method, and the steps that measure what it needs.

Methods that are not named here need nothing, or, as ShortV, what every calibration measures.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from transformers import PreTrainedConfig

from halfv_core.cost import DecoderShape
from halfv_core.errors import PlanError
from halfv_core.method_records import PublishedMethod
from halfv_core.methods import METHODS, Measured, Target, plan_at
from halfv_core.plan import Plan
from halfv_core.records import Saturation
from probe.calibration.budget.mean_sample import MeanSample
from probe.calibration.measurements import Measurements
from probe.calibration.settings import Settings
from probe.calibration.steps.answer import Answer
from probe.calibration.steps.head_importance import HeadImportance
from probe.calibration.steps.method_step import MethodStep
from probe.calibration.steps.token_removal import TokenRemoval
from probe.calibration.steps.visipruner_settings import ShallowLayers, Thresholds, settings_for
from probe.calibration.steps.withdrawal import Withdrawal


class Given(NamedTuple):
    """What is known when a method's step begins."""

    answers: Mapping[str, Answer]
    """The full model's answers, by sample id."""
    shape: DecoderShape
    retention: float
    """Share of the full model's score that a method is to keep if that is how it is set."""
    measured: Measured = Measured()
    """What its earlier steps have measured."""


MEASURING: dict[str, tuple[Callable[[Given], MethodStep], ...]] = {
    "fitprune": (lambda given: TokenRemoval(),),
    "hawk": (lambda given: HeadImportance(given.answers, given.shape),),
    "visipruner": (
        lambda given: ShallowLayers(given.answers, given.shape),
        lambda given: Thresholds(
            given.answers,
            given.shape,
            given.retention,
            settings_for(given.shape.layers),
            given.measured.visipruner,
        ),
    ),
    "vtw": (lambda given: Withdrawal(),),
}
"""Method -> the steps that measure for it, one after the other; the last one gives all that was measured."""


def measure_for(name: str, given: Given, run: Callable[[MethodStep], Measured]) -> Measured:
    """Run the steps that measure for a method; nothing if it needs nothing more than the curves."""
    for step in MEASURING.get(name, ()):
        given = given._replace(measured=run(step(given)))
    return given.measured


def measuring_cost(name: str, given: Given, mean: MeanSample) -> float:
    """Expected seconds of these steps for one sample."""
    return sum(step(given).cost(mean) for step in MEASURING.get(name, ()))


def check_method(name: str, config: PreTrainedConfig, target_flops: float | None) -> None:
    """Refuse a method that cannot be used with this model, whatever is measured.

    Raises:
        PlanError: it cannot; or it has no knob that could reach a budget.
    """
    method, layers = METHODS[name](), config.get_text_config().num_hidden_layers
    target = Target.of(config, visual=576, text=64, measured=Measured(layer_redundancy=(0.0,) * layers))
    refusal = method.refusal(target)
    if refusal is not None:
        raise PlanError(f"{method.title} cannot be used with this model: {refusal}")
    if target_flops is not None:
        method.scaled(target, 1.0)


def method_plan(
    settings: Settings, config: PreTrainedConfig, measurements: Measurements, measured: Measured, samples: int
) -> tuple[Plan, PublishedMethod]:
    """The method's plan for the mean prompt, and the record of what was measured for it.

    Args:
        settings: `settings.method` is given.
        config: of the model.
        measurements: the curves, of which ShortV takes the KL curve.
        measured: what the method's own steps measured.
        samples: on how many samples.

    Raises:
        PlanError: the method cannot reach the budget, or finds no plan in what was measured.
    """
    assert settings.method is not None
    method, redundancy = METHODS[settings.method](), measurements.curves().kl.mean
    visual, text = measurements.mean_tokens
    known = replace(measured, layer_redundancy=redundancy)
    target = Target.of(config, visual, text, known)
    plan = method.default(target) if settings.target_flops is None else plan_at(method, target, settings.target_flops)
    record = PublishedMethod(
        name=settings.method,
        samples=samples,
        withdrawal=measured.withdrawal,
        removed=measured.removed,
        head_weights=measured.head_weights,
        visipruner=measured.visipruner,
    )
    return plan, record


def untried(settings: Settings) -> Saturation:
    """The saturation of a model whose Stage III was not tested, because the plan is a method's."""
    assert settings.method is not None
    return Saturation(
        type="none",
        reason=f"Treatments of Stage III were not tried, because the plan is {METHODS[settings.method].title}'s.",
        tests=(),
    )
