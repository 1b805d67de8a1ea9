"""Step: a quantity that a calibration measures sample by sample, and how the measurements are combined.

A step is data. Its fields hold what it needs from the settings and from earlier steps as plain values, so a sample can
be measured wherever the model is: `measure` depends only on the step, the model and the sample.

    class TokenCount(Step[int]):
        name = "tokens"

        def measure(self, model: ProbedModel, sample: Sample) -> Item:
            return model.inputs(sample)["input_ids"].shape[1]

        def combine(self, items: Mapping[str, Item]) -> int:
            return sum(items.values())
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Self, TypeVar

from transformers import PreTrainedModel

from halfv_core.families import Family
from halfv_core.placement import device_of
from halfv_core.plan import Plan
from halfv_core.processors import PromptProcessor
from probe.calibration.budget.budget import Work
from probe.calibration.budget.mean_sample import MeanSample
from probe.data.inputs import inputs_of
from probe.data.samples import Sample
from probe.trials.answers import Inputs

Result = TypeVar("Result")

Item = Any
"""What is measured on one sample: a JSON value."""


class ProbedModel(NamedTuple):
    """The model to measure, and its processor."""

    model: PreTrainedModel
    processor: PromptProcessor
    family: Family | None = None
    """A description of the model, if no registered family fits it."""
    low_memory: bool = False
    """See `Settings.low_memory`; the results are the same."""

    def inputs(self, sample: Sample) -> Inputs:
        """Prepare the model inputs of a sample's prompt, as a batch of one.

        Raises:
            DataError: an image cannot be opened or prepared.
        """
        return inputs_of(self.processor, sample, device_of(self.model))


@dataclass(frozen=True)
class Step(ABC, Generic[Result]):
    """Base class of all steps; subclasses are frozen dataclasses."""

    name: ClassVar[str]
    """Name in progress bars, in the profile's times and, unless `key` differs, in the journal."""
    skips_bad_samples: ClassVar[bool] = False
    """Whether samples for which `measure` raises DataError are skipped and reported. If not, the calibration fails."""
    recorded: ClassVar[bool] = True
    """Whether items are stored in the journal and shown by the progress bar. If not, each process measures its own."""
    budgeted: ClassVar[Literal["before the step", "before each sample", "never"]] = "never"
    """When the budget decides how much of the step is done. "before each sample" is for `Curves`: nothing can be
    estimated before the first samples have been measured, and all estimates come from the times in these items."""
    work_field: ClassVar[str] = "samples"
    """Field of `Work` with the number of samples for this step."""
    cost_fields: ClassVar[tuple[str, ...]] = ()
    """Fields of `CostEstimates` that this step pays for; nothing more is spent on them after it."""

    @property
    def key(self) -> str:
        """Name under which the items are stored in the journal."""
        return self.name

    @abstractmethod
    def measure(self, model: ProbedModel, sample: Sample) -> Item:
        """Measure one sample.

        Raises:
            DataError: the sample cannot be used.
        """

    @abstractmethod
    def combine(self, items: Mapping[str, Item]) -> Result:
        """Combine the items into the result of the step.

        Args:
            items: by sample id, in the order of the samples; empty if the budget leaves no room for the step.
        """

    def merged(self, items: Sequence[Item]) -> Item:
        """One item out of those of all processes, the first one's first; for steps that each process runs itself."""
        return items[0]

    def cost(self, mean: MeanSample) -> float:
        """Expected seconds for one sample."""
        return 0.0

    def reduced_to(self, work: Work) -> Self:
        """The step reduced to this amount of work."""
        return self

    def sample_count(self, work: Work) -> int:
        """Number of samples on which a budgeted step is measured, given this amount of work."""
        return int(getattr(work, self.work_field))

    def settled_work(self, work: Work, measured: int) -> dict[str, int | bool]:
        """Fields of `Work` that later decisions must not change once a budgeted step is over, with their values.

        Args:
            work: the amount of work of the step.
            measured: number of samples measured, without the skipped ones.
        """
        return {self.work_field: measured if self.skips_bad_samples else self.sample_count(work)}


def key_with_plans(name: str, plans: Sequence[Plan]) -> str:
    """A key under which the items of these plans are stored, and those of no others.

    Plans that were searched for may differ in a resumed run, where other selectors or methods may be registered.
    """
    digest = hashlib.sha256("\n".join(plan.model_dump_json() for plan in plans).encode())
    return f"{name} {digest.hexdigest()[:8]}"
