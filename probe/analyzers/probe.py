"""Probe: a question about how a model looks at images, measured prompt by prompt; and the registry of all probes.

    @PROBES.register("shares")
    class AttentionShares(Probe):
        title = "Where the last token looks"

        def look(self, layer: int, prompt: PromptView, run: PromptRun) -> torch.Tensor:
            ...                                   # at the input of each layer, in a run that all probes share

        def measure(self, run: PromptRun, looked: Sequence[Any], *, example: bool) -> Item:
            return torch.stack(list(looked)).tolist()

        def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
            ...

One file each: what is measured stands there as a function of tensors, with its formula, source and cost, so that it can
be used alone on captured states.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from halfv_core.errors import HalfVError
from halfv_core.registry import Registry
from halfv_core.runtime.prompt_view import PromptView
from probe.analyzers.findings import AnyFinding
from probe.capture.prompt_run import PromptRun, Recording

Item = Any
"""What a probe measures on one sample: a JSON value."""


class Probe(ABC):
    """Base class of all probes. They have no state."""

    title: ClassVar[str]
    """A few words for headings."""
    question: ClassVar[str]
    """What it answers, one sentence."""
    looks: ClassVar[bool] = False
    """Whether `look` is to be called."""
    records: ClassVar[frozenset[Recording]] = frozenset()
    """What `measure` reads of the run that has to be recorded while the model runs; the shared run does so, too."""
    pairs: ClassVar[bool] = False
    """Whether `measure` asks the prompt about other images (`PromptRun.over_others`)."""

    def look(self, layer: int, prompt: PromptView, run: PromptRun) -> Any:
        """Read something at the input of a layer; small, since it is kept for all layers.

        Args:
            prompt: see `PromptRun.at_every_layer`.
        """
        return None

    @abstractmethod
    def measure(self, run: PromptRun, looked: Sequence[Any], *, example: bool) -> Item:
        """Measure one sample.

        Args:
            looked: what `look` returned at each layer; empty if the probe does not look.
            example: whether maps of this sample are wanted, too. Few samples are examples.

        Raises:
            DataError: the sample cannot be used.
        """

    @abstractmethod
    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """Combine the items, by sample id, at least one, into findings."""

    def passes(self, layers: int) -> float:
        """Forward passes of the prompt beside those that all probes share, for one sample."""
        return 0.0


PROBES: Registry[type[Probe]] = Registry("probe", HalfVError)
