"""What a method is, and how it is made to fit a budget of FLOPs."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from halfv_core.cost import DecoderShape, cost_of, tokens_by_layer
from halfv_core.errors import PlanError
from halfv_core.plan import Plan
from halfv_core.registry import Registry

STEPS = 400
"""Settings of a method's knob that are tried for a budget."""


@dataclass(frozen=True)
class Measured:
    """What some methods measure on the model before they have a plan; empty for those who measure nothing."""

    layer_redundancy: tuple[float, ...] = ()
    """(L,) KL divergence when one layer freezes the visual tokens, nats: ShortV's layer contribution."""
    withdrawal: tuple[float, ...] = ()
    """(L,) KL divergence when all visual tokens leave at the input of a layer, nats: VTW's criterion."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Further settings that a method has found by measuring, in its own words."""


@dataclass(frozen=True)
class Target:
    """The model and the prompt for which a plan is made."""

    model_type: str
    """Of the checkpoint's config, the name of its family."""
    shape: DecoderShape
    visual: int
    """Visual tokens of a typical prompt."""
    text: int
    """Text tokens of a typical prompt."""
    measured: Measured = Measured()

    def flops_ratio(self, plan: Plan) -> float:
        """Prefill FLOPs of the decoder without the plan, divided by those with it."""
        return cost_of(self.shape, tokens_by_layer(plan, self.shape.layers, self.visual, self.text)).flops_ratio


class Method(ABC):
    """A published rule that says what happens to visual tokens; its attributes are what a listing shows."""

    title: ClassVar[str]
    """Name as in its paper."""
    source: ClassVar[str]
    """Paper and year, with arXiv number if it is known."""
    looks_at: ClassVar[str]
    """What tokens are chosen by, in a few words."""
    where: ClassVar[str]
    """Where in the model it acts, in a few words."""
    question_aware: ClassVar[bool]
    """Whether what is kept depends on the question."""
    needs: ClassVar[str] = ""
    """What has to be measured or downloaded before; empty for nothing."""
    note: ClassVar[str] = ""
    """In what this differs from the published code; empty for nothing."""

    @abstractmethod
    def default(self, target: Target) -> Plan:
        """The plan with the paper's or the code's own settings for this model, or for the most similar one.

        Raises:
            PlanError: there is no such plan for this model, or something has to be measured first.
        """

    @abstractmethod
    def scaled(self, target: Target, knob: float) -> Plan:
        """The plan at a setting of the method's own knob, 0 for the cheapest to 1 for the dearest.

        Raises:
            PlanError: see `default`.
        """

    def refusal(self, target: Target) -> str | None:
        """Why the method cannot be used with this model, in a few words; None if it can."""
        return None


METHODS: Registry[type[Method]] = Registry("method", PlanError)


def plan_at(method: Method, target: Target, flops_ratio: float) -> Plan:
    """The method's plan whose cost comes closest to a budget.

    Args:
        method: the method.
        target: the model and the typical prompt.
        flops_ratio: prefill FLOPs without the plan, divided by those with it; above 1.

    Raises:
        PlanError: the ratio is not above 1, or the method cannot come within a tenth of it; the message says how far it
            goes.
    """
    if not flops_ratio > 1:
        raise PlanError("a budget is how many times fewer FLOPs", got=flops_ratio, expected="a number above 1")
    plans = [(target.flops_ratio(plan), plan) for plan in _settings(method, target)]
    ratio, plan = min(plans, key=lambda found: abs(found[0] - flops_ratio))
    if abs(ratio / flops_ratio - 1) > 0.1:
        ratios = [found for found, _ in plans]
        raise PlanError(
            f"{method.title} cannot be set to this budget on this model",
            got=f"{flops_ratio:g} times fewer FLOPs",
            expected=f"{min(ratios):.2f} to {max(ratios):.2f}",
        )
    return plan


def _settings(method: Method, target: Target) -> list[Plan]:
    """The plans at all settings of the knob, in its order, without those that equal the one before."""
    plans: list[Plan] = []
    for step in range(STEPS + 1):
        plan = method.scaled(target, step / STEPS)
        if not plans or plan != plans[-1]:
            plans.append(plan)
    return plans
