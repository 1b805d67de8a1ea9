"""Selector `dart`: tokens that are least like a few pivots (DART, arXiv 2502.11494, EMNLP 2025).

Pivots are the visual and the question tokens with the largest keys. One after another they take the visual tokens that
are least similar to them, so what many tokens repeat is taken once. It looks at the keys of the previous layer (L1 norm
over all heads, with rotary positions) and at the states after the final norm, needs no attention, and depends on the
question only through four of its tokens.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from halfv_core.errors import PlanError
from halfv_core.selectors.attended import best
from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch

Order = Literal["ascending", "set"]


@SELECTORS.register("dart")
@dataclass(frozen=True)
class Dart(PromptSelector):
    """Choose the visual pivots, then for each pivot the tokens that are least similar to it."""

    visual_pivots: int = 4
    """Number of visual tokens among the pivots, which are kept."""
    text_pivots: int = 4
    """Number of question tokens among the pivots."""
    order: Order = "ascending"
    """In which order the pivots take their tokens, which decides the result: by position, or as the paper's code does,
    in the order in which CPython goes through a set of their positions. For that order the positions are read back
    from the device."""

    def __post_init__(self) -> None:
        if self.visual_pivots < 0 or self.text_pivots < 0 or self.visual_pivots + self.text_pivots == 0:
            raise PlanError(
                "dart needs pivots",
                got=f"visual_pivots={self.visual_pivots}, text_pivots={self.text_pivots}",
                expected="numbers that are not negative, one of them at least 1",
            )

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        sizes = key_sizes(prompt.keys("previous"))
        pivots = (self.visual_pivots, self.text_pivots)
        return dart(prompt.normed_hidden(), sizes, prompt.visual, prompt.question, count, pivots, self.order)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"previous"})


def key_sizes(keys: "torch.Tensor") -> "torch.Tensor":
    """(H_kv, n, d) keys -> (n,) their L1 norm over all heads, in float32."""
    from halfv_core.precision import widened

    return widened(keys).abs().sum((0, 2))


def dart(
    states: "torch.Tensor",
    sizes: "torch.Tensor",
    visual: "torch.Tensor",
    question: "torch.Tensor",
    count: int,
    pivots: tuple[int, int] = (4, 4),
    order: Order = "ascending",
) -> "torch.Tensor":
    """DART's rule, filled up to exactly `count` tokens.

    In the paper's code each of P pivots takes equally many tokens, b, and the 4 visual pivots stay: 4 + P b tokens.
    Here the first (count - 4) mod P pivots take one more, so that for count = 4 + P b it is the same rule. For up to
    4 tokens, it is the visual pivots alone, those with the largest keys first.

    Args:
        states: (n, D) after the final norm, without NaN.
        sizes: (n,) L1 norms of the tokens' keys.
        visual: (V,) ascending indices of the visual tokens.
        question: (t,) indices of the text tokens that may be pivots.
        count: number of visual tokens to choose, 1 <= count < V.
        pivots: numbers of visual and of text tokens among the pivots.
        order: see `Dart.order`.

    Returns:
        (count,) indices into `visual`: the visual pivots, then the others in the order in which they were taken.
    """
    import torch
    from torch.nn.functional import normalize

    from halfv_core.precision import no_autocast, widened

    kept = best(sizes[visual], min(pivots[0], count))  # (p,) indices into `visual`
    rest = count - len(kept)
    if rest == 0:
        return kept
    asking = best(sizes[question], min(pivots[1], len(question)))
    everyone = _in_order(torch.cat([visual[kept], question[asking]]), order)  # (P,) token indices
    if len(everyone) == 0:  # no visual pivots were asked for, and the prompt has no text behind its images
        everyone = visual[best(sizes[visual], 1)]
    unit = normalize(widened(states), dim=-1)
    with no_autocast(unit.device):
        distance = -(unit[everyone] @ unit[visual].T)  # (P, V)
    distance.index_fill_(1, kept, -torch.inf)
    chosen = [kept]
    each, more = divmod(rest, len(everyone))
    for pivot in range(len(everyone)):
        taken = best(distance[pivot], each + (pivot < more))
        distance.index_fill_(1, taken, -torch.inf)
        chosen.append(taken)
    return torch.cat(chosen)


def _in_order(positions: "torch.Tensor", order: Order) -> "torch.Tensor":
    import torch

    if order == "ascending":
        return positions.sort().values
    return torch.tensor(list(set(positions.tolist())), dtype=torch.long, device=positions.device)
