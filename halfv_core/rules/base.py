"""What a rule is: immutable options and one method that says whether it holds for a prompt at a layer."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.errors import PlanError
from halfv_core.registry import Registry
from halfv_core.selectors.base import Reading
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Rule(ABC):
    """A condition on one prompt. Subclasses are frozen dataclasses; their fields are the options."""

    @abstractmethod
    def holds(self, prompt: Prompt) -> "torch.Tensor":
        """Whether the rule holds at the layer that the prompt has just passed, its "previous" layer.

        Args:
            prompt: its tokens, at least one of which is visual.

        Returns:
            () bool on the prompt's device.
        """

    def votes(self) -> int:
        """At how many layers, one after the other or not, the rule has to hold before something is done."""
        return 1

    def reads(self) -> frozenset[Reading]:
        """What has to be at hand for `holds`."""
        return frozenset({"previous"})


RULES: Registry[type[Rule]] = Registry("rule", PlanError)


def make_rule(name: str, options: Mapping[str, bool | int | float | str]) -> Rule:
    """Build a registered rule; see `Registry.make`."""
    return RULES.make(name, options)
