"""What a selector is: immutable options and one method that chooses which visual tokens of a prompt are kept."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from halfv_core.errors import PlanError
from halfv_core.registry import Registry
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch

Scoring = Literal["attention", "release"]
Reading = Literal["previous", "input", "transitions", "vision", "grids"]
"""What has to be at hand before a selector is asked: a layer before the Keep's own (so that the Keep cannot stand at
layer 0), the input of layer 0, what the sub-layers changed (`Prompt.transitions`; not at layer 0 either), what the
vision tower saw, or the grids of its images."""


class SelectionContext(Protocol):
    """What a selector may look at: the visual tokens that R prompts have kept up to the layer, V in the longest.

    A prompt with fewer tokens is padded at the end of its row. Nothing is computed that is not asked for.
    """

    @property
    def visual_counts(self) -> tuple[int, ...]:
        """Number of visual tokens of each prompt, R values."""

    @property
    def device(self) -> "torch.device":
        """Device of the hidden states, on which the chosen indices are expected."""

    def attention_scores(self, scoring: Scoring, rope: bool) -> "torch.Tensor":
        """(R, V) float32: how much the last prompt token attends to each visual token in the previous layer.

        It is -inf at padding.

        Args:
            scoring: `attention` (scaled, softmax over all keys that the query sees) or `release` (unscaled, softmax
                over the visual keys only, as in HalfV's public code).
            rope: whether queries and keys carry their rotary positions.
        """

    def normed_hidden(self) -> "torch.Tensor":
        """(R, V, D) float32: the layer's input at the visual tokens, after the model's final norm; any at padding."""

    def prompts(self) -> Sequence[Prompt]:
        """The same prompts one by one, without padding, and everything that may be known of them; R of them."""


@dataclass(frozen=True)
class AnySelector:
    """A rule that chooses visual tokens. Subclasses are frozen dataclasses; their fields are the options of a Keep."""

    def reads(self) -> frozenset[Reading]:
        """What has to be at hand for `select`."""
        return frozenset()

    def tower_layers(self) -> frozenset[int]:
        """Layers of the vision tower that it looks at, perhaps counted from the end."""
        return frozenset()

    def anchors(self, count: int) -> int:
        """How many of `count` chosen tokens are anchors, chosen for their attention rather than for another reason."""
        return 0


@dataclass(frozen=True)
class Selector(AnySelector, ABC):
    """A selector that is told how many tokens to keep."""

    @abstractmethod
    def select(self, context: SelectionContext, counts: Sequence[int]) -> "torch.Tensor":
        """Choose visual tokens in each of R prompts, which do not influence each other.

        Args:
            context: the visual tokens.
            counts: number of tokens to keep in each prompt, 1 <= counts[r] < context.visual_counts[r].

        Returns:
            (R, max(counts)) LongTensor on the context's device. The first counts[r] entries of row r are distinct
            indices into its visual tokens: first the anchors, then the others, each in any order. Entries behind them
            are not looked at.
        """


class PromptSelector(Selector):
    """A selector that looks at one prompt at a time, which has no padding."""

    @abstractmethod
    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """Choose visual tokens of one prompt.

        Args:
            prompt: its tokens, V of which are visual.
            count: number of tokens to keep, 1 <= count < V.

        Returns:
            (count,) distinct indices 0..V-1, first the anchors, then the others.
        """

    def select(self, context: SelectionContext, counts: Sequence[int]) -> "torch.Tensor":
        """See `Selector.select`."""
        from torch.nn.utils.rnn import pad_sequence

        prompts = zip(context.prompts(), counts, strict=True)
        return pad_sequence([self.choose(prompt, count) for prompt, count in prompts], batch_first=True)


class ThresholdSelector(AnySelector, ABC):
    """A selector that decides how many tokens it keeps; its Keep gives neither a share nor a number."""

    @abstractmethod
    def choose_any(self, prompt: Prompt) -> "torch.Tensor":
        """Choose visual tokens of one prompt: (k,) distinct indices 0..V-1, 0 <= k <= V."""


SELECTORS: Registry[type[AnySelector]] = Registry("selector", PlanError)


def make_selector(name: str, options: Mapping[str, bool | int | float | str]) -> AnySelector:
    """Build a registered selector; see `Registry.make`."""
    return SELECTORS.make(name, options)


def padding_of(counts: Sequence[int], device: "torch.device") -> "torch.Tensor | None":
    """(R, max(counts)) bool, true behind the first counts[r] entries of a row; None if there is nothing behind them."""
    import torch

    if len(set(counts)) == 1:
        return None
    lengths = torch.tensor(counts).to(device, non_blocking=True)
    return torch.arange(max(counts), device=device) >= lengths[:, None]
