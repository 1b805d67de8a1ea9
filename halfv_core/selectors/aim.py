"""Selector `aim`: the tokens with the highest PageRank in the attention graph of the whole prompt.

AIM (arXiv 2412.03248, ICCV 2025), the part inside the decoder; `aim_merging` is the part before it. It reads the
attention of all tokens, so that its time and memory grow with the square of their number, and depends on the question.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.errors import PlanError
from halfv_core.selectors.attended import best
from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading
from halfv_core.selectors.prompt import At, Prompt

if TYPE_CHECKING:
    import torch


@SELECTORS.register("aim")
@dataclass(frozen=True)
class AIM(PromptSelector):
    """Choose the tokens with the highest importance."""

    at: At = "previous"
    """The layer whose attention is read."""
    temperature: float = 0.1
    """By which the attention's logits are divided."""
    steps: int = 5
    """Steps of the power iteration."""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise PlanError("temperature divides", got=self.temperature, expected="above 0")
        if self.steps < 1:
            raise PlanError("steps of the power iteration", got=self.steps, expected="1 or more")

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        import torch

        everyone = torch.arange(len(prompt.visual) + len(prompt.text), device=prompt.device)
        logits = prompt.attention_logits(everyone, self.at)
        return best(page_rank(logits, self.temperature, self.steps)[prompt.visual], count)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"previous"} if self.at == "previous" else ())


def page_rank(logits: "torch.Tensor", temperature: float = 0.1, steps: int = 5) -> "torch.Tensor":
    """Power iteration from a uniform distribution, without damping.

    Args:
        logits: (H, n, n) attention before the softmax, -inf (or the lowest number) at what a token does not see.
        temperature: by which they are divided.
        steps: number of steps.

    Returns:
        (n,) importance: root mean square over heads.
    """
    import torch

    from halfv_core.precision import no_autocast

    attention = (logits / temperature).softmax(-1)
    rank = torch.full_like(attention[:, :1], 1 / attention.shape[-1])  # (H, 1, n)
    with no_autocast(attention.device):
        for _ in range(steps):
            rank = rank @ attention
    return rank[:, 0].square().mean(0).sqrt()
