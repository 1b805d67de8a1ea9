"""The leading eigenvalues of Z Z^T by block Krylov iteration, with how far off each may be.

    Q_0 random;  Q_j+1 R_j = G Q_j less its part in the basis Q = [Q_0 ... Q_j];  G Q_j = Z (Z^T Q_j)
    T = Q^T G Q = S diag(theta) S^T:  theta_i <= lambda_i <= theta_i + min(r_i, r_i^2 / (theta_i - c)),  r_i = |R_j s_i|

with s_i the last block of the i-th eigenvector, so the residual r_i costs no product more; c is a Ritz value a little
beyond the k wanted ones. Rayleigh-Ritz, the residual bound and the gap bound: Parlett, The Symmetric Eigenvalue Problem,
chapters 11 and 13. The first bound says that an eigenvalue is so near; that it is the i-th, and that c separates, rests
on the random start, as it does for every such method.

The Gram matrix is never formed: a dozen narrow products replace one wide one and the decomposition of a large matrix.
Large products are float32, and what is decided from the small T is float64 on the CPU.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch

_BLOCK = 16
"""Columns a product: narrower blocks need fewer columns in all, wider ones keep the cores busier."""
_BEYOND = 8
"""How many Ritz values beyond the k-th stand for the rest of the spectrum in the gap bound."""


class Leading(NamedTuple):
    """The k largest eigenvalues of each matrix of a batch, descending; float64 on the CPU."""

    values: torch.Tensor
    """(B, k), not below 0; never far above the true ones."""
    errors: torch.Tensor
    """(B, k): how far above its value the true one may lie; NaN where the arithmetic broke down."""


def fits(side: int, k: int) -> bool:
    """Whether an iteration for k eigenvalues of a side x side matrix has room to converge, and is worth its overhead."""
    return side >= 300 and side >= 6 * k


def leading_eigenvalues(tokens: torch.Tensor, k: int) -> Iterator[Leading]:
    """Better and better answers; take them until the errors are small enough.

    Args:
        tokens: (B, N, D) float32, Z above, of a size near 1: squares must neither overflow nor vanish.
        k: how many; `fits(min(N, D), k)` holds.
    """
    wide = tokens if tokens.shape[1] <= tokens.shape[2] else tokens.mT  # (B, n, m), n <= m
    batch, side, _ = wide.shape
    start = torch.randn(side, _BLOCK, generator=torch.Generator().manual_seed(0)).to(tokens.device)
    block = torch.linalg.qr(start).Q.expand(batch, -1, -1)  # (B, n, b)
    basis = block  # (B, n, p), p growing
    most = min(side // 2, 8 * max(k, 2 * _BLOCK))
    projected = tokens.new_zeros(batch, most + _BLOCK, most + _BLOCK)  # (B, .., ..): upper triangle of T
    for columns in range(_BLOCK, most + 1, _BLOCK):
        image = wide @ (wide.mT @ block)  # (B, n, b)
        known = basis.mT @ image  # (B, p, b)
        projected[:, :columns, columns - _BLOCK : columns] = known
        block, size = torch.linalg.qr(image - basis @ known)
        if columns >= 2 * max(k, 2 * _BLOCK) and columns // _BLOCK % 2 == 0:
            yield _ritz(projected[:, :columns, :columns], size, k)
        # Twice is enough: what rounding left of the basis would grow with every step.
        block = torch.linalg.qr(block - basis @ (basis.mT @ block)).Q
        basis = torch.cat([basis, block], dim=2)


def _ritz(projected: torch.Tensor, size: torch.Tensor, k: int) -> Leading:
    """Ritz values of T (B, p, p), given by its upper triangle, and their errors from R_j (B, b, b)."""
    upper = projected.cpu().double().nan_to_num(0.0, 0.0, 0.0)  # eigh refuses NaN; `errors` carry it on
    theta, vectors = (found.flip(-1) for found in torch.linalg.eigh(upper, UPLO="U"))  # (B, p), (B, p, p)
    last = size.cpu().double() @ vectors[:, -_BLOCK:, :k]  # (B, b, k)
    residuals = last.norm(dim=1)  # (B, k)
    rest = theta[:, min(k + _BEYOND, theta.shape[1] - 1), None]  # (B, 1)
    gaps = (theta[:, :k] - rest).clamp(min=torch.finfo(torch.float64).tiny)
    return Leading(theta[:, :k].clamp(min=0), torch.minimum(residuals, residuals**2 / gaps))
