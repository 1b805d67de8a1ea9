"""CostEstimates: what the steps of a calibration will cost, from what its first samples did.

A trial replays the prompt's full run up to the plan's first layer, so that its prefill is the share of the layers' rows
that are left, (L-l)/L of the layers times the tokens that stay; the answer is then read through all layers.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from halfv_core.cost import tokens_by_layer
from halfv_core.plan import Plan
from halfv_core.records import Saturation, Stages
from probe.analyzers.marginal_utility import grid_plans
from probe.analyzers.saturation import treatment_grid
from probe.calibration.budget.budget import CostEstimates
from probe.calibration.grids import stage_three_grid, utility_grid
from probe.calibration.search import candidate_plans
from probe.calibration.settings import Settings

SELF_CHECKS = 2.0
"""In samples: they capture twice, measure the KL curve, and run the model a few times."""
RESAMPLING = 1.0
"""Seconds of the uncertainty, which runs no model."""


class Seconds(NamedTuple):
    """What one sample took."""

    inputs: float
    """Opening and preparing it."""
    prefill: float
    """Prompt to first token under the full model."""
    reading: float
    """The rest of reading the answer."""
    answer: float
    """Its answer generated, and read."""
    sample: float
    """All of it, curves included."""

    @classmethod
    def mean(cls, records: Sequence[Mapping[str, float]]) -> "Seconds":
        """Of the samples measured so far; the first pays for warming up and counts only when it is alone."""
        counted = records[1:] or records
        return cls(*(sum(record[name] for record in counted) / len(counted) for name in cls._fields))

    def of_trials(self, plans: Sequence[Plan], layers: int, visual: int, text: int) -> float:
        """Of one case: a whole run, and each plan from its first layer on; 0 without plans."""
        if not plans:
            return 0.0
        shares = [_share(plan, layers, visual, text) for plan in plans]
        return self.inputs + self.prefill + sum(self.reading + share * self.prefill for share in shares)


def _share(plan: Plan, layers: int, visual: int, text: int) -> float:
    """Rows of the decoder that are worked on, of all; a frozen layer still makes keys and values of its visual rows."""
    rows = tokens_by_layer(plan, layers, visual, text)[plan.first_layer :]
    return sum(row.text + (0 if row.frozen else row.visual) for row in rows) / (layers * (visual + text))


def estimate_costs(
    seconds: Seconds,
    settings: Settings,
    layers: int,
    tokens: tuple[int, int],
    stages: Stages | None = None,
    saturation: Saturation | None = None,
) -> CostEstimates:
    """What is to be expected.

    Args:
        tokens: visual and text, of the mean prompt.
        stages, saturation: as found; before that Stage II is taken to begin after a third of the layers, and an idle
            Stage III after half.
    """
    stages = stages or Stages(aggregation_start=layers // 3, saturation_start=layers // 2, evidence={})
    kind = saturation or Saturation(
        type="layer_inactivity", reason="", tests=(), min_agreement=1.0, max_log_likelihood_drop=0.0
    )
    start = stages.saturation_start
    deciding = [] if start is None else [plan for _, plan in treatment_grid([start], layers, [settings.top_share])]
    tried = [plan for _, plan in treatment_grid(*stage_three_grid(stages, layers, settings))]
    beside = [plan for plan in tried if plan not in deciding]
    surface_layers, ratios = utility_grid(layers, settings)
    surface = grid_plans(surface_layers, ratios, settings.selector, settings.options)

    def trials(plans: Sequence[Plan]) -> float:
        return seconds.of_trials(plans, layers, *tokens)

    test = trials(deciding)
    return CostEstimates(
        sample=seconds.sample,
        answer=seconds.inputs + seconds.answer,
        surface=trials(surface),
        test=test,
        grid=trials([*deciding, *beside]) - test,
        plan=trials(candidate_plans(stages, kind, layers, settings)),
        check=trials([Plan(())]),
        once=SELF_CHECKS * seconds.sample + RESAMPLING,
        example=seconds.inputs + seconds.prefill + seconds.answer,
    )
