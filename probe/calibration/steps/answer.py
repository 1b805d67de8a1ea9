"""The full model's answer to a sample: what the steps that try plans compare with."""

import time
from typing import NamedTuple

import torch

from probe.calibration.steps.step import Item, ProbedModel
from probe.data.samples import Sample
from probe.trials.answers import Inputs, greedy_answer, read_answer
from probe.trials.try_plans import Case


class Answer(NamedTuple):
    """An answer as plain values."""

    ids: tuple[int, ...]
    """Token ids, T >= 1."""
    log_likelihood: float
    """Under the full model, nats a token."""

    @classmethod
    def of(cls, item: Item) -> "Answer":
        """From an item that holds what `answer_fully` gives."""
        return cls(tuple(item["answer"]), item["log_likelihood"])

    def case(self, model: ProbedModel, sample: Sample) -> Case:
        """The sample with its answer, for trials."""
        ids = torch.tensor(self.ids, device=model.model.device)  # (T,)
        return Case(lambda: model.inputs(sample), ids, self.log_likelihood, sample.id)


def full_model_answer(model: ProbedModel, inputs: Inputs, max_new_tokens: int) -> dict[str, Item]:
    """Generate the greedy answer without a plan, read its likelihood, and time both.

    Raises:
        DataError: see `read_answer`.
    """
    started = time.monotonic()
    answer = greedy_answer(model.model, inputs, max_new_tokens)
    answered = time.monotonic()
    reading = read_answer(model.model, inputs, answer)
    ended, prefill = time.monotonic(), reading.first_token_seconds
    seconds = {"prefill": prefill, "reading": ended - answered - prefill, "answer": ended - started}
    return {"answer": answer.tolist(), "log_likelihood": reading.log_likelihood, "seconds": seconds}
