"""Step `causal curves`: what is lost when all later layers freeze, thin out or drop the visual tokens."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Self

from halfv_core.plan import Plan
from probe.analyzers.causal_curves import CausalLosses, causal_plans, tried_layers
from probe.calibration.budget.budget import Work
from probe.calibration.steps.step import Item
from probe.calibration.steps.trial_step import TrialStep
from probe.trials.readings import Readings


class MeasuredCauses(NamedTuple):
    """The result of the step."""

    losses: CausalLosses
    readings: tuple[Readings, ...]
    """One for each of `causal_plans`."""


@dataclass(frozen=True)
class Treatments(TrialStep[MeasuredCauses]):
    """Base class: the losses of every sample under each treatment, from some layers on."""

    layers: int
    """Number of decoder layers."""
    few: float
    """Share of the visual tokens that the treatment `few` keeps."""

    @property
    @abstractmethod
    def starts(self) -> tuple[int, ...]:
        """The layers at which treatments begin, ascending."""

    @cached_property
    def plans(self) -> tuple[Plan, ...]:
        return tuple(causal_plans(self.starts, self.layers, self.few))

    def combine(self, items: Mapping[str, Item]) -> MeasuredCauses:
        return MeasuredCauses(CausalLosses.of(self.starts, self.few, self.falls(items)), self.readings(items))


@dataclass(frozen=True)
class CausalCurves(Treatments):
    """Tries layers all over the decoder."""

    name = "causal curves"
    budgeted = "before the step"
    work_field = "tests"
    cost_fields = ("test", "causes", "once")

    by_curves: int | None
    """Start of Stage III as the curves propose it, which is tried in any case."""
    everywhere: bool = True
    """Whether treatments are tried at other layers, too."""
    first: int = 1
    """The first layer at which treatments begin, see `DecoderShape.first_ranked`."""

    @cached_property
    def starts(self) -> tuple[int, ...]:
        proposed = max(1, 2 * self.layers // 3) if self.by_curves is None else self.by_curves
        others = tried_layers(self.layers, self.first) if self.everywhere else ()
        return tuple(sorted({max(self.first, proposed), *others}))

    def reduced_to(self, work: Work) -> Self:
        return self if work.causes else replace(self, everywhere=False)

    def settled_work(self, work: Work, measured: int) -> dict[str, int | bool]:
        return {"tests": work.tests, "causes": work.causes}


@dataclass(frozen=True)
class CausalCurvesAt(Treatments):
    """Tries given layers."""

    name = "causal curves at given layers"

    at: tuple[int, ...]
    """The layers at which treatments begin, ascending."""

    @property
    def key(self) -> str:
        return f"causal curves at {' '.join(map(str, self.at))}"

    @property
    def starts(self) -> tuple[int, ...]:
        return self.at
