"""Spectra of centred tokens, one per token group: approximate where that is accurate enough, exact elsewhere.

The exact path computes every eigenvalue of the smaller Gram matrix in float64. The fast path computes only the leading
eigenvalues, mostly in float32 (leading_eigenvalues.py), and is accepted when their entropy is off by at most TOLERANCE.
Whatever goes wrong on the fast path, including values that are not finite, makes that bound large or NaN, so the exact
path takes over without a check of its own.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from halfv_core.errors import DataError
from halfv_core.precision import no_autocast, widened
from probe.analyzers.leading_eigenvalues import leading_eigenvalues, worthwhile

TOLERANCE = 5e-4
"""Largest accepted entropy error, nats; including float32 rounding, entropies are within 1e-3 of the exact ones."""
_UNDERFLOW = 1e-20
"""Leading eigenvalue, for tokens scaled to at most 1, below which float32 products may have underflowed to 0."""


class Batch(NamedTuple):
    """Token matrices of one shape, with a name for error messages."""

    tokens: torch.Tensor
    """(B, N, D)."""
    name: str
    """What one matrix is, such as "layer input"."""
    first: int
    """Index of the first matrix, for error messages."""

    def select(self, group: torch.Tensor, i: int | None = None) -> "Batch":
        """Only the tokens of a group, (N,) bool; only those of matrix `i`, if given."""
        if i is None:
            return self._replace(tokens=self.tokens[:, group])
        return Batch(self.tokens[i : i + 1, group], self.name, self.first + i)


def spectrum_of(batch: Batch, k: int) -> torch.Tensor:
    """The k leading eigenvalues of each matrix, normalised to sum 1.

    Returns:
        (B, k), descending, float64 on the CPU.

    Raises:
        DataError: a value is NaN or infinite.
    """
    return spectra_of(batch, [torch.ones(batch.tokens.shape[1], dtype=torch.bool, device=batch.tokens.device)], k)[0]


def spectra_of(batch: Batch, groups: Sequence[torch.Tensor], k: int) -> Sequence[torch.Tensor]:
    """`spectrum_of` for several groups of the tokens, which share most of the work.

    Args:
        groups: each (N,) bool; the first is a subset of all others.

    Returns:
        (B, k) for each group.

    Raises:
        DataError: as `spectrum_of`.
    """
    if not worthwhile(min(int(groups[0].sum()), batch.tokens.shape[2]), k):
        if len(groups) == 1:
            return [exact_spectrum(batch, k)]
        return [spectrum_of(batch.select(group), k) for group in groups]
    with no_autocast(batch.tokens.device):
        centred = _centred(widened(batch.tokens), groups[0]).float()
        for values, errors in leading_eigenvalues(centred, torch.stack([*groups]), k):
            certain = (uncertainty(values, errors) <= TOLERANCE) & (values[..., 0] > _UNDERFLOW)  # (B, G)
            if certain.all():
                break
    shares = _shares(values)  # (B, G, k)
    for i, g in (~certain).nonzero().tolist():
        shares[i, g] = exact_spectrum(batch.select(groups[g], i), k)[0]
    return shares.unbind(1)


def uncertainty(values: torch.Tensor, errors: torch.Tensor) -> torch.Tensor:
    """How far the entropy may be off when each eigenvalue may be too small by up to its error.

    The first two terms of the Taylor series. The derivative of H with respect to a share p is -ln p - H, which has
    either sign, so errors in a flat spectrum nearly cancel; bounds on the eigenvalues alone would not show that. The
    second-order term has one part for the individual shares and one for their sum.

    Args:
        values: eigenvalues, (..., k).
        errors: (..., k), how much larger each may be.

    Returns:
        (...), nats; NaN where an error is NaN.
    """
    tiny = torch.finfo(values.dtype).tiny
    total = values.sum(-1, keepdim=True).clamp(min=tiny)
    shares, off = values / total, errors / total
    most = (shares + off).clamp(min=tiny)
    first = (-most.log() - torch.special.entr(shares).sum(-1, keepdim=True)) * off
    second = (off**2 / most).sum(-1) / 2 + off.sum(-1) ** 2 / 2
    return torch.maximum(first.clamp(min=0).sum(-1), -first.clamp(max=0).sum(-1)) + second


def exact_spectrum(batch: Batch, k: int, clamp_gram: bool = False) -> torch.Tensor:
    """`spectrum_of` by full eigendecomposition in float64.

    Args:
        clamp_gram: set the negative entries of the Gram matrix to 0 first. Then Z Z^T and Z^T Z have different
            eigenvalues; of square matrices Z^T Z is taken, as in HalfV's public code.

    Raises:
        DataError: as `spectrum_of`.
    """
    tokens = batch.tokens.cpu() if batch.tokens.device.type == "mps" else batch.tokens  # MPS has no float64
    if not tokens.isfinite().all():
        bad = int(tokens.isfinite().flatten(1).all(1).int().argmin())
        counts = f"{int(tokens[bad].isnan().sum())} NaN and {int(tokens[bad].isinf().sum())} infinite values"
        got = f"{counts} in {batch.name} {batch.first + bad}"
        raise DataError("hidden states are not finite", got=got, remedy="load the model in bfloat16 or float32")
    centred = _centred(tokens.double())
    count, width = centred.shape[1:]
    by_token = count < width or (count == width and not clamp_gram)
    gram = centred @ centred.mT if by_token else centred.mT @ centred  # (B, n, n)
    if clamp_gram:
        gram = gram.clamp(min=0)
    top = torch.linalg.eigvalsh(gram).flip(-1)[:, :k].clamp(min=0)  # (B, min(k, n))
    return torch.nn.functional.pad(_shares(top), (0, k - top.shape[1])).cpu()


def _centred(tokens: torch.Tensor, group: torch.Tensor | None = None) -> torch.Tensor:
    """Tokens (B, N, D) minus the mean of the group (N,) bool, or of all tokens, scaled to at most 1."""
    # Subtracting one of the tokens first removes a large common offset before anything is rounded, and gives exact
    # zeros for identical tokens, which the rounded mean would not.
    if group is None:
        centred = tokens - tokens[:, :1]
        centred -= centred.mean(1, keepdim=True)
    else:
        centred = tokens - tokens.index_select(1, group.int().argmax(0, keepdim=True))
        centred -= (group.to(centred.dtype) / group.sum() @ centred)[:, None]
    # Entropy does not depend on scale, and squares of values near 1 neither overflow nor underflow.
    largest = torch.maximum(centred.amax(1), -centred.amin(1)).amax(1)[:, None, None]
    centred /= largest.clamp(min=torch.finfo(centred.dtype).tiny)
    return centred


def _shares(values: torch.Tensor) -> torch.Tensor:
    """Values (..., k) normalised to sum 1; all 0 where they are all 0."""
    return values / values.sum(-1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)
