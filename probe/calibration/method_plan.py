"""The plan of a published method, and the step that measures what it needs.

Methods that are not named here need nothing, or, as ShortV, what every calibration measures.
"""

from collections.abc import Callable, Mapping

from transformers import PreTrainedConfig

from halfv_core.cost import DecoderShape
from halfv_core.errors import PlanError
from halfv_core.methods import METHODS, Measured, Target, plan_at
from halfv_core.plan import Plan
from halfv_core.records import PublishedMethod, Saturation
from probe.calibration.measurements import Measurements
from probe.calibration.settings import Settings
from probe.calibration.steps.answer import Answer
from probe.calibration.steps.head_importance import HeadImportance
from probe.calibration.steps.method_step import MethodStep
from probe.calibration.steps.token_removal import TokenRemoval
from probe.calibration.steps.withdrawal import Withdrawal

MEASURING: dict[str, Callable[[Mapping[str, Answer], DecoderShape], MethodStep]] = {
    "fitprune": lambda answers, shape: TokenRemoval(),
    "hawk": HeadImportance,
    "vtw": lambda answers, shape: Withdrawal(),
}
"""Method -> the step that measures for it; see `measuring_step`."""


def measuring_step(name: str, answers: Mapping[str, Answer], shape: DecoderShape) -> MethodStep | None:
    """The step that measures for a method; None if it needs nothing more than the curves.

    Args:
        answers: the full model's answers, by sample id.
    """
    return MEASURING[name](answers, shape) if name in MEASURING else None


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
        measured: what the method's own step measured.
        samples: on how many samples.

    Raises:
        PlanError: the method cannot reach the budget, or finds no plan in what was measured.
    """
    assert settings.method is not None
    method, redundancy = METHODS[settings.method](), measurements.curves().kl.mean
    visual, text = measurements.mean_tokens
    known = Measured(redundancy, measured.withdrawal, measured.removed, measured.head_weights)
    target = Target.of(config, visual, text, known)
    plan = method.default(target) if settings.target_flops is None else plan_at(method, target, settings.target_flops)
    record = PublishedMethod(
        name=settings.method,
        samples=samples,
        withdrawal=measured.withdrawal,
        removed=measured.removed,
        head_weights=measured.head_weights,
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
