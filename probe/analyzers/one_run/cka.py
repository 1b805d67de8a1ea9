"""Linear CKA: how alike the geometry of the tokens is at any two layers.

    CKA(X, Y) = HSIC(K, M) / sqrt(HSIC(K, K) HSIC(M, M))      K = X X^T,  M = Y Y^T,  X, Y (n x D) centred over tokens

over the visual or the text tokens of one prompt, then the mean over prompts (Kornblith et al., 2019). With the biased
HSIC(K, M) = sum_ij K_ij M_ij this is |Y^T X|_F^2 / (|X^T X|_F |Y^T Y|_F). That is not used here by default: with far
fewer tokens than features, as in a prompt, K_ii outweighs all K_ij, and any two layers come out alike, near 1. The
unbiased estimator (Song et al., 2012) leaves the diagonal out:

    n (n - 3) HSIC(K, M) = sum_{i != j} K'_ij M'_ij
    K'_ij = K_ij + (K_ii + K_jj) / (n - 2) - tr K / ((n - 1) (n - 2))

which is its U-centred form (Szekely & Rizzo, 2014) for K whose rows sum to 0. It is 0 in expectation for unrelated
layers, so a CKA can be slightly negative, and takes at least 4 tokens. Tokens of one prompt are not independent draws,
so what is unbiased is the comparison of layers on these tokens, not a statement about the model. States are those after
the model's final norm: before it, one sink decides all.

Unit: none, -1..1, 1 on the diagonal. Cost: the Gram matrix of each layer's tokens and the products of all pairs, on the
states of the shared run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from halfv_core.precision import no_autocast, widened
from probe.analyzers.findings import AnyFinding, StateMatrix
from probe.analyzers.one_run.modalities import MODALITIES, by_modality
from probe.analyzers.probe import PROBES, Item, Probe
from probe.capture.prompt_run import PromptRun

MIN_TOKENS = 4
"""Of which HSIC can be estimated without bias."""
_ROUNDING = 1e-6
"""Length of a centred Gram matrix, relative to the energy of its tokens, below which it is rounding."""
_CELLS_AT_ONCE = 2**24
"""Entries of Gram matrices that are held at a time, of all layers together."""


def linear_cka(states: torch.Tensor, *, debiased: bool = True) -> torch.Tensor:
    """CKA of every pair of several states of the same tokens.

    Args:
        states: (S, n, D), n at least 4 if debiased.
        debiased: estimate HSIC without bias.

    Returns:
        (S, S) on the CPU, symmetric; 0 where all tokens of a state are the same, or equally far from each other, which
        leaves nothing to compare.
    """
    with no_autocast(states.device):
        centred = _centred(widened(states))
        products = _hsic(centred, debiased)
        lengths = products.diagonal().sqrt()
        known = (lengths > _ROUNDING)[:, None] & (lengths > _ROUNDING)
        cka = torch.where(known, products / (lengths[:, None] * lengths), 0.0)
    return cka.clamp(-1, 1).cpu()


def _centred(states: torch.Tensor) -> torch.Tensor:
    """States minus their mean over tokens, on a common scale."""
    # Identical tokens give exact zeros so, which the rounded mean alone would not.
    centred = states - states[:, :1]
    centred -= centred.mean(1, keepdim=True)
    lengths: torch.Tensor = torch.linalg.vector_norm(centred, dim=(1, 2), keepdim=True)
    return centred / lengths.clamp(min=torch.finfo(centred.dtype).tiny)


def _hsic(centred: torch.Tensor, debiased: bool) -> torch.Tensor:
    """(S, n, D) -> (S, S), up to a factor that all pairs share."""
    count, tokens = centred.shape[:2]
    own = centred.square().sum(-1)  # (S, n), the diagonals
    products = centred.new_zeros(count, count)
    for rows in torch.arange(tokens, device=centred.device).split(max(1, _CELLS_AT_ONCE // (count * tokens))):
        gram = centred[:, rows] @ centred.mT  # (S, rows, n)
        if debiased:
            gram += (own[:, rows, None] + own[:, None]) / (tokens - 2)
            gram -= (own.sum(1) / ((tokens - 1) * (tokens - 2)))[:, None, None]
            gram[:, rows - rows[0], rows] = 0
        flat = gram.flatten(1)
        products += flat @ flat.T
    return products


@PROBES.register("cka")
class CKA(Probe):
    """CKA of all pairs of layers, by modality."""

    title = "Which layers are alike"
    question = "Between which layers does the geometry of visual and of text tokens change?"

    def measure(self, run: PromptRun, looked: Sequence[Any], *, example: bool) -> Item:
        """By modality, (L+1, L+1); None for too few tokens."""
        groups = by_modality(run.visual)
        return {
            name: None if int(group.sum()) < MIN_TOKENS else linear_cka(run.normed[:, group]).tolist()
            for name, group in ((name, group.to(run.normed.device)) for name, group in groups.items())
        }

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """Means over the samples that have enough tokens."""
        findings: list[AnyFinding] = []
        for modality in MODALITIES:
            known = [item[modality] for item in items.values() if item[modality] is not None]
            if known:
                mean = np.mean(known, axis=0)
                findings.append(
                    StateMatrix(
                        name=f"cka_{modality}", title=f"Linear CKA of {modality} tokens between layers",
                        group=modality, mean=tuple(map(tuple, mean.tolist())),
                    )
                )  # fmt: skip
        return findings
