"""The leading eigenvalues of Gram matrices of groups of tokens, by block Krylov iteration, and how far off they may be.

    G = A A^T or A^T A, whichever is smaller, with A = J Z: Z the tokens, J takes one group of them less its mean
    Q_0 random;  Q_j+1 R_j = G Q_j less its part in the basis Q = [Q_0 ... Q_j]
    T = Q^T G Q = S diag(theta) S^T:  theta_i <= lambda_i <= theta_i + min(r_i, r_i^2 / (theta_i - c)),  r_i = |R_j s_i|

s_i is the last block of the i-th eigenvector, so the residual r_i costs no further product. The bounds are Parlett's
(The Symmetric Eigenvalue Problem, chapters 10, 11) with two estimates in them: c, which should bound all other
eigenvalues, is a Ritz value a little beyond the k-th; and that no larger one was missed is owed to the random start,
which has a part in all directions. Far from convergence they are up to about twice too low; where accepted, they held.

A dozen narrow products replace a wide one and the decomposition of a large matrix, and all groups share them. Large
products are float32; what is decided, from the small T, is float64 on the CPU.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch

_BLOCK = 16
"""Vectors a product: fewer need a smaller basis in all, more keep the cores busier."""
_BEYOND = 8
"""How many Ritz values beyond the k-th stand for the rest of the spectrum in the gap bound."""
_FEW = 1000
"""Up to so many tokens one product Z Z^T is cheaper than a dozen narrow ones; all groups are blocks of it."""
_STRIP = 160
"""Rows of Z Z^T at once."""


class Leading(NamedTuple):
    """The k largest eigenvalues of every batch entry and group, descending; float64 on the CPU."""

    values: torch.Tensor
    """(B, G, k), not below 0, not above the true ones but for rounding."""
    errors: torch.Tensor
    """(B, G, k): about how far above its value the true one may lie; NaN where the arithmetic broke down."""


def worthwhile(side: int, k: int) -> bool:
    """Whether the iteration has room to converge in a Gram matrix of side x side, and beats decomposing it."""
    return side >= max(400, 8 * k)


def leading_eigenvalues(tokens: torch.Tensor, groups: torch.Tensor, k: int) -> Iterator[Leading]:
    """Better and better answers; take them until the errors are small enough.

    Args:
        tokens: (B, N, D) float32. Each group near the origin, compared with its own spread, or float32 cancels; entries
            up to about 1, or squares overflow.
        groups: (G, N) bool, each with enough tokens to be `worthwhile`.
        k: how many eigenvalues.
    """
    many, width = tokens.shape[1:]
    weights = groups[:, None].float()  # (G, 1, N)
    counts = weights.sum(-1, keepdim=True)

    def within(rows: torch.Tensor) -> torch.Tensor:  # J
        """(B, G, b, N), symmetric and idempotent."""
        return weights * (rows - (rows * weights).sum(-1, keepdim=True) / counts)

    def times(rows: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """(B, G, b, n) times (B, n, m): one product for all groups."""
        return torch.bmm(rows.flatten(1, 2), matrix).reshape(*rows.shape[:3], -1)

    inner = _inner(tokens) if many <= min(_FEW, width) else None  # (B, N, N)

    def gram(rows: torch.Tensor) -> torch.Tensor:
        if inner is not None:
            return within(times(within(rows), inner))
        if many <= width:
            return within(times(times(within(rows), tokens), tokens.mT))
        return times(within(times(rows, tokens.mT)), tokens)

    side = min(many, width)
    start = torch.randn(side, _BLOCK, generator=torch.Generator().manual_seed(0)).to(tokens.device)
    # One vector a row, so that the products read the tokens along their rows.
    rows = torch.linalg.qr(start).Q.mT.expand(len(tokens), len(groups), -1, -1)  # (B, G, b, n)
    basis = rows  # (B, G, p, n), p growing
    first = 2 * max(k, 2 * _BLOCK)
    most = min(side // 2, 4 * first)
    projected = tokens.new_zeros(*rows.shape[:2], most, most)  # the lower triangle of T
    for p in range(_BLOCK, most + 1, _BLOCK):
        image = gram(rows)  # (B, G, b, n)
        known = image @ basis.mT  # (B, G, b, p)
        projected[..., p - _BLOCK : p, :p] = known
        fresh, size = torch.linalg.qr((image - known @ basis).mT)  # (B, G, n, b), (B, G, b, b)
        if p >= first and p // _BLOCK % 2 == 0:
            yield _ritz(projected[..., :p, :p], size, k)
        # Twice is enough: what rounding left of the basis would grow with every step.
        fresh = fresh.mT - fresh.mT @ basis.mT @ basis
        rows = torch.linalg.qr(fresh.mT).Q.mT
        basis = torch.cat([basis, rows], dim=2)


def _inner(tokens: torch.Tensor) -> torch.Tensor:
    """Z Z^T (B, N, N), of which symmetry leaves little more than half to compute."""
    lower = tokens.new_zeros(*tokens.shape[:2], tokens.shape[1])
    for start in range(0, tokens.shape[1], _STRIP):
        end = start + _STRIP
        lower[:, start:end, :end] = tokens[:, start:end] @ tokens[:, :end].mT
    return lower.tril() + lower.tril(-1).mT


def _ritz(projected: torch.Tensor, size: torch.Tensor, k: int) -> Leading:
    """Ritz values of T (B, G, p, p), given by its lower triangle, and their errors from R_j (B, G, b, b)."""
    lower = projected.cpu().double().nan_to_num(0.0, 0.0, 0.0)  # eigh refuses NaN; the residuals carry it on
    theta, vectors = (found.flip(-1) for found in torch.linalg.eigh(lower))  # (B, G, p), (B, G, p, p)
    residuals = (size.cpu().double() @ vectors[..., -_BLOCK:, :k]).norm(dim=-2)  # (B, G, k)
    rest = theta[..., min(k + _BEYOND, theta.shape[-1] - 1), None]
    gaps = (theta[..., :k] - rest).clamp(min=torch.finfo(torch.float64).tiny)
    return Leading(theta[..., :k].clamp(min=0), torch.minimum(residuals, residuals**2 / gaps))
