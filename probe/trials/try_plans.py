"""Trials of many plans on the same prompts: each prompt runs once in full, each plan from its first intervention on."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from halfv_core.errors import DataError
from halfv_core.families import Family
from halfv_core.plan import Plan
from halfv_core.runtime import apply
from probe.capture.replay import Replay
from probe.common.resamples import with_replacement
from probe.common.result_cache import ResultCache
from probe.trials.answers import Inputs, read_answer


class Case(NamedTuple):
    """One calibration prompt with the full model's answer to it."""

    inputs: Callable[[], Inputs]
    """Creates the model inputs on demand, so that the pixels of all prompts are never in memory together."""
    answer: torch.Tensor
    """(T,) token ids."""
    log_likelihood: float
    """Mean log-probability of the answer's tokens under the full model, nats per token."""
    id: str = ""
    """The sample's id."""


class Thresholds(NamedTuple):
    """The limits within which a plan counts as safe."""

    min_agreement: float = 0.95
    """Smallest share of cases whose greedy answer is the full model's."""
    max_log_likelihood_drop: float = 0.05
    """Largest mean drop in the answer's log-likelihood, nats per token."""


class Quality(NamedTuple):
    """Answer quality under a plan, compared with the full model."""

    agreement: float
    """Share of cases whose greedy answer is the full model's."""
    log_likelihood_drop: float
    """Mean drop in the answer's log-likelihood, nats per token."""

    def within(self, thresholds: Thresholds) -> bool:
        """Whether the plan counts as safe."""
        return (
            self.agreement >= thresholds.min_agreement
            and self.log_likelihood_drop <= thresholds.max_log_likelihood_drop
        )


class Readings(NamedTuple):
    """Answer quality under a plan case by case, in the order of the cases."""

    agrees: tuple[bool, ...]
    """Whether the greedy answer is the full model's."""
    drops: tuple[float, ...]
    """Drop in the answer's log-likelihood, nats per token."""

    def quality(self, chosen: Iterable[int] | None = None) -> Quality:
        """Means over the cases with the chosen indices, which may repeat; over all cases by default."""
        rows = list(range(len(self.drops)) if chosen is None else chosen)
        agreed, fallen = (sum(column[row] for row in rows) for column in self)
        return Quality(agreed / len(rows), fallen / len(rows))

    def safe_share(self, thresholds: Thresholds, seed: int = 0) -> float:
        """Share of bootstrap resamples of the cases in which the plan counts as safe."""
        draws = with_replacement(len(self.drops), seed).tolist()
        return sum(self.quality(chosen).within(thresholds) for chosen in draws) / len(draws)


def try_plans(
    model: PreTrainedModel,
    cases: Sequence[Case],
    plans: Sequence[Plan],
    *,
    family: Family | None = None,
    on_case: Callable[[], None] | None = None,
    step: str = "",
    cache: ResultCache | None = None,
) -> tuple[Readings, ...]:
    """Score the answer of every case under every plan.

    Args:
        on_case: called after each case, for progress.
        step, cache: where each case's result is stored, and the prefix of its name there.

    Returns:
        The readings of each plan, in the order of the plans.

    Raises:
        DataError: as `read_answer`, naming the case and the plan.
    """
    cached, rows = cache or ResultCache(), []
    for case in cases:
        rows.append(cached(f"{step}/{case.id}", partial(_try_on, model, case, plans, family)))
        if on_case is not None:
            on_case()
    columns = ([row[index] for row in rows] for index in range(len(plans)))
    return tuple(
        Readings(tuple(agrees for agrees, _ in column), tuple(drop for _, drop in column)) for column in columns
    )


def _try_on(
    model: PreTrainedModel, case: Case, plans: Sequence[Plan], family: Family | None
) -> list[tuple[bool, float]]:
    """For each plan, whether the answer agrees, and the drop in its log-likelihood."""
    inputs, results = case.inputs(), []
    replay = Replay(model, inputs, family=family)
    for plan in plans:
        with replay.from_layer(plan.first_layer), apply(model, plan, family=family):
            try:
                reading = read_answer(model, inputs, case.answer)
            except DataError as error:
                raise DataError(f"{case.id} under the plan '{'; '.join(plan.describe())}': {error}") from None
        results.append((reading.agrees, case.log_likelihood - reading.log_likelihood))
    return results
