"""Merge `sparsevlm`: the best of the pruned tokens are clustered, and each cluster stays as one mean token.

SparseVLM (arXiv 2410.04417, ICML 2025), version 1: of the pruned tokens those with the highest scores of the selector
`sparsevlm` are clustered by density peaks (DPC-KNN). A mean token takes the place of the cluster's centre, so that more
tokens stay than were chosen. The paper's code breaks ties of density by random noise; here the earlier token is denser.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.errors import PlanError
from halfv_core.merges.base import MERGES, Merge, Merged, outside
from halfv_core.selectors.attended import best
from halfv_core.selectors.base import Reading
from halfv_core.selectors.prompt import Prompt
from halfv_core.selectors.sparsevlm import sparsevlm_scores

if TYPE_CHECKING:
    import torch

SHARE_CLUSTERED = 0.3
TOKENS_A_CLUSTER = 10


@MERGES.register("sparsevlm")
@dataclass(frozen=True)
class SparseVLMMerge(Merge):
    """Cluster 30 % of the pruned tokens, about ten to a cluster, and keep the clusters' means."""

    share: float = SHARE_CLUSTERED
    """Share of the pruned tokens that are clustered: int(pruned * share) + 1 of them."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.share < 1.0:
            raise PlanError("share is a share of the pruned tokens", got=self.share, expected="0 or more and below 1")

    def merge(self, prompt: Prompt, chosen: "torch.Tensor", anchors: int) -> Merged:
        """See `Merge.merge`."""
        import torch

        states = prompt.hidden()[prompt.visual]  # (V, D)
        clustered = self._clustered(len(states), len(chosen))
        scores = sparsevlm_scores(prompt, version=1)
        candidates = best(torch.where(outside(chosen, len(states)), scores, -1.0), clustered)
        centres, means = density_peaks(states[candidates], self.extra(len(states), len(chosen)))
        merged = torch.cat([states[chosen], means.to(states.dtype)])
        return Merged(torch.cat([chosen, candidates[centres]]), merged)

    def extra(self, visual: int, count: int) -> int:
        """See `Merge.extra`."""
        return self._clustered(visual, count) // TOKENS_A_CLUSTER + 1

    def reads(self) -> frozenset[Reading]:
        """See `Merge.reads`."""
        return frozenset({"previous", "input"})

    def _clustered(self, visual: int, count: int) -> int:
        return math.floor((visual - count) * self.share) + 1


def density_peaks(states: "torch.Tensor", clusters: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """Cluster by DPC-KNN: a centre is dense and far from what is denser; a token goes to the nearest centre.

    Args:
        states: (n, D), without NaN.
        clusters: number of clusters, and of neighbours in a density, 1 <= clusters <= n.

    Returns:
        (clusters,) indices of the centres, and (clusters, D) float32 means of the clusters.
    """
    import torch

    from halfv_core.precision import widened

    states = widened(states)
    tokens = torch.arange(len(states), device=states.device)
    distance = torch.cdist(states, states, compute_mode="donot_use_mm_for_euclid_dist") / math.sqrt(states.shape[1])
    density = (-distance.topk(clusters, largest=False).values.square().mean(1)).exp()  # (n,)
    denser = (density > density[:, None]) | ((density == density[:, None]) & (tokens < tokens[:, None]))
    to_denser = torch.where(denser, distance, distance.max()).amin(1)
    centres = best(to_denser * density, clusters)
    cluster = distance[:, centres].argmin(1)
    cluster[centres] = torch.arange(clusters, device=states.device)
    member = (cluster == torch.arange(clusters, device=states.device)[:, None]).to(states.dtype)  # (clusters, n)
    return centres, (member @ states) / member.sum(1, keepdim=True)
