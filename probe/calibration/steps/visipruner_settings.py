"""Steps `shallow layers` and `thresholds`: the layers and thresholds for VisiPruner, and the stages that it detects.

    shallow layers   the longest range 1..e, e up to half of the depth, such that hiding the visual tokens in it, and in
                     each shorter range that is tried, keeps 1 - TOLERANCE of the score
    thresholds       of a grid, with these layers hidden, the setting that saves most FLOPs and keeps what is asked for;
                     none if no setting does

The score is the likelihood of the full model's answers (see probe.calibration.scores), against the noise floor. FLOPs
are those that were measured, since it is decided in the run what is pruned. Published thresholds (VisiPruner, arXiv
2510.17205) are layer 8 of 32, a cosine of 0.995 for the filter, a length of 0.2 for what is kept, and a cosine of 0.999
for the exit; here lengths are shares of the attention output's, which no scale of a model's values changes.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import NamedTuple

import numpy as np

from halfv_core.cost import DecoderShape
from halfv_core.method_records import StageBegin, VisiPrunerFindings, VisiPrunerSetting
from halfv_core.methods import Measured
from halfv_core.methods.settings import at_depth
from halfv_core.methods.visipruner import visipruner_plan
from halfv_core.plan import Plan
from probe.analyzers.causal_curves import losses_of
from probe.analyzers.one_run.contribution import lowest_cosines
from probe.analyzers.visipruner_stages import visipruner_stages
from probe.calibration.budget.mean_sample import MeanSample
from probe.calibration.choose_plan import NEARLY
from probe.calibration.scores import Array
from probe.calibration.steps.answer import Answer
from probe.calibration.steps.judging import log_likelihood_elsewhere
from probe.calibration.steps.method_step import MethodStep
from probe.calibration.steps.step import Item, ProbedModel, key_with_plans
from probe.capture.replay import Replay
from probe.data.samples import Sample
from probe.trials.answers import read_answer
from probe.trials.try_plans import under

TOLERANCE = 0.01
"""Share of the score that may be lost where hiding visual tokens counts as changing nothing."""
MOST_RANGES = 8
"""Ranges of shallow layers that are tried."""
FIRST_LAYERS = (8, 12, 18, 24)
"""Layers of 32, brought to the same depth, from which on tokens may be pruned; 8 is the published one."""
FILTERS = (0.995, 0.9995)
"""Cosines below which a token matters; the lower, the later and the more seldom tokens are pruned."""
LENGTHS = (0.001, 0.01, 0.1)
"""Shares of the attention output's length above which a token is kept."""
EXITS = (None, 0.999)
"""Cosines from which on no token matters. With None the kept tokens stay."""


class Outcomes(NamedTuple):
    """What plans keep and save on all samples."""

    losses: Array
    """(plans,) mean losses, 0..1."""
    flops_ratios: Array
    """(plans,)"""

    def retentions(self, noise_floor: float) -> Array:
        """(plans,)"""
        return (1.0 - self.losses) / (1.0 - noise_floor)


@dataclass(frozen=True)
class _Trials(MethodStep):
    """Tries plans whose cost is known only once they have run."""

    answers: Mapping[str, Answer]
    """The full model's answers, by sample id."""
    shape: DecoderShape

    @property
    @abstractmethod
    def plans(self) -> tuple[Plan, ...]:
        """The plans to try."""

    def measure(self, model: ProbedModel, sample: Sample) -> Item:
        """How much the answer's log-likelihood falls, nats per token, and the prefill FLOPs."""
        case = self.answers[sample.id].case(model, sample)
        inputs = case.inputs()
        replay = Replay(model.model, inputs, family=model.family, low_memory=model.low_memory)
        falls, flops, full = [], [], 0
        for plan in self.plans:
            with under(plan, case, replay, model.model, model.family) as run:
                falls.append(case.log_likelihood - read_answer(model.model, inputs, case.answer).log_likelihood)
                flops.append(run.cost.prefill_flops)
                full = run.cost.prefill_flops_full
        return {"falls": falls, "flops": flops, "full_flops": full}

    def outcomes(self, items: Mapping[str, Item]) -> Outcomes:
        tokens = self._answer_lengths(items)
        falls = np.array([item["falls"] for item in items.values()], dtype=np.float64)  # (samples, plans)
        flops = np.array([item["flops"] for item in items.values()], dtype=np.float64)
        full = sum(item["full_flops"] for item in items.values())
        return Outcomes(losses_of(falls * tokens[:, None]).mean(0), full / flops.sum(0))

    def _answer_lengths(self, items: Mapping[str, Item]) -> Array:
        return np.array([len(self.answers[name].ids) for name in items], dtype=np.float64)

    def cost(self, mean: MeanSample) -> float:
        return mean.trial_seconds(self.plans)


@dataclass(frozen=True)
class ShallowLayers(_Trials):
    """Finds the layers in which the visual tokens rest, and the stages by the published thresholds."""

    name = "shallow layers"
    cost_fields = ("once",)  # `thresholds` is still to come

    @property
    def ranges(self) -> tuple[int, ...]:
        """Last layers of the ranges, ascending; each begins at layer 1."""
        half = self.shape.layers // 2
        parts = min(half, MOST_RANGES)
        return tuple(sorted({round(half * part / parts) for part in range(1, parts + 1)}))

    @property
    def plans(self) -> tuple[Plan, ...]:
        return tuple(visipruner_plan(self.shape.layers, last, None) for last in self.ranges)

    def measure(self, model: ProbedModel, sample: Sample) -> Item:
        case = self.answers[sample.id].case(model, sample)
        inputs = case.inputs()
        return super().measure(model, sample) | {
            "floor": case.log_likelihood - log_likelihood_elsewhere(model, inputs, case.answer),
            "min_cosine": lowest_cosines(model.model, inputs, model.family),
        }

    def combine(self, items: Mapping[str, Item]) -> Measured:
        if not items:
            return Measured()
        floors = np.array([item["floor"] for item in items.values()])
        floor = float(losses_of(floors * self._answer_lengths(items)).mean())
        outcomes = self.outcomes(items)
        retentions, hidden, retention, flops_ratio = outcomes.retentions(floor), 0, 1.0, 1.0
        for last, kept, ratio in zip(self.ranges, retentions.tolist(), outcomes.flops_ratios.tolist(), strict=True):
            if kept < 1.0 - TOLERANCE:
                break
            hidden, retention, flops_ratio = last, kept, ratio
        middle, deep = visipruner_stages([item["min_cosine"] for item in items.values()])
        found = VisiPrunerFindings(
            hidden=hidden,
            setting=None,
            retention=retention,
            flops_ratio=flops_ratio,
            noise_floor=floor,
            middle=StageBegin(**middle._asdict()),
            deep=StageBegin(**deep._asdict()),
        )
        return Measured(visipruner=found)

    def cost(self, mean: MeanSample) -> float:
        return super().cost(mean) + 2 * mean.prefill + mean.reading


def settings_for(layers: int) -> tuple[VisiPrunerSetting, ...]:
    """The grid for a decoder of so many layers."""
    first_layers = sorted({at_depth(layers, first) for first in FIRST_LAYERS})
    return tuple(
        VisiPrunerSetting(first_layer=first, filter_below=below, keep_above=length, exit_above=above)
        for first, below, length, above in product(first_layers, FILTERS, LENGTHS, EXITS)
    )


@dataclass(frozen=True)
class Thresholds(_Trials):
    """Chooses thresholds for the layers that were found."""

    name = "thresholds"

    retention: float
    """What has to be kept."""
    settings: tuple[VisiPrunerSetting, ...]
    """The grid."""
    found: VisiPrunerFindings | None = None
    """What `shallow layers` has found; None if it did not run."""

    @cached_property
    def key(self) -> str:
        return key_with_plans(self.name, self.plans)

    @property
    def plans(self) -> tuple[Plan, ...]:
        hidden = 0 if self.found is None else self.found.hidden
        return tuple(visipruner_plan(self.shape.layers, hidden, setting) for setting in self.settings)

    def combine(self, items: Mapping[str, Item]) -> Measured:
        """The settings that keep enough and save most; of nearly equal ones that which keeps most."""
        if self.found is None or not items:
            return Measured(visipruner=self.found)
        outcomes = self.outcomes(items)
        kept, ratios = outcomes.retentions(self.found.noise_floor), outcomes.flops_ratios
        enough = (kept >= self.retention) & (ratios > self.found.flops_ratio)
        if not enough.any():
            return Measured(visipruner=self.found)
        cheap = enough & (ratios * NEARLY >= ratios[enough].max())
        best = int(np.where(cheap, kept, -np.inf).argmax())
        chosen = {
            "setting": self.settings[best],
            "retention": float(kept[best]),
            "flops_ratio": float(ratios[best]),
        }
        return Measured(visipruner=self.found.model_copy(update=chosen))
