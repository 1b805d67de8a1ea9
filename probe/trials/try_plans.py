"""Trials: many plans on the same prompts; a prompt runs once in full, and each plan from its first intervention on."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from halfv_core.errors import DataError
from halfv_core.families import Family
from halfv_core.plan import Plan
from halfv_core.runtime import apply
from probe.capture.replay import Replay
from probe.common.resamples import with_replacement
from probe.trials.answers import Inputs, read_answer


class Case(NamedTuple):
    """One calibration prompt with the full model's answer to it."""

    inputs: Callable[[], Inputs]
    """Makes the model inputs anew, so that a hundred prompts' pixels are never held together."""
    answer: torch.Tensor
    """(T,) ids."""
    log_likelihood: float
    """Of the answer under the full model, nats a token."""
    id: str = ""
    """Of the sample."""


class Thresholds(NamedTuple):
    """When a plan counts as safe."""

    min_agreement: float = 0.95
    max_log_likelihood_drop: float = 0.05


class Quality(NamedTuple):
    """What a plan costs in answers."""

    agreement: float
    """Share of cases whose greedy answer is the full model's."""
    log_likelihood_drop: float
    """Mean fall in the answer's log-likelihood, nats a token."""

    def within(self, thresholds: Thresholds) -> bool:
        """Whether this counts as safe."""
        return (
            self.agreement >= thresholds.min_agreement
            and self.log_likelihood_drop <= thresholds.max_log_likelihood_drop
        )


class Readings(NamedTuple):
    """What a plan does to each case, in the cases' order."""

    agrees: tuple[bool, ...]
    """Whether the greedy answer is the full model's."""
    drops: tuple[float, ...]
    """Fall in the answer's log-likelihood, nats a token."""

    def quality(self, chosen: Iterable[int] | None = None) -> Quality:
        """Means over the chosen cases, which may repeat; over all by default."""
        rows = list(range(len(self.drops)) if chosen is None else chosen)
        agreed, fallen = (sum(column[row] for row in rows) for column in self)
        return Quality(agreed / len(rows), fallen / len(rows))

    def safe_share(self, thresholds: Thresholds, seed: int = 0) -> float:
        """Share of bootstrap resamples of the cases in which this counts as safe."""
        draws = with_replacement(len(self.drops), seed).tolist()
        return sum(self.quality(chosen).within(thresholds) for chosen in draws) / len(draws)


def try_plans(
    model: PreTrainedModel,
    cases: Sequence[Case],
    plans: Sequence[Plan],
    *,
    family: Family | None = None,
    on_case: Callable[[], None] | None = None,
) -> tuple[Readings, ...]:
    """Read every case's answer under every plan.

    Args:
        on_case: called after each case, for progress.

    Returns:
        for each plan its readings, in the order of the plans.

    Raises:
        DataError: see `try_on`.
    """
    rows = []
    for case in cases:
        rows.append(try_on(model, case, plans, family))
        if on_case is not None:
            on_case()
    return readings_of(rows, len(plans))


def try_on(
    model: PreTrainedModel, case: Case, plans: Sequence[Plan], family: Family | None = None
) -> list[tuple[bool, float]]:
    """Read one case's answer under every plan.

    Returns:
        for each plan whether it agrees, and the fall in log-likelihood, nats a token.

    Raises:
        DataError: the answer cannot be read under a plan (see `read_answer`).
    """
    inputs, found = case.inputs(), []
    replay = Replay(model, inputs, family=family)
    for plan in plans:
        with replay.from_layer(plan.first_layer), apply(model, plan, family=family):
            try:
                reading = read_answer(model, inputs, case.answer)
            except DataError as error:
                raise DataError(f"{case.id} under the plan '{'; '.join(plan.describe())}': {error}") from None
        found.append((reading.agrees, case.log_likelihood - reading.log_likelihood))
    return found


def readings_of(rows: Sequence[Sequence[tuple[bool, float]]], plans: int) -> tuple[Readings, ...]:
    """What `try_on` gave for each case, by plan.

    Args:
        plans: how many were tried.
    """
    columns = ([row[index] for row in rows] for index in range(plans))
    return tuple(
        Readings(tuple(agrees for agrees, _ in column), tuple(drop for _, drop in column)) for column in columns
    )
