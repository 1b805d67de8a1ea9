"""The leading eigenvalues of token groups' Gram matrices by block Krylov iteration, with estimates of their errors.

    G = A A^T or A^T A, whichever is smaller, with A = J Z: Z the tokens, J selects one group and subtracts its mean
    Q_0 random;  Q_j+1 R_j = G Q_j minus its projection onto the basis Q = [Q_0 ... Q_j]
    T = Q^T G Q = S diag(theta) S^T:  theta_i <= lambda_i <= theta_i + min(r_i, r_i^2 / (theta_i - c)),  r_i = |R_j s_i|

s_i is the last block of the i-th eigenvector, so the residual r_i needs no further product. The bounds are Parlett's
(The Symmetric Eigenvalue Problem, chapters 10 and 11), with two assumptions: c, which should bound all remaining
eigenvalues, is a Ritz value a little beyond the k-th; and no larger eigenvalue is missed, because the random start has
a component in every direction. Far from convergence the bounds can be too low by a factor of about 2; in tests they
held wherever the result was accepted.

A dozen narrow products, shared by all groups, replace one wide product and the decomposition of a large matrix. Large
products are float32; the eigenvalues of the small T are computed in float64 on the CPU.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch

_BLOCK = 16
"""Vectors per product: with fewer the basis stays smaller, with more the cores are busier."""
_GAP_OFFSET = 8
"""The gap bound takes the Ritz value this many places after the k-th to bound the rest of the spectrum."""
_MAX_PRODUCT_TOKENS = 1000
"""Up to this many tokens, one product Z Z^T that serves all groups is cheaper than a dozen narrow ones."""
_STRIP_ROWS = 160
"""Rows of Z Z^T that are computed at once."""


class Leading(NamedTuple):
    """The k largest eigenvalues of every batch entry and group, descending; float64 on the CPU."""

    values: torch.Tensor
    """(B, G, k), not negative, and no larger than the true eigenvalues except for rounding."""
    errors: torch.Tensor
    """(B, G, k), how far above its value the true eigenvalue may lie; NaN where the arithmetic broke down."""


def worthwhile(side: int, k: int) -> bool:
    """Whether the iteration can converge on a (side, side) Gram matrix and is faster than decomposing it."""
    return side >= max(400, 8 * k)


def leading_eigenvalues(tokens: torch.Tensor, groups: torch.Tensor, k: int) -> Iterator[Leading]:
    """Yield increasingly accurate eigenvalues; stop iterating when the errors are small enough.

    Args:
        tokens: (B, N, D) float32. The mean of each group must be small compared with its spread, or float32 suffers
            cancellation; entries must be at most about 1, or squares overflow.
        groups: (G, N) bool, each with enough tokens to be `worthwhile`.
        k: number of eigenvalues.
    """
    count, width = tokens.shape[1:]
    weights = groups[:, None].float()  # (G, 1, N)
    sizes = weights.sum(-1, keepdim=True)

    def centre(rows: torch.Tensor) -> torch.Tensor:
        """Apply J to (B, G, b, N); it is symmetric and idempotent."""
        return weights * (rows - (rows * weights).sum(-1, keepdim=True) / sizes)

    def multiply(rows: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """(B, G, b, n) times (B, n, m), as one product for all groups."""
        return torch.bmm(rows.flatten(1, 2), matrix).reshape(*rows.shape[:3], -1)

    inner = _inner_products(tokens) if count <= min(_MAX_PRODUCT_TOKENS, width) else None  # (B, N, N)

    def gram(rows: torch.Tensor) -> torch.Tensor:
        if inner is not None:
            return centre(multiply(centre(rows), inner))
        if count <= width:
            return centre(multiply(multiply(centre(rows), tokens), tokens.mT))
        return multiply(centre(multiply(rows, tokens.mT)), tokens)

    side = min(count, width)
    start = torch.randn(side, _BLOCK, generator=torch.Generator().manual_seed(0)).to(tokens.device)
    # One vector per row, so that the products read the tokens along their rows.
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
        # Orthogonalise a second time: the components along the basis that rounding left would grow with every step.
        fresh = fresh.mT - fresh.mT @ basis.mT @ basis
        rows = torch.linalg.qr(fresh.mT).Q.mT
        basis = torch.cat([basis, rows], dim=2)


def _inner_products(tokens: torch.Tensor) -> torch.Tensor:
    """Z Z^T, (B, N, N); by symmetry, little more than half of it is computed."""
    lower = tokens.new_zeros(*tokens.shape[:2], tokens.shape[1])
    for start in range(0, tokens.shape[1], _STRIP_ROWS):
        end = start + _STRIP_ROWS
        lower[:, start:end, :end] = tokens[:, start:end] @ tokens[:, :end].mT
    return lower.tril() + lower.tril(-1).mT


def _ritz(projected: torch.Tensor, size: torch.Tensor, k: int) -> Leading:
    """Ritz values of T (B, G, p, p), of which the lower triangle is given, and their errors from R_j (B, G, b, b)."""
    lower = projected.cpu().double().nan_to_num(0.0, 0.0, 0.0)  # eigh rejects NaN; the residuals still carry it
    theta, vectors = (ascending.flip(-1) for ascending in torch.linalg.eigh(lower))  # (B, G, p), (B, G, p, p)
    residuals = (size.cpu().double() @ vectors[..., -_BLOCK:, :k]).norm(dim=-2)  # (B, G, k)
    rest = theta[..., min(k + _GAP_OFFSET, theta.shape[-1] - 1), None]
    gaps = (theta[..., :k] - rest).clamp(min=torch.finfo(torch.float64).tiny)
    return Leading(theta[..., :k].clamp(min=0), torch.minimum(residuals, residuals**2 / gaps))
