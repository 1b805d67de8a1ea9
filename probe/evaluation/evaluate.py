"""Accuracy of a model under one plan: greedy answers compared with the reference answers, and their cost.

full = evaluate(model, processor, samples, Plan(()))
fast = evaluate(model, processor, samples, profile)
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from transformers import PreTrainedModel

from halfv_core.cost import Cost
from halfv_core.errors import DataError
from halfv_core.placement import device_of
from halfv_core.plan import Plan
from halfv_core.processors import PromptProcessor
from halfv_core.profile import Profile
from halfv_core.runtime import apply
from probe.common.data_parallel import ALONE, DataParallel
from probe.common.statistics import by_family
from probe.data.inputs import inputs_of
from probe.data.samples import Sample
from probe.evaluation.grading import grade
from probe.trials.answers import greedy_answer
from probe.trials.proofs import admit


class Evaluation(NamedTuple):
    """Results over a set of samples."""

    answers: tuple[str, ...]
    """The model's answers, in the order of the samples."""
    grades: tuple[float, ...]
    """Grade of each answer, 0..1; see probe.evaluation.grading."""
    accuracy: dict[str, float]
    """Question family -> mean grade."""
    flops_ratio: float
    """Prefill FLOPs of all prompts without the plan, divided by those with it; see halfv_core.cost."""
    kv_ratio: float
    """KV cache bytes after each answer, summed, without the plan, divided by those with it."""

    @property
    def mean(self) -> float:
        """Mean of the families' accuracies, so that a family with more questions carries no more weight."""
        return sum(self.accuracy.values()) / len(self.accuracy)


def evaluate(
    model: PreTrainedModel,
    processor: PromptProcessor,
    samples: Sequence[Sample],
    plan: Plan | Profile,
    *,
    max_new_tokens: int = 32,
    on_sample: Callable[[], None] | None = None,
    data_parallel: DataParallel = ALONE,
) -> Evaluation:
    """Answer every sample under the plan.

    Args:
        on_sample: called after each sample, in the first process.
        data_parallel: the processes that share the samples. All of them call this with the same arguments and get the
            same result.

    Raises:
        DataError: no samples, or one without a reference answer.
    """
    check_references(samples)
    admit(model, processor)
    with data_parallel.together(), apply(model, plan) as run:

        def answer_to(number: int) -> tuple[str, Cost]:
            inputs = inputs_of(processor, samples[number], device_of(model))
            return processor.decode(greedy_answer(model, inputs, max_new_tokens)), run.cost

        answered = data_parallel.share(len(samples), answer_to, on_sample or (lambda: None))
        return data_parallel.of_first(lambda: _evaluation(samples, answered))


def _evaluation(samples: Sequence[Sample], answered: Sequence[tuple[str, Cost]]) -> Evaluation:
    """The results from each sample's answer and cost."""
    answers, costs = zip(*answered, strict=True)
    grades = [grade(sample, answer).value for sample, answer in zip(samples, answers, strict=True)]
    return Evaluation(
        answers=tuple(answers),
        grades=tuple(grades),
        accuracy=by_family(grades, [question_family(sample) for sample in samples]),
        flops_ratio=sum(cost.prefill_flops_full for cost in costs) / sum(cost.prefill_flops for cost in costs),
        kv_ratio=sum(cost.kv_bytes_full for cost in costs) / sum(cost.kv_bytes for cost in costs),
    )


def check_references(samples: Sequence[Sample]) -> None:
    """Raise DataError if there are no samples, or if one has no reference answer."""
    missing = [sample.id for sample in samples if not sample.answers]
    if missing or not samples:
        got = f"sample '{missing[0]}' without one" if missing else "no samples"
        raise DataError("accuracy needs samples with reference answers", got=got)


def with_references(samples: Sequence[Sample]) -> list[Sample]:
    """The samples that have reference answers.

    Raises:
        DataError: there are none.
    """
    answered = [sample for sample in samples if sample.answers]
    if not answered:
        raise DataError(
            "no sample has a reference answer",
            got=f"{len(samples)} without",
            remedy="name the column with --column answer=COLUMN",
        )
    return answered


def question_family(sample: Sample) -> str:
    """The sample's question family; `all` if the data set has none."""
    return sample.family or "all"
