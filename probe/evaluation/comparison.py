"""Runs one sample under every variant and records its answers, grades, likelihoods, costs and times."""

from collections.abc import Mapping

from transformers import PreTrainedModel

from halfv_core.errors import DataError
from halfv_core.families import Family
from halfv_core.placement import device_of
from halfv_core.plan import Plan
from halfv_core.processors import PromptProcessor
from halfv_core.runtime import apply
from probe.data.inputs import inputs_of
from probe.data.samples import Sample
from probe.evaluation.evaluate import question_family
from probe.evaluation.flops import OutsideFlops
from probe.evaluation.grading import Grading, grade, metric_of
from probe.evaluation.outcomes import Comparison, Outcome
from probe.trials.answers import Inputs, greedy_answer, read_answer


class Comparer:
    """Runs samples under all variants, one variant after the other; of a sample it keeps no tensors."""

    def __init__(
        self,
        model: PreTrainedModel,
        processor: PromptProcessor,
        plans: Mapping[str, Plan],
        grading: Grading,
        max_new_tokens: int,
        family: Family | None,
    ) -> None:
        self._model = model
        self._processor = processor
        self._plans = plans
        self._grading = grading
        self._max_new_tokens = max_new_tokens
        self._family = family
        self._outside_flops = OutsideFlops(model, family)
        self._warm = False

    def compare(self, index: int, sample: Sample) -> Comparison:
        """Compare the variants on one sample; a different variant runs first each time, to spread warm-up costs.

        Args:
            index: position of the sample, which determines the first variant.

        Raises:
            DataError: an image cannot be opened, or a reference answer has no tokens.
        """
        inputs = inputs_of(self._processor, sample, device_of(self._model))
        if not self._warm:  # the first run of each kernel takes longer
            for plan in self._plans.values():
                self._outcome(sample, inputs, plan)
            self._warm = True
        names = list(self._plans)
        first = index % len(names)
        outcomes = {name: self._outcome(sample, inputs, self._plans[name]) for name in names[first:] + names[:first]}
        return Comparison(
            id=sample.id,
            family=question_family(sample),
            references=sample.answers,
            grading=metric_of(sample, self._grading),
            outside_flops=self._outside_flops(inputs),
            outcomes={name: outcomes[name] for name in names},
        )

    def _outcome(self, sample: Sample, inputs: Inputs, plan: Plan) -> Outcome:
        reference = self._processor.encode(sample.answers[0], device_of(self._model))
        if not len(reference):
            raise DataError("the tokenizer has no tokens for a reference answer", got=repr(sample.answers[0]))
        with apply(self._model, plan, family=self._family) as run:
            reading = read_answer(self._model, inputs, reference)
            answer = self._processor.decode(greedy_answer(self._model, inputs, self._max_new_tokens))
        return Outcome(
            answer=answer,
            grade=grade(sample, answer, self._grading).value,
            log_likelihood=reading.log_likelihood,
            first_token_seconds=reading.first_token_seconds,
            cost=run.cost,
        )
