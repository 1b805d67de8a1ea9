"""Selector `ivcprune`: tokens at telling positions, then those with values like the question's (IVC-Prune, ICLR 2026).

Tokens whose rotary cosines or sines are largest are always kept, since positions are read relative to them. The others
are ranked by how similar their values are to those of the question and of a few seed tokens. It looks at values and
rotary tables, needs no attention, and depends on the question. Only the similarity was compared with the paper's code.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.errors import PlanError
from halfv_core.selectors.attended import best, question_rows
from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading
from halfv_core.selectors.prompt import At, Prompt
from halfv_core.selectors.ranking import first_then

if TYPE_CHECKING:
    import torch


@SELECTORS.register("ivcprune")
@dataclass(frozen=True)
class IVCPrune(PromptSelector):
    """Choose by position, then by similarity of values."""

    position_share: float = 0.1
    """Share of the visual tokens that the cosines keep, and share that the sines keep."""
    seed_share: float = 0.01
    """Share of the visual tokens that are seeds, at least one."""
    at: At = "previous"
    """The layer whose values are compared."""

    def __post_init__(self) -> None:
        for name in ("position_share", "seed_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise PlanError(f"{name} is a share", got=getattr(self, name), expected="0..1")

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        values, visual = prompt.values(self.at), prompt.visual
        scores = ivcprune(values[:, question_rows(prompt)], values[:, visual], self.seed_share)
        cosine, sine = (table[visual] for table in prompt.rotary())
        return first_then(telling_positions(cosine, sine, self.position_share), scores, count)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"previous"} if self.at == "previous" else ())


def value_similarity(queries: "torch.Tensor", values: "torch.Tensor") -> "torch.Tensor":
    """(H, q, d) and (H, V, d) values -> (q, V) float32: softmax of their scaled products over V, mean over heads."""
    import math

    from halfv_core.precision import no_autocast, widened

    with no_autocast(values.device):
        products = widened(queries) @ widened(values).mT / math.sqrt(values.shape[-1])
    return products.softmax(-1).mean(0)


def ivcprune(question: "torch.Tensor", values: "torch.Tensor", seed_share: float = 0.01) -> "torch.Tensor":
    """Mean similarity to the question and to the seeds, the tokens that are most similar to the question.

    Args:
        question: (H, t, d) values of the question's tokens.
        values: (H, V, d) values of the visual tokens.
        seed_share: see `IVCPrune.seed_share`.

    Returns:
        (V,) scores.
    """
    import torch

    to_question = value_similarity(question, values)  # (t, V)
    seeds = best(to_question.mean(0), max(1, round(seed_share * values.shape[1])))
    return torch.cat([to_question, value_similarity(values[:, seeds], values)]).mean(0)


def telling_positions(cosine: "torch.Tensor", sine: "torch.Tensor", share: float = 0.1) -> "torch.Tensor":
    """(V, d) rotary tables -> (V,) bool: round(share * V) tokens with the largest mean cosine, and as many by sine."""
    import torch

    kept = torch.zeros(len(cosine), dtype=torch.bool, device=cosine.device)
    for table in (cosine, sine):
        kept.index_fill_(0, best(table.float().mean(1), round(share * len(table))), True)
    return kept
