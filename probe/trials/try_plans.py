"""Trials: many plans on the same prompts; a prompt runs once in full, and each plan from its first intervention on."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from halfv_core.errors import DataError
from halfv_core.families import Family
from halfv_core.plan import Plan
from halfv_core.runtime import apply
from probe.capture.replay import Replay
from probe.trials.answers import Inputs, read_answer
from probe.trials.readings import Readings


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
