"""Effective rank and similarity: how many directions visual and text tokens spread over, and how alike they are.

    effective rank   exp(-sum p_k ln p_k)    p_k = s_k / sum s, the singular values s of the centred states (N x D)
    similarity       mean of cos(x_i, x_j) over all pairs i != j  =  (|sum_i u_i|^2 - sum_i |u_i|^2) / (N (N - 1))

with u_i the unit vector of state x_i. The effective rank is that of Roy & Vetterli (2007), from 1 to min(N - 1, D);
of states that are centred first, since their common offset would else be one large direction. The entropies of a
profile (tme.py) are those of the squares of s, and of the 50 largest; s weighs weak directions more. Both numbers are
of states after the model's final norm, as those entropies and the distances of selectors are: before it, one sink would
hold nearly all of the spread.

Unit: directions, and a cosine. Cost: all eigenvalues of the smaller Gram matrix at every layer, in float64, on the
states of the shared run; the similarity takes one sum.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from halfv_core.precision import widened
from probe.analyzers.findings import AnyFinding, layer_series
from probe.analyzers.one_run.modalities import MODALITIES, by_modality
from probe.analyzers.probe import PROBES, Item, Probe
from probe.analyzers.tme import entropy, spectrum
from probe.capture.prompt_run import PromptRun


def effective_rank(states: torch.Tensor) -> torch.Tensor:
    """Effective rank of centred states.

    Args:
        states: (..., N, D).

    Returns:
        (...), float64 on the CPU; 1 for a single token and for identical ones.

    Raises:
        DataError: no token, or a value that is NaN or infinite.
    """
    size = min(states.shape[-2:])
    energies = spectrum(states, size)  # (..., size), squares of singular values that sum to 1
    # Below this an eigenvalue of a float64 Gram matrix is rounding, whose root would not be small.
    certain = energies > size * torch.finfo(energies.dtype).eps * energies[..., :1]
    singular = torch.where(certain, energies, 0.0).sqrt()
    shares = singular / singular.sum(-1, keepdim=True).clamp(min=torch.finfo(singular.dtype).tiny)
    return entropy(shares).exp()


def mean_similarity(states: torch.Tensor) -> torch.Tensor:
    """Mean cosine of all pairs of different tokens.

    Args:
        states: (..., N, D), N at least 2. A state of zeros has cosine 0 with all others.

    Returns:
        (...), float32.
    """
    units = torch.nn.functional.normalize(widened(states), dim=-1)
    count = states.shape[-2]
    own = units.square().sum((-2, -1))
    return (units.sum(-2).square().sum(-1) - own) / (count * (count - 1))


@PROBES.register("rank")
class Rank(Probe):
    """Effective rank by modality, and similarity of visual tokens."""

    title = "How varied tokens are"
    question = "How many directions do visual and text tokens spread over, and do visual tokens become alike?"

    def measure(self, run: PromptRun, looked: Sequence[Any], *, example: bool) -> Item:
        """Rank by modality, and similarity of visual tokens, (L+1,) each; no similarity for a single visual token."""
        groups = {name: group.to(run.normed.device) for name, group in by_modality(run.visual).items()}
        item = {name: effective_rank(run.normed[:, group]).tolist() for name, group in groups.items()}
        alike = None
        if int(run.visual.sum()) > 1:
            alike = [float(mean_similarity(states[groups["visual"]])) for states in run.normed]
        return {"rank": item, "similarity": alike}

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """Means over the samples."""
        findings: list[AnyFinding] = [
            layer_series(
                f"rank_{modality}", np.array([item["rank"][modality] for item in items.values()]), axis="states",
                title="Effective rank", unit="directions", group=modality,
            )
            for modality in MODALITIES
        ]  # fmt: skip
        alike = [item["similarity"] for item in items.values() if item["similarity"] is not None]
        if alike:
            title = "Mean cosine similarity of visual tokens"
            findings.append(layer_series("similarity_visual", alike, axis="states", title=title, group="visual"))
        return findings
