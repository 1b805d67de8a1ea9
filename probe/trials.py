"""Trials: many plans on the same prompts; a prompt runs once in full, and each plan from its first intervention on."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from halfv_core.families import Family
from halfv_core.plan import Plan
from halfv_core.runtime import apply
from probe.answers import Inputs, read_answer
from probe.replay import Replay


class Case(NamedTuple):
    """One calibration prompt with the full model's answer to it."""

    inputs: Callable[[], Inputs]
    """Makes the model inputs anew, so that a hundred prompts' pixels are never held together."""
    answer: torch.Tensor
    """(T,) ids."""
    log_likelihood: float
    """Of the answer under the full model, nats a token."""


class Trial(NamedTuple):
    """What one plan did to each case."""

    agrees: tuple[bool, ...]
    """Whether the greedy answer is still the full model's."""
    drops: tuple[float, ...]
    """Fall in the answer's log-likelihood, nats a token."""

    @property
    def agreement(self) -> float:
        """Share of cases that agree."""
        return sum(self.agrees) / len(self.agrees)

    @property
    def log_likelihood_drop(self) -> float:
        """Mean fall, nats a token."""
        return sum(self.drops) / len(self.drops)


def try_plans(
    model: PreTrainedModel,
    cases: Sequence[Case],
    plans: Sequence[Plan],
    *,
    family: Family | None = None,
    on_case: Callable[[], None] | None = None,
) -> tuple[Trial, ...]:
    """Read every case's answer under every plan.

    Args:
        on_case: called after each case, for progress.

    Returns:
        one trial a plan, in their order; none without cases.
    """
    found: list[list[tuple[bool, float]]] = [[] for _ in plans]
    for case in cases:
        inputs = case.inputs()
        replay = Replay(model, inputs, family=family)
        for plan, row in zip(plans, found, strict=True):
            with replay.from_layer(plan.first_layer), apply(model, plan, family=family):
                reading = read_answer(model, inputs, case.answer)
            row.append((reading.agrees, case.log_likelihood - reading.log_likelihood))
        if on_case is not None:
            on_case()
    return tuple(Trial(*map(tuple, zip(*row, strict=True))) for row in found if row)
