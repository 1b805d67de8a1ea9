"""Trials of many plans on the same prompts: each prompt runs once in full, each plan from its first intervention on."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from halfv_core.errors import DataError
from halfv_core.families import Family
from halfv_core.plan import Plan
from halfv_core.runtime import Run, apply
from probe.capture.replay import Replay
from probe.trials.answers import Inputs, read_answer
from probe.trials.readings import Readings


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


def try_plans(
    model: PreTrainedModel,
    cases: Sequence[Case],
    plans: Sequence[Plan],
    *,
    family: Family | None = None,
    on_case: Callable[[], None] | None = None,
) -> tuple[Readings, ...]:
    """Score the answer of every case under every plan.

    Args:
        on_case: called after each case, for progress.

    Returns:
        The readings of each plan, in the order of the plans.

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
    model: PreTrainedModel,
    case: Case,
    plans: Sequence[Plan],
    family: Family | None = None,
    *,
    low_memory: bool = False,
) -> list[tuple[bool, float]]:
    """Score one case's answer under every plan.

    Args:
        low_memory: see `KeptStates`.

    Returns:
        For each plan, whether the answer agrees, and the drop in its log-likelihood, nats per token.

    Raises:
        DataError: as `read_answer`, naming the case and the plan.
    """
    inputs, results = case.inputs(), []
    replay = Replay(model, inputs, family=family, low_memory=low_memory)
    for plan in plans:
        with under(plan, case, replay, model, family):
            reading = read_answer(model, inputs, case.answer)
        results.append((reading.agrees, case.log_likelihood - reading.log_likelihood))
    return results


@contextmanager
def under(
    plan: Plan, case: Case, replay: Replay, model: PreTrainedModel, family: Family | None = None
) -> Iterator[Run]:
    """Inside the block, the model runs the case's prompt under a plan, from the plan's first intervention on.

    Args:
        replay: of the case's prompt.

    Yields:
        What `apply` does.

    Raises:
        DataError: what the block raises, naming the case and the plan.
    """
    with replayed(replay, plan), apply(model, plan, family=family) as run:
        try:
            yield run
        except DataError as error:
            raise DataError(f"{case.id} under the plan '{'; '.join(plan.describe())}': {error}") from None


@contextmanager
def replayed(replay: Replay, plan: Plan) -> Iterator[None]:
    """In the block, a prefill under the plan starts at its first layer, unless it reads what a replay leaves out."""
    if plan.reads() & {"vision", "grids", "transitions"}:
        yield
        return
    with replay.from_layer(plan.first_layer):
        yield


def readings_of(rows: Sequence[Sequence[tuple[bool, float]]], plans: int) -> tuple[Readings, ...]:
    """The results of `try_on` for each case, grouped by plan.

    Args:
        rows: one for each case.
        plans: number of plans.
    """
    columns = ([row[index] for row in rows] for index in range(plans))
    return tuple(
        Readings(tuple(agrees for agrees, _ in column), tuple(drop for _, drop in column)) for column in columns
    )
