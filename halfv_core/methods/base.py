"""What a method is, and how it is made to fit a budget of FLOPs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, ClassVar

from halfv_core.cost import Cost, DecoderShape, cost_of, tokens_by_layer
from halfv_core.errors import PlanError
from halfv_core.method_records import VisiPrunerFindings
from halfv_core.plan import Keep, Plan
from halfv_core.registry import Registry

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

TOLERANCE = 0.1
"""How far a plan may be from a budget, as a share of it."""

HALVINGS = 24
"""Steps of the bisection of a knob; finer than a token of any prompt."""


@dataclass(frozen=True)
class Measured:
    """What some methods measure on the model, or are given, before they have a plan; others need nothing of it."""

    layer_redundancy: tuple[float, ...] = ()
    """(L,) KL divergence when one layer freezes the visual tokens, nats: ShortV's layer contribution."""
    withdrawal: tuple[float, ...] = ()
    """(L,) KL divergence when all visual tokens leave at the input of a layer, nats: VTW's criterion."""
    removed: tuple[tuple[float, ...], ...] = ()
    """(A, L) share of the visual tokens that FitPrune has removed after each layer, from the mildest of A schedules to
    the most severe."""
    head_weights: tuple[float, ...] = ()
    """(H,) weights of layer 0's query heads: HAWK's head importance."""
    visipruner: VisiPrunerFindings | None = None
    """Layers and thresholds for VisiPruner."""
    clip: str = ""
    """Folder of the CLIP checkpoint whose image tower the model has, for CDPruner."""
    tokenizer: str = ""
    """Folder of the model's own tokenizer, for CDPruner."""


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
    tower_layers: int | None = None
    """Number of layers of the vision tower; None if it is not known."""

    @classmethod
    def of(cls, config: "PreTrainedConfig", visual: int, text: int, measured: Measured | None = None) -> "Target":
        """The target that a checkpoint's config describes."""
        vision = getattr(config, "vision_config", None)
        return cls(
            model_type=config.model_type,
            shape=DecoderShape.of(config.get_text_config(), value_bytes=2),
            visual=visual,
            text=text,
            measured=measured or Measured(),
            tower_layers=getattr(vision, "num_hidden_layers", None) or getattr(vision, "depth", None),
        )

    def cost(self, plan: Plan) -> Cost:
        """Cost of the typical prompt under a plan."""
        return cost_of(self.shape, tokens_by_layer(plan, self.shape.layers, self.visual, self.text))

    def flops_ratio(self, plan: Plan) -> float:
        """Prefill FLOPs of the decoder without the plan, divided by those with it."""
        return self.cost(plan).flops_ratio


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
    by_retention: ClassVar[bool] = False
    """Whether a calibration chooses its settings so that it keeps enough; it then has no budget of FLOPs."""
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
            PlanError: see `default`; or the method has no knob, because it decides in the run how much it prunes.
        """

    def variants(self, target: Target) -> "Sequence[Method]":
        """This method, and then the same with other settings that its paper or code leaves to the user.

        They are for tuning at a budget: about eight at most, no two with the same default plan. The knob is none of
        these settings. A method that has nothing but its knob, or about which no more is published, is its only one.
        """
        return (self,)

    @property
    def setting(self) -> str:
        """What is set otherwise than by default, such as "layer 4"; empty for nothing."""
        if not is_dataclass(self):
            return ""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = [field.name for field in fields(self) if given[field.name] != field.default]
        return ", ".join(f"{name.replace('_', ' ')} {given[name]}" for name in changed)

    def refusal(self, target: Target) -> str | None:
        """Why the method cannot be used with this model, in a few words; None if it can.

        Methods that look at the vision tower are for families whose tower is known.
        """
        from halfv_core.families import FAMILIES

        try:
            reads = self.default(target).reads()
        except PlanError as error:
            return str(error)
        family = FAMILIES[target.model_type] if target.model_type in FAMILIES else None
        if reads & {"vision", "grids"} and (family is None or family.tower is None):
            return "it looks at the vision tower, whose patches are not matched with visual tokens in this family"
        return None


class Staged(Method):
    """A method that prunes once or several times; its knob scales what is kept at all of its layers together.

    A last stage of one token is more than an earlier stage's share of a short prompt. It then counts as that share.
    """

    def scaled(self, target: Target, knob: float) -> Plan:
        """The default plan, with all shares times the same factor and none above 1, up to the full model."""
        keeps = self.default(target).keeps
        shares = list(accumulate((keep.share(target.visual) for keep in keeps), min))
        factor = knob / min(share for share in shares if share)
        return Plan(with_share(keep, min(1.0, share * factor)) for keep, share in zip(keeps, shares, strict=True))


def with_share(keep: Keep, share: float) -> Keep:
    """The same Keep with another share of the tokens."""
    return Keep(**keep.model_dump() | {"keep_ratio": share, "tokens": None})


def bracket(holds: Callable[[float], bool]) -> tuple[float, float]:
    """Two knobs 0..1 very close to each other, below which a condition holds and above which it does not.

    Where it holds at no knob, or at all of them, they lie at that end.
    """
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high


METHODS: Registry[type[Method]] = Registry("method", PlanError)


def plan_at(method: Method, target: Target, flops_ratio: float) -> Plan:
    """The method's plan whose cost comes closest to a budget.

    Args:
        method: the method.
        target: the model and the typical prompt.
        flops_ratio: prefill FLOPs without the plan, divided by those with it; above 1.

    Raises:
        PlanError: the ratio is not above 1, or the method cannot come within a tenth of it; the message says how far it
            goes. Or the method decides in the run how much it prunes, or has to measure something first.
    """
    if not flops_ratio > 1:
        raise PlanError("a budget is how many times fewer FLOPs", got=flops_ratio, expected="a number above 1")
    limits = [target.flops_ratio(method.scaled(target, knob)) for knob in (1.0, 0.0)]
    knobs = bracket(lambda knob: target.flops_ratio(method.scaled(target, knob)) > flops_ratio)
    plans = [method.scaled(target, knob) for knob in knobs]
    plan = min(plans, key=lambda plan: abs(target.flops_ratio(plan) / flops_ratio - 1))
    if abs(target.flops_ratio(plan) / flops_ratio - 1) > TOLERANCE:
        steps = ", in coarse steps" if limits[0] < flops_ratio < limits[1] else ""
        raise PlanError(
            f"{method.title} cannot be set to this budget on this model",
            got=f"{flops_ratio:g} times fewer FLOPs",
            expected=f"{limits[0]:.2f} to {limits[1]:.2f}{steps}",
        )
    return plan
