"""Selector `hawk`: products of question queries and visual keys without positions, weighted by head (HAWK, CVPR 2026).

It looks at the Keep's own queries and keys before rotary positions are applied; at layer 0, where the paper prunes,
these follow from the input alone. It computes a product for each question token, head and visual token, and no softmax
over the prompt. The paper's head weights, 28 of Qwen2.5-VL-7B, come from switching heads off one by one.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from halfv_core.errors import PlanError
from halfv_core.selectors.attended import best, question_rows
from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading
from halfv_core.selectors.prompt import At, Prompt

if TYPE_CHECKING:
    import torch

Norm = Literal["l2", "softmax", "minmax"]


@SELECTORS.register("hawk")
@dataclass(frozen=True)
class Hawk(PromptSelector):
    """Choose the tokens with the highest weighted sum over heads of the normalised mean product with the question."""

    head_weights: str = ""
    """One number for each query head of the layer, separated by commas; equal weights if empty."""
    norm: Norm = "l2"
    """How a head's products are normalised over the visual tokens."""
    at: At = "own"
    """The layer whose queries and keys are read."""

    def __post_init__(self) -> None:
        self._weights()

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`.

        Raises:
            PlanError: there is not one weight for each head.
        """
        import torch

        queries = prompt.queries(question_rows(prompt), self.at, rope=False)
        keys = prompt.keys(self.at, rope=False)[:, prompt.visual]
        weights = self._weights() or [1.0 / len(queries)] * len(queries)
        if len(weights) != len(queries):
            raise PlanError("hawk: head_weights", got=f"{len(weights)} numbers", expected=f"{len(queries)}, one a head")
        products = relevance(queries, keys.repeat_interleave(len(queries) // len(keys), 0))
        return best(hawk(products, torch.tensor(weights).to(products.device, non_blocking=True), self.norm), count)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"previous"} if self.at == "previous" else ())

    def _weights(self) -> list[float]:
        import math

        try:
            weights = [float(each) for each in self.head_weights.split(",")] if self.head_weights.strip() else []
        except ValueError:
            weights = [math.nan]
        if not all(map(math.isfinite, weights)):
            raise PlanError("hawk: head_weights", got=repr(self.head_weights), expected="numbers separated by commas")
        return weights


def relevance(queries: "torch.Tensor", keys: "torch.Tensor") -> "torch.Tensor":
    """(H, q, d) and (H, V, d) -> (H, V): mean over the q rows of the scaled products."""
    import math

    from halfv_core.precision import no_autocast, widened

    with no_autocast(queries.device):
        mean = widened(queries).mean(1, keepdim=True)  # (H, 1, d)
        return (mean @ widened(keys).mT)[:, 0] / math.sqrt(queries.shape[-1])


def hawk(products: "torch.Tensor", head_weights: "torch.Tensor", norm: Norm = "l2") -> "torch.Tensor":
    """Normalise each head over the visual tokens and add heads up.

    Args:
        products: (H, V), see `relevance`.
        head_weights: (H,)
        norm: to length 1, by softmax, or to 0..1.

    Returns:
        (V,) scores.
    """
    import torch

    tiny = torch.finfo(products.dtype).tiny
    if norm == "softmax":
        normed = products.softmax(1)
    elif norm == "minmax":
        low, high = products.amin(1, keepdim=True), products.amax(1, keepdim=True)
        normed = (products - low) / (high - low).clamp_min(tiny)
    else:
        normed = products / products.square().sum(1, keepdim=True).sqrt().clamp_min(tiny)
    return (head_weights[:, None] * normed).sum(0)
