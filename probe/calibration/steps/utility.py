"""Step `marginal utility`: the loss of pruning at each of the early layers, per share of compute saved."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from halfv_core.cost import DecoderShape
from halfv_core.plan import Plan
from probe.analyzers.marginal_utility import UtilitySurface, grid_plans, utility_surface
from probe.calibration.budget.budget import Work
from probe.calibration.grids import utility_grid
from probe.calibration.settings import Settings
from probe.calibration.steps.step import Item
from probe.calibration.steps.trial_step import TrialStep


@dataclass(frozen=True)
class MarginalUtility(TrialStep[UtilitySurface | None]):
    """Measures the surface over layers and keep ratios; the result is None if the budget dropped it."""

    name = "marginal utility"
    budgeted = "before the step"
    cost_fields = ("surface",)

    settings: Settings
    shape: DecoderShape
    tokens: tuple[int, int]
    """Visual and text tokens of the mean prompt."""

    @cached_property
    def plans(self) -> tuple[Plan, ...]:
        layers, ratios = utility_grid(self.shape, self.settings)
        return tuple(grid_plans(layers, ratios, self.settings.selector, self.settings.options))

    def combine(self, items: Mapping[str, Item]) -> UtilitySurface | None:
        if not items:
            return None
        layers, ratios = utility_grid(self.shape, self.settings)
        return utility_surface(layers, ratios, self.readings(items), self.shape, *self.tokens)

    def sample_count(self, work: Work) -> int:
        return work.samples if work.surface and self.plans else 0

    def settled_work(self, work: Work, measured: int) -> dict[str, int | bool]:
        # A budget that drops the surface has dropped search and causes before; they must not come back later.
        return {"surface": True} if work.surface else {"surface": False, "causes": False, "search": False}
