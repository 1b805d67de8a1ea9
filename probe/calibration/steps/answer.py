"""The full model's answer to a sample, with which the steps that try plans compare."""

import time
from typing import NamedTuple

import torch

from halfv_core.placement import device_of
from probe.calibration.steps.step import Item, ProbedModel
from probe.data.samples import Sample
from probe.trials.answers import Inputs, greedy_answer, read_answer
from probe.trials.try_plans import Case


class Answer(NamedTuple):
    """An answer as plain values, which can be pickled and stored."""

    ids: tuple[int, ...]
    """Token ids, T >= 1."""
    log_likelihood: float | None
    """Mean log-probability of the answer's tokens under the full model, nats per token; None if it was not read."""

    @classmethod
    def of(cls, item: Item) -> "Answer":
        """Read an answer from an item that contains the values of `full_model_answer`."""
        return cls(tuple(item["answer"]), item.get("log_likelihood"))

    def case(self, model: ProbedModel, sample: Sample) -> Case:
        """The sample and its answer, which was read, as a case for trials."""
        assert self.log_likelihood is not None
        ids = torch.tensor(self.ids, device=device_of(model.model))  # (T,)
        return Case(lambda: model.inputs(sample), ids, self.log_likelihood, sample.id)


def full_model_answer(model: ProbedModel, inputs: Inputs, max_new_tokens: int) -> dict[str, Item]:
    """Generate the greedy answer without a plan, score its log-likelihood, and time both.

    Returns:
        The fields `answer`, `log_likelihood` and `seconds` of an item.

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
