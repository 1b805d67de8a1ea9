"""Step: something that a calibration measures sample by sample, and what the measurements add up to.

A step is data. Its fields hold what it needs from the settings and from earlier steps as plain values, so that a sample
can be measured wherever the model is: `measure` sees the step, the model and the sample, and nothing else.

    class TokenCount(Step[int]):
        name = "tokens"

        def measure(self, model: ProbedModel, sample: Sample) -> Item:
            return model.inputs(sample)["input_ids"].shape[1]

        def add_up(self, items: Mapping[str, Item]) -> int:
            return sum(items.values())
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Self, TypeVar

from transformers import PreTrainedModel

from halfv_core.families import Family
from halfv_core.processors import PromptProcessor
from probe.calibration.budget.budget import Work
from probe.calibration.budget.mean_sample import MeanSample
from probe.data.samples import Sample
from probe.trials.answers import Inputs

Result = TypeVar("Result")

Item = Any
"""What is measured on one sample: JSON."""


class ProbedModel(NamedTuple):
    """A model to measure, with what turns samples into its inputs."""

    model: PreTrainedModel
    processor: PromptProcessor
    family: Family | None = None
    """Description of the model, where no registered one fits."""

    def inputs(self, sample: Sample) -> Inputs:
        """Model inputs of a sample's prompt, a batch of one.

        Raises:
            DataError: an image cannot be opened or prepared.
        """
        return self.processor.prompt(sample.open_images(), sample.prompt, self.model.device)


@dataclass(frozen=True)
class Step(ABC, Generic[Result]):
    """Base of all steps; subclasses are frozen dataclasses."""

    name: ClassVar[str]
    """In progress bars, in the profile's times and, unless `key` differs, in the journal."""
    skips_bad_samples: ClassVar[bool] = False
    """Whether a sample on which measuring raises DataError is left out and named. Otherwise the calibration fails."""
    recorded: ClassVar[bool] = True
    """Whether items are noted in the journal and counted by the progress bar."""
    budgeted: ClassVar[Literal["before the step", "before each sample", "never"]] = "never"
    """When the budget is asked how much of the step there is room for. Before each sample: no estimate is possible
    before the first samples have been measured, and these items hold the seconds that all estimates come from."""
    work_field: ClassVar[str] = "samples"
    """Field of `Work` with the number of samples that the step is measured on."""
    cost_fields: ClassVar[tuple[str, ...]] = ()
    """Fields of `CostEstimates` that are paid for when the step is over."""

    @property
    def key(self) -> str:
        """Under which its items are noted in the journal."""
        return self.name

    @abstractmethod
    def measure(self, model: ProbedModel, sample: Sample) -> Item:
        """Measure one sample.

        Raises:
            DataError: the sample cannot be used.
        """

    @abstractmethod
    def combine(self, items: Mapping[str, Item]) -> Result:
        """The result of the step.

        Args:
            items: by sample id, in the order of the samples; empty where the budget has no room for the step.
        """

    def cost(self, mean: MeanSample) -> float:
        """Seconds that one sample is expected to take."""
        return 0.0

    def reduced_to(self, work: Work) -> Self:
        """What is left of the step when only so much work is done."""
        return self

    def sample_count(self, work: Work) -> int:
        """On how many samples a budgeted step is measured when only so much work is done."""
        return int(getattr(work, self.work_field))

    def settled_work(self, work: Work, measured: int) -> dict[str, int | bool]:
        """Fields of `Work` that no later decision changes once a budgeted step is over, and their values.

        Args:
            measured: samples on which it was measured, without those that were left out as bad.
        """
        return {self.work_field: measured if self.skips_bad_samples else self.sample_count(work)}
