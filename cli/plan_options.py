"""Options for a plan: `--keep LAYER=AMOUNT[:SELECTOR]` and `--freeze FIRST-LAST`, or `--method NAME --flops RATIO`.

An amount is a share of the visual tokens, as in 0.25, or a number of them, as in 128t.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from halfv_core.plan import Freeze, Keep, Plan
    from halfv_core.profile import Profile

KeepOption = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        help="LAYER=SHARE or LAYER=TOKENSt, and perhaps :SELECTOR, as in 2=0.25 or 2=128t:attention; repeatable.",
    ),
]
FreezeOption = Annotated[
    list[str] | None, typer.Option("--freeze", help="FIRST-LAST or one layer, as in 15-31; repeatable.")
]


@dataclass(frozen=True)
class MethodOptions:
    """Options for the plan of a published method."""

    method: Annotated[
        str | None, typer.Option("--method", help="Run a published method (see `halfv-probe methods`).")
    ] = None
    flops: Annotated[
        float | None,
        typer.Option("--flops", help="So many times fewer FLOPs, with --method. [default: its paper's settings]"),
    ] = None

    def check(self) -> None:
        """Refuse what can be refused before a model is loaded.

        Raises:
            HalfVError: an unknown method, a budget without a method, or one that is not above 1.
        """
        from halfv_core.errors import HalfVError
        from halfv_core.methods import METHODS

        if self.method is not None:
            METHODS[self.method]
        elif self.flops is not None:
            raise HalfVError("--flops is the budget of a method", remedy="add --method, or leave out --flops")
        if self.flops is not None and not 1 < self.flops < float("inf"):
            raise HalfVError("bad --flops", got=self.flops, expected="a number above 1, as in 2.5")

    def plan(
        self, config: "PreTrainedConfig", visual: int, text: int, profile: "Profile | None" = None
    ) -> "Plan | None":
        """The method's plan; None without a method.

        Args:
            config: of the model.
            visual: visual tokens of a typical prompt.
            text: text tokens of it.
            profile: what has been measured on the model, which some methods need.

        Raises:
            PlanError: the method cannot be used with this model, or not at this budget.
            ProfileError: the profile was made for another model.
        """
        from halfv_core.errors import PlanError
        from halfv_core.methods import METHODS, Target, measured_by, plan_at

        if self.method is None:
            return None
        if profile is not None:
            profile.check_model(config)
        method = METHODS[self.method]()
        target = Target.of(config, visual, text, measured_by(profile) if profile else None)
        refusal = method.refusal(target)
        if refusal is not None:
            raise PlanError(f"{method.title} cannot be used with this model: {refusal}")
        return method.default(target) if self.flops is None else plan_at(method, target, self.flops)


def parse_plan(keep: Sequence[str], freeze: Sequence[str]) -> "Plan":
    """The plan that the options describe.

    Raises:
        PlanError: an option that cannot be parsed, or a plan that contradicts itself.
    """
    from halfv_core.plan import Plan

    return Plan([*map(_keep, keep), *map(_freeze, freeze)])


def _keep(text: str) -> "Keep":
    from halfv_core.errors import PlanError
    from halfv_core.plan import Keep

    match = re.fullmatch(r"(\d+)=(?:(\d+)t|(\d*\.?\d+))(?::(\w+))?", text)
    if match is None:
        expected = "LAYER=SHARE or LAYER=TOKENSt, and perhaps :SELECTOR, as in 2=0.25:attention or 2=128t"
        raise PlanError("bad --keep", got=repr(text), expected=expected)
    layer, tokens, ratio, selector = match.groups()
    given: dict[str, Any] = {"tokens": int(tokens)} if tokens else {"keep_ratio": float(ratio)}
    return Keep(layer=int(layer), **given | ({"selector": selector} if selector else {}))


def _freeze(text: str) -> "Freeze":
    from halfv_core.errors import PlanError
    from halfv_core.plan import Freeze

    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if last < first:
        raise PlanError("bad --freeze", got=repr(text), expected="FIRST-LAST, as in 15-31, or one layer")
    return Freeze(layers=range(first, last + 1))
