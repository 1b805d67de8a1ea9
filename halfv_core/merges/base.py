"""What a merge is: immutable options and one method that changes the hidden states of the tokens that are kept."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from halfv_core.errors import PlanError
from halfv_core.registry import Registry
from halfv_core.selectors.base import Reading
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch


class Merged(NamedTuple):
    """The visual tokens that stay, with what they hold from now on."""

    chosen: "torch.Tensor"
    """(k + e,) distinct indices 0..V-1: the chosen tokens, then e more, whose places hold merged tokens."""
    states: "torch.Tensor"
    """(k + e, D) their hidden states, in the model's dtype."""


@dataclass(frozen=True)
class Merge(ABC):
    """A rule that merges pruned tokens. Subclasses are frozen dataclasses; their fields are the options."""

    @abstractmethod
    def merge(self, prompt: Prompt, chosen: "torch.Tensor", anchors: int) -> Merged:
        """Merge the tokens of one prompt that are not chosen.

        Args:
            prompt: its tokens, V of which are visual, as the selector saw them.
            chosen: (k,) what the selector chose, in its order.
            anchors: how many of these, the first ones, are anchors.
        """

    def extra(self, visual: int, count: int) -> int:
        """Number e of tokens that stay beside `count` chosen ones of `visual`, at most visual - count."""
        return 0

    def reads(self) -> frozenset[Reading]:
        """What has to be at hand for `merge`."""
        return frozenset()

    def tower_layers(self) -> frozenset[int]:
        """Layers of the vision tower that it looks at, perhaps counted from the end."""
        return frozenset()


MERGES: Registry[type[Merge]] = Registry("merge", PlanError)


def make_merge(name: str, options: Mapping[str, bool | int | float | str]) -> Merge:
    """Build a registered merge; see `Registry.make`."""
    return MERGES.make(name, options)


def outside(chosen: "torch.Tensor", visual: int) -> "torch.Tensor":
    """(V,) bool: false at the chosen ones of so many visual tokens."""
    import torch

    return torch.ones(visual, dtype=torch.bool, device=chosen.device).index_fill_(0, chosen, False)
