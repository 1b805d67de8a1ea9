"""Step `held-out answers`: the full model's answers to the held-out samples."""

from collections.abc import Mapping
from dataclasses import dataclass

from halfv_core.errors import DataError
from halfv_core.families import parts_of
from halfv_core.runtime.layout import TokenLayout
from probe.calibration.budget.budget import Work
from probe.calibration.budget.mean_sample import MeanSample
from probe.calibration.steps.answer import Answer
from probe.calibration.steps.step import Item, ProbedModel, Step
from probe.data.samples import Sample
from probe.trials.answers import greedy_answer


@dataclass(frozen=True)
class HeldOutAnswers(Step[dict[str, Answer]]):
    """Generates the answers; the result maps sample ids to answers."""

    name = "held-out answers"
    key = "answer"
    skips_bad_samples = True
    budgeted = "before the step"
    work_field = "held_out"
    cost_fields = ("answer",)

    max_new_tokens: int

    def measure(self, model: ProbedModel, sample: Sample) -> Item:
        inputs = model.inputs(sample)
        visual_ids = parts_of(model.model, model.family).visual_ids
        if not TokenLayout.find(inputs["input_ids"], visual_ids).has_visual:
            raise DataError("there is no visual token", got=f"{inputs['input_ids'].shape[1]} tokens")
        # Not read here: the check runs the sample in full once more, and reads the answer then.
        return {"answer": greedy_answer(model.model, inputs, self.max_new_tokens).tolist()}

    def sample_count(self, work: Work) -> int:
        return work.held_out + work.certify

    def settled_work(self, work: Work, measured: int) -> dict[str, int | bool]:
        held_out = min(work.held_out, measured)
        return {"held_out": held_out, "certify": measured - held_out}

    def combine(self, items: Mapping[str, Item]) -> dict[str, Answer]:
        return {name: Answer.of(item) for name, item in items.items()}

    def cost(self, mean: MeanSample) -> float:
        return mean.inputs + mean.answer - mean.prefill - mean.reading
