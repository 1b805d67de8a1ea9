"""Spectra of centred tokens, one for each group of them: fast where the entropy is then certain, exact elsewhere.

Exact is every eigenvalue of the smaller Gram matrix, in float64. Fast is float32 and only the leading eigenvalues
(leading_eigenvalues.py), accepted when their entropy cannot be off by more than TOLERANCE. Whatever goes wrong on the
fast path, a value that is not finite among it, makes that bound large or NaN, so no case needs a test of its own.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from halfv_core.errors import DataError
from probe.analyzers.leading_eigenvalues import leading_eigenvalues, worthwhile

TOLERANCE = 5e-4
"""Nats; with the rounding of float32 on top, entropies are within 1e-3 of the exact ones."""
_FAINT = 1e-20
"""Leading eigenvalue, for tokens up to 1, below which float32 products may have vanished."""


class Batch(NamedTuple):
    """Matrices of one shape, and what to call them."""

    tokens: torch.Tensor
    """(B, N, D)."""
    name: str
    first: int
    """Number of the first of them."""

    def of(self, group: torch.Tensor, i: int | None = None) -> "Batch":
        """The tokens of a group (N,) bool only; of the i-th matrix alone, if given."""
        if i is None:
            return self._replace(tokens=self.tokens[:, group])
        return Batch(self.tokens[i : i + 1, group], self.name, self.first + i)


def spectrum_of(batch: Batch, k: int) -> torch.Tensor:
    """The k leading eigenvalues to sum 1, (B, k), descending; float64 on the CPU.

    Raises:
        DataError: a value that is NaN or infinite.
    """
    return spectra_of(batch, [torch.ones(batch.tokens.shape[1], dtype=torch.bool, device=batch.tokens.device)], k)[0]


def spectra_of(batch: Batch, groups: Sequence[torch.Tensor], k: int) -> Sequence[torch.Tensor]:
    """The same for each group (N,) bool of the tokens; the first group lies within the others, and they share work.

    Raises:
        DataError: as `spectrum_of`.
    """
    if not worthwhile(min(int(groups[0].sum()), batch.tokens.shape[2]), k):
        return [exact_spectrum(batch, k)] if len(groups) == 1 else [spectrum_of(batch.of(group), k) for group in groups]
    tokens = batch.tokens if batch.tokens.dtype == torch.float64 else batch.tokens.float()
    for values, errors in leading_eigenvalues(_centred(tokens, groups[0]).float(), torch.stack([*groups]), k):
        certain = (uncertainty(values, errors) <= TOLERANCE) & (values[..., 0] > _FAINT)  # (B, G)
        if certain.all():
            break
    shares = _shares(values)  # (B, G, k)
    for i, g in (~certain).nonzero().tolist():
        shares[i, g] = exact_spectrum(batch.of(groups[g], i), k)[0]
    return shares.unbind(1)


def uncertainty(values: torch.Tensor, errors: torch.Tensor) -> torch.Tensor:
    """How far the entropy of eigenvalues (..., k) may be off if each may be larger by its error: (...), nats, or NaN.

    Two terms of its series. The slope of H in a share p is -ln p - H, of either sign: what errors do to a flat spectrum
    nearly vanishes, which bounds on its eigenvalues alone would not show. The second term has a part of each share, and
    one of their sum.
    """
    tiny = torch.finfo(values.dtype).tiny
    total = values.sum(-1, keepdim=True).clamp(min=tiny)
    shares, off = values / total, errors / total
    most = (shares + off).clamp(min=tiny)
    first = (-most.log() - torch.special.entr(shares).sum(-1, keepdim=True)) * off
    second = (off**2 / most).sum(-1) / 2 + off.sum(-1) ** 2 / 2
    return torch.maximum(first.clamp(min=0).sum(-1), -first.clamp(max=0).sum(-1)) + second


def exact_spectrum(batch: Batch, k: int, clamp_gram: bool = False) -> torch.Tensor:
    """As `spectrum_of`, from every eigenvalue.

    Args:
        clamp_gram: set the negative entries of the Gram matrix to 0 first.

    Raises:
        DataError: as `spectrum_of`.
    """
    tokens = batch.tokens.cpu() if batch.tokens.device.type == "mps" else batch.tokens  # which has no float64
    if not tokens.isfinite().all():
        bad = int(tokens.isfinite().flatten(1).all(1).int().argmin())
        counts = f"{int(tokens[bad].isnan().sum())} NaN and {int(tokens[bad].isinf().sum())} infinite values"
        got = f"{counts} in {batch.name} {batch.first + bad}"
        raise DataError("hidden states are not finite", got=got, remedy="load the model in bfloat16 or float32")
    centred = _centred(tokens.double())
    gram = centred @ centred.mT if centred.shape[1] <= centred.shape[2] else centred.mT @ centred  # (B, n, n)
    if clamp_gram:
        gram = gram.clamp(min=0)
    top = torch.linalg.eigvalsh(gram).flip(-1)[:, :k].clamp(min=0)  # (B, min(k, n))
    return torch.nn.functional.pad(_shares(top), (0, k - top.shape[1])).cpu()


def _centred(tokens: torch.Tensor, group: torch.Tensor | None = None) -> torch.Tensor:
    """(B, N, D) less the mean of the group (N,) bool, or of all, up to scale."""
    # Less one of its tokens first: a large common offset is gone before anything is rounded, and identical tokens give
    # exact zeros, which the rounded mean would not.
    if group is None:
        centred = tokens - tokens[:, :1]
        centred -= centred.mean(1, keepdim=True)
    else:
        centred = tokens - tokens.index_select(1, group.int().argmax(0, keepdim=True))
        centred -= (group.to(centred.dtype) / group.sum() @ centred)[:, None]
    # Entropy does not depend on scale, and squares of values near 1 neither overflow nor vanish.
    largest = torch.maximum(centred.amax(1), -centred.amin(1)).amax(1)[:, None, None]
    centred /= largest.clamp(min=torch.finfo(centred.dtype).tiny)
    return centred


def _shares(values: torch.Tensor) -> torch.Tensor:
    """(..., k) to sum 1, or all 0."""
    return values / values.sum(-1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)
